"""`bench encoders`: groups, rows by hand, and encoders from functions; `bench cost --what step`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import smooth_picture, tiny_kl

from pca_protect.errors import UsageError
from pca_protect.eval.benches.cost.arms import Measured
from pca_protect.eval.benches.cost.config import CostConfig
from pca_protect.eval.benches.cost.encoder_step import measure_step, step_rows
from pca_protect.eval.benches.encoders import NOISE, Arm, arms_of, encoder_rows, groups, measure_encoders
from pca_protect.eval.benches.encoders_config import EncodersConfig


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_kl().save_pretrained(folder / "one")
    for name, count in (("images", 2), ("train", 8)):
        (folder / name).mkdir()
        for seed in range(count):
            smooth_picture(70, 66, seed=seed + count).save(folder / name / f"{seed}.png")
    return folder


def config(models: Path, *vaes: str) -> EncodersConfig:
    return EncodersConfig(
        str(models / "images"),
        train=str(models / "train"),
        vaes=vaes,
        modes=("concentration",),  # its universal perturbation takes steps, so that no tile is too weak
        ensembles=(2, 3),
        size_px=64,
        training_steps=1,
        device="cpu",
    )


def test_every_arm_is_measured_once(models: Path, tmp_path: Path):
    settings = config(models, str(models / "one"), "make_encoders:second")
    finished = measure_encoders(settings, tmp_path)
    rows = finished.tables["encoders"]
    arms = ["paper", "single", "8 steps", "universal", "universal + 8 steps", "ensemble of 2"]
    arms += ["all, 8 steps", "shared universal", "shared universal + 8 steps"]
    assert [(row["vae"], row["arm"]) for row in rows] == [(vae, arm) for vae in settings.vaes for arm in arms]
    assert all(row["n"] == 2 and row["shift"] > 0 and row["visible"] > 0 for row in rows)
    assert {row["of_published"] for row in rows if row["arm"] == "paper"} == {1.0}
    assert len(list((tmp_path / "universals").iterdir())) == 3
    log = (tmp_path / "results.jsonl").read_bytes()
    assert measure_encoders(settings, tmp_path).tables == finished.tables
    assert (tmp_path / "results.jsonl").read_bytes() == log


def test_groups_hold_every_encoder():
    assert groups("abcde", 3) == [("a", "b", "c"), ("d", "e", "a")]
    assert groups("abc", 3) == [("a", "b", "c")]
    names = [arm.name for arm in arms_of(EncodersConfig("photos", vaes=("a", "b")))]
    assert not any(name.startswith("ensemble") for name in names), "of 3, with two encoders"


def entry(shift: float, seconds: float) -> dict[str, dict[str, object]]:
    return {"0.png": {"shift": {"a": shift}, "seconds": seconds, "visible": 2.0}}


def test_rows_by_hand():
    arms = [Arm("paper", ("a",), "paper"), Arm("8 steps", ("a",), "fast")]
    arms += [Arm("universal", ("a",), "instant", True), Arm("shared universal", ("a", "b"), "instant", True)]
    entries = {
        NOISE: entry(0.5, 0.0),
        "paper | a | subtle": entry(2.0, 40.0),
        "8 steps | a | subtle": entry(1.5, 8.0),
        "universal | a | subtle": entry(1.0, 0.5),
    }
    paper, fast, universal, refused = encoder_rows("a", "subtle", arms, entries, trained={"a | subtle": 75.0})
    assert (paper["over_noise"], paper["of_published"], paper["break_even"]) == (4.0, 1.0, None)
    assert fast["of_published"] == 0.75
    assert (universal["over_noise"], universal["training_seconds"], universal["break_even"]) == (2.0, 75.0, 10.0)
    assert (refused["shift"], refused["n"], refused["members"]) == (None, None, 2)


@pytest.mark.parametrize("vae", ["make_encoders:missing", "no_module_here:second", "make_encoders:no_encoder"])
def test_a_function_that_gives_no_encoder_is_named(models: Path, tmp_path: Path, vae: str):
    with pytest.raises(UsageError, match=vae):
        measure_encoders(config(models, vae), tmp_path)


def test_a_step_is_compared_with_diffusers(tmp_path: Path):
    settings = CostConfig(sizes_px=(64,), rounds=1, device="cpu", block_out_channels=(8, 16))
    finished = measure_step(settings, tmp_path)
    plain, ours = finished.tables["step"]
    assert (plain["arm"], ours["arm"], ours["size_px"], ours["target"]) == ("diffusers", "ours", 64, None)
    assert ours["ratio"] == pytest.approx(plain["seconds"] / ours["seconds"])
    assert ours["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert measure_step(settings, tmp_path).tables == finished.tables


def test_targets_of_a_step_are_for_cpus():
    measured = {name: Measured("v", "float32", [s, 3 * s, s], 0, 0) for name, s in (("bare", 1.0), ("diffusers", 1.7))}
    rows = {
        (size_px, device): step_rows(size_px, measured, torch.device(device))[1]
        for size_px in (256, 512)
        for device in ("cpu", "cuda:0")
    }
    assert {key: row["met"] for key, row in rows.items()} == {
        (256, "cpu"): True,
        (512, "cpu"): False,
        (256, "cuda:0"): None,
        (512, "cuda:0"): None,
    }
    assert rows[256, "cuda:0"]["instruction_set"] is None
