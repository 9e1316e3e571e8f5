"""`pca-protect bench cost` at toy size: that it measures what it says. How long things take is not tested."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_picture, tiny_kl
from typer.testing import CliRunner

from pca_protect.attack.objectives import CollapseObjective
from pca_protect.cli import bench
from pca_protect.config import ProtectConfig
from pca_protect.engine import run_recipe
from pca_protect.errors import DeviceError, ModelError, UsageError
from pca_protect.eval import pictures
from pca_protect.eval.benches.cost.arms import Arm, Measured
from pca_protect.eval.benches.cost.config import CostConfig
from pca_protect.eval.benches.cost.operations import matrix_rate, operations_of_step
from pca_protect.eval.benches.cost.processes import run_in_turns
from pca_protect.eval.benches.cost.published_loop import published_loop
from pca_protect.eval.benches.cost.random_models import RANDOM_VAE, save_random_vae
from pca_protect.eval.benches.cost.run import measure_cost
from pca_protect.eval.benches.cost.table import arm_rows
from pca_protect.eval.results import Finished
from pca_protect.modes import MODES
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate

TOY = CostConfig(
    sizes_px=(64, 72),
    steps=2,
    rounds=1,
    device="cpu",
    block_out_channels=(8, 16, 16, 16),
    methods=("sds-minus", "pca-diffusion"),
    unet_block_out_channels=(8, 16, 16, 16),
)
ARM_NAMES = [
    *("bare", "paper", "balanced", "published", "ours", "ours-little-memory"),
    *("sds-minus", "pca-diffusion") * 3,  # the embedded editor at two sizes, the large architecture
    "startup",
]
ROW_KEYS = {
    *("arm", "mode", "needs", "size_px", "steps", "device", "precision", "batch", "seconds", "seconds_per_step"),
    *("teraflop_per_step", "teraflops", "matrix_teraflops", "share_of_matrix_rate", "first_seconds"),
    *("peak_megabytes", "weights_megabytes", "ratio", "against", "target", "met"),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    folder = tmp_path_factory.mktemp("cost")
    return folder, measure_cost(TOY, folder)


@pytest.fixture
def folder(measured: tuple[Path, Finished], tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(measured[0], tmp_path / "cost"))


def test_rows_and_files(measured: tuple[Path, Finished]):
    folder, result = measured
    rows = result.tables["cost"]
    assert [row["arm"] for row in rows] == ARM_NAMES
    assert all(row.keys() >= ROW_KEYS for row in rows)
    assert [row["against"] for row in rows] == [
        *(None, "bare", "bare", None, "published", "ours"),
        *("pca-diffusion", None) * 3,
        None,
    ]
    assert [row["size_px"] for row in rows] == [72] * 6 + [64] * 2 + [72] * 4 + [None]
    assert [row["vae"] for row in rows] == (
        ["pocket"] * 3 + [RANDOM_VAE] * 3 + ["pocket"] * 4 + [RANDOM_VAE] * 2 + [None]
    )
    places = {(row["arm"], row["vae"], row["size_px"]): row for row in rows}
    for row in rows:
        assert row["seconds"] > 0
        if row["arm"] == "startup":
            continue
        assert (row["device"], row["precision"], row["batch"]) == ("cpu", "float32", 1)
        assert row["steps"] == (1 if row["vae"] == RANDOM_VAE else 2)
        assert row["seconds_per_step"] == row["seconds"] / row["steps"]
        assert row["peak_megabytes"] >= row["weights_megabytes"] > 100  # PyTorch alone is more
        assert row["first_seconds"] > 0
        assert row["teraflops"] == pytest.approx(row["teraflop_per_step"] / row["seconds_per_step"])
        assert 0 < row["share_of_matrix_rate"] == row["teraflops"] / row["matrix_teraflops"]
        if row["against"]:
            beside = places[row["against"], row["vae"], row["size_px"]]
            assert row["ratio"] == pytest.approx(row["seconds"] / beside["seconds"])
        assert isinstance(row["met"], bool) == (row["target"] is not None)
        if row["arm"] == "sds-minus":
            assert (row["mode"], row["needs"], row["target"]) == (None, "denoiser", None)
        else:
            assert row["mode"] == "diffusion"
        if row["arm"] == "pca-diffusion":
            assert (row["needs"], row["target"]) == ("encoder", "less time and memory than sds-minus")
            rival = places["sds-minus", row["vae"], row["size_px"]]
            cheaper = [row[figure] < rival[figure] for figure in ("seconds", "peak_megabytes")]
            assert row["met"] == all(cheaper)
    work = {row["arm"]: row["teraflop_per_step"] for row in rows[:6]}
    assert work["ours"] < 0.8 * work["published"], "no weight gradients"
    assert work["ours"] < work["ours-little-memory"] < 1.4 * work["ours"], "blocks are computed again, in part"
    assert work["bare"] == work["paper"] == work["balanced"]
    assert "torch not imported" in str(rows[-1]["note"])

    summary = json.loads((folder / "summary.json").read_text())
    assert summary.keys() == {"command", "config", "environment", "environments", "tables"}
    assert summary["tables"] == {"cost": rows}
    assert summary["config"]["sizes_px"] == [64, 72]
    environment = summary["environment"]
    assert torch.__version__.startswith(environment["versions"]["torch"]), (
        "PyPI's CUDA build has no +cu in its metadata"
    )
    assert environment.keys() >= {"python", "platform", "cpu", "logical_cores", "torch_threads", "device", "cuda"}
    assert len((folder / "results.jsonl").read_text().splitlines()) == len(ARM_NAMES)
    assert len((folder / "results.csv").read_text().splitlines()) == 1 + len(ARM_NAMES)


def test_a_rerun_measures_nothing_and_gives_the_same_table(measured: tuple[Path, Finished], folder: Path):
    before = (folder / "results.jsonl").read_bytes()
    again = measure_cost(TOY, folder, on_progress=lambda *what: pytest.fail(f"measured {what}"))
    assert again.tables["cost"] == measured[1].tables["cost"]
    assert (folder / "results.jsonl").read_bytes() == before


def test_a_rerun_measures_what_is_missing(measured: tuple[Path, Finished], folder: Path):
    log = folder / "results.jsonl"
    kept = [line for line in log.read_text().splitlines(keepends=True) if '"key": "startup"' not in line]
    log.write_text("".join(kept))
    labels = []
    again = measure_cost(TOY, folder, on_progress=lambda label, done, turns: labels.append(label))
    assert set(labels) == {"startup"}
    assert again.tables["cost"][:-1] == measured[1].tables["cost"][:-1]
    assert log.read_text().startswith("".join(kept))


def test_another_configuration_and_an_edited_log_are_refused(folder: Path):
    with pytest.raises(UsageError, match=r"config\.seed: 0 -> 1.*choose another --out"):
        measure_cost(CostConfig(**{**TOY.as_dict(), "seed": 1}), folder)  # type: ignore[arg-type]
    log = folder / "results.jsonl"
    log.write_text(log.read_text().replace('"note": ""', '"note": "faster"', 1))
    with pytest.raises(UsageError, match="was changed after it was written"):
        measure_cost(TOY, folder)


def test_command_line_prints_table_and_paths(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "FULL", TOY)
    done = CliRunner().invoke(bench.bench_app, ["cost", "--out", str(folder), "--device", "cpu", "--steps", "2"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split()[:5] == ["arm", "vae", "mode", "needs", "size_px"]
    end = 1 + len(ARM_NAMES)
    assert [line.split()[0] for line in lines[1:end]] == ARM_NAMES
    assert len({line.find("cpu") for line in lines[1 : end - 1]}) == 1, "columns are not aligned"
    assert lines[end:] == [
        str(folder / name) for name in ("results.jsonl", "results.csv", "summary.json", "report.html")
    ]


def test_quick_is_overridden_by_explicit_options_in_any_order(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "QUICK", TOY)
    common = ["cost", "--out", str(folder), "--device", "cpu", "--steps", "2"]
    assert CliRunner().invoke(bench.bench_app, [*common, "--quick"]).exit_code == 0
    for arguments in (["--quick", "--rounds", "2"], ["--rounds", "2", "--quick"]):
        done = CliRunner().invoke(bench.bench_app, [*common, *arguments])
        assert isinstance(done.exception, UsageError)
        assert "(config.rounds: 1 -> 2)" in str(done.exception)


def test_sizes_are_given_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "FULL", replace(TOY, sizes_px=(64,)))
    common = ["cost", "--out", str(folder), "--device", "cpu", "--steps", "2"]
    both = CliRunner().invoke(bench.bench_app, [*common, "--size", "64", "--size", "72"])
    assert both.exit_code == 0, both.output
    for sizes in ([], ["--size", "72"]):
        done = CliRunner().invoke(bench.bench_app, [*common, *sizes])
        assert isinstance(done.exception, UsageError)
        assert "config.sizes_px: [64, 72] -> " in str(done.exception)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"sizes_px": (64, 100)}, "size 100 px is not a multiple of 8"),
        ({"sizes_px": ()}, "each once"),
        ({"sizes_px": (64, 72, 64)}, "sizes '64, 72, 64'"),
        ({"methods": ("advdn", "pca-diffusion")}, "unknown arm 'advdn'; did you mean advdm?"),
        ({"methods": ("noise-linf", "pca-diffusion")}, "noise-linf: is not optimised"),
        ({"methods": ("advdm",)}, "lack the reference pca-diffusion"),
        ({"steps": 0}, "steps 0"),
        ({"rounds": 0}, "rounds 0"),
        ({"seed": -1}, "seed -1"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
    ],
)
def test_settings_out_of_range(setting: dict[str, object], message: str):
    with pytest.raises(UsageError, match=message):
        CostConfig(**setting)  # type: ignore[arg-type]


def test_targets_are_those_of_the_device():
    """Made-up measurements: what counts as met is arithmetic."""
    picture = pictures.made_picture(64, 0)
    published = Arm("published", "v", picture, device="cuda", precision="fp32", steps=1, rounds=1, threads=1)
    bf16 = replace(published, name="ours", precision="bf16")
    arms = [
        (published, Measured("v", "float32", [10.0], 1000, 5000)),
        (replace(published, name="ours"), Measured("v", "float32", [6.0], 500, 2000)),
        (replace(published, name="ours-little-memory"), Measured("v", "float32", [9.0], 500, 2400)),
        (bf16, Measured("v", "bfloat16", [1.9], 300, 1600)),
        (replace(bf16, name="ours-compiled"), Measured("v", "bfloat16", [1.9], 300, 1700)),
        (replace(bf16, name="ours-fast"), Measured("v", "bfloat16", [1.2], 300, 1700)),
        (replace(bf16, batch=4), Measured("v", "bfloat16", [9.0], 300, 4000)),
        (replace(bf16, batch=16), Measured("v", "bfloat16", [], 300, 9000, "out of memory")),
    ]
    rows = arm_rows(arms)
    assert [row["met"] for row in rows] == [None, True, False, True, False, True, False, None]
    assert [row["against"] for row in rows] == [None, "published", "ours", *["published"] * 5]
    assert rows[2]["ratio"] == 1.5
    assert rows[6]["ratio"] == 9 / 4 / 10


def test_operations_are_counted_and_matrices_timed():
    weight = torch.randn(6, 5)

    def run(steps: int, on_step: Callable[[], None]) -> None:
        torch.randn(100, 100) @ torch.randn(100, 100)  # before the first step: not of a step
        for _ in range(steps):
            pixels = torch.randn(3, 6, requires_grad=True)
            torch.autograd.grad((pixels @ weight).square().sum(), pixels)
            on_step()

    assert operations_of_step(run) == 2 * (2 * 3 * 6 * 5)
    assert matrix_rate(torch.device("cpu"), torch.float32) > 1e8


def bare(vae: str) -> Arm:
    picture = pictures.made_picture(64, 0)
    return Arm("bare", vae, picture, device="cpu", precision="fp32", steps=1, rounds=1, threads=1)


def test_what_goes_wrong_in_a_process_arrives_as_it_is(tmp_path: Path):
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"broken\.safetensors"):
        run_in_turns([bare(str(tmp_path / "broken.safetensors"))], on_turn=lambda: None)


def test_a_process_that_dies_is_reported():
    def kill() -> None:
        for process in multiprocessing.active_children():
            process.kill()
            process.join()

    with pytest.raises(DeviceError, match=r"arm `bare` ended with exit code -9.* try a smaller --size"):
        run_in_turns([bare("pocket")], on_turn=kill)


@pytest.mark.parametrize(("mode", "steps"), [("diffusion", 3), ("concentration", 40)])
def test_the_published_loop_and_our_preset_walk_alike(
    tiny: Surrogate, mode: str, steps: int, astronaut_crop: torch.Tensor
):
    """Away from N(0, 1) on random weights the walk is chaotic: 40 steps of ours from 1e-7 away share a quarter of the
    pixels. So that mode is followed for as long as rounding does not decide."""
    target = MODES[mode]
    vae = tiny_kl().eval()
    theirs = published_loop(
        vae, astronaut_crop, target_variance=target.target_variance, ascend=target.direction == "up", steps=steps
    )
    config = ProtectConfig(mode=mode, preset="paper", steps=steps)
    ours = run_recipe(
        astronaut_crop, CollapseObjective(tiny.posterior, *config.objective, astronaut_crop), config
    ).pixels
    assert torch.allclose(theirs, ours, rtol=0, atol=1e-6)
    assert float((theirs - astronaut_crop).abs().max()) == pytest.approx(min(2 * steps, 16) / 255, abs=1e-6)
    assert all(parameter.grad is not None for parameter in vae.encoder.parameters()), "its waste is part of its cost"


def test_random_weights_come_from_the_seed_alone(tmp_path: Path):
    state = torch.get_rng_state()
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_random_vae(tmp_path / name, block_out_channels=(8, 16), seed=seed)
        digests.append(load_surrogate(str(tmp_path / name), device="cpu").digest)
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_made_pictures(tmp_path: Path):
    first = pictures.made_picture(72, 0)
    assert first.rgb.shape == (72, 72, 3)
    assert np.array_equal(first.rgb, pictures.made_picture(72, 0).rgb)
    assert not np.array_equal(first.rgb, pictures.made_picture(72, 1).rgb)
    assert 10 < first.rgb.std() < 100


def test_first_picture_of_a_folder(tmp_path: Path):
    with pytest.raises(UsageError, match="no picture in it"):
        pictures.pictures_in(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        pictures.pictures_in(tmp_path / "missing")
    smooth_picture(90, 70, channels=4).save(tmp_path / "b.png")
    smooth_picture(50, 120).save(tmp_path / "c.JPG")
    (tmp_path / "a.txt").write_text("no picture")
    (tmp_path / "sub").mkdir()
    found = pictures.pictures_in(tmp_path)
    assert [path.name for path in found] == ["b.png", "c.JPG"]
    square = pictures.square_picture(found[0], 64)
    assert square.rgb.shape == (64, 64, 3)
    assert square.rgb.dtype == np.uint8
