"""The benchmark of published editors: plan, download, run and rerun against tiny pipelines on a hub of this machine.

The client of the hub reads its settings when it is imported, so the commands run in one process of their own.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, smooth_picture
from hub_server import GATED, MISSING, HubServer, Repository, hub_server
from tiny_editors import save, stable_diffusion
from typer.testing import CliRunner

from pca_protect import DeviceError, ModelError, UsageError
from pca_protect.cli.main import app
from pca_protect.eval.benches.real.download import require_disk
from pca_protect.eval.benches.real.plan import edits_per_prompt, plan_real, require_editors
from pca_protect.eval.benches.real.profiles import PROFILES, REQUIREMENTS, largest_profile, real
from pca_protect.eval.benches.real.run import half_precision, profile_of
from pca_protect.eval.editors.registry import EDITORS

GOOD, REFUSED, LOST = "sd15", "flux1-kontext", "instruct-pix2pix"
UNWANTED = ("unet/model.fp16.safetensors", "safety_checker/model.safetensors", "whole.safetensors", "unet/weights.bin")

COMMANDS = """
import contextlib, io, json, sys
from pca_protect.cli.main import main
from pca_protect.eval.benches.real.download import missing_gigabytes

repository, *lines = json.loads(sys.argv[1])
answers = []
for arguments in lines:
    before = missing_gigabytes(repository)
    sys.argv = ["pca-protect", "bench", "real", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
    answers.append({"code": code, "out": out.getvalue(), "err": err.getvalue(), "before": before})
answers.append({"before": missing_gigabytes(repository)})
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(2):
        smooth_picture(70, 90, seed=seed).save(folder / f"{seed}.png")
    return folder


def published(folder: Path) -> Repository:
    """The files of a pipeline, among others that diffusers does not download."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return Repository(files | dict.fromkeys(UNWANTED, bytes(5_000_000)))


def wanted_bytes(repository: Repository) -> int:
    return sum(
        len(content) for path, content in repository.files.items() if path not in (*UNWANTED, "model_index.json")
    )


def ran(hub: HubServer, folder: Path, lines: list[list[str]]) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps([EDITORS[GOOD].repo_id, *lines])],
        env=environment
        | {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(folder / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_a_run_is_planned_asked_for_downloaded_measured_and_resumed(photographs: Path, tmp_path: Path):
    repository = published(save(stable_diffusion(), tmp_path / "pipeline"))
    out = tmp_path / "out"
    common = [*("--images", str(photographs), "--profile", "8", "--quick", "--device", "cpu", "--out", str(out))]
    common += [*("--size", "64", "--edit-steps", "2", "--metric", "flip", "--metric", "dino")]
    three = [argument for name in (REFUSED, GOOD, LOST) for argument in ("--editor", name)]
    with hub_server() as hub:
        hub.repositories = {
            EDITORS[GOOD].repo_id: repository,
            EDITORS[REFUSED].repo_id: GATED,
            EDITORS[LOST].repo_id: MISSING,
        }
        lines = [
            [*common, *three, "--dry-run"],
            [*common, *three],
            [*common, *three, "--yes"],
            [*common, *three, "--yes"],
        ]
        plan, asked, first, second, end = ran(hub, tmp_path, lines)
        downloads = len(hub.downloads("unet/diffusion_pytorch_model.safetensors"))

    assert plan["before"] == pytest.approx(wanted_bytes(repository) / 1e9)
    assert plan["code"] == 0
    assert "2 pictures" in plan["out"]
    assert "24" in next(line for line in plan["out"].splitlines() if line.startswith(GOOD)).split()
    assert f"{EDITORS[REFUSED].repo_id} is gated" in plan["err"]
    assert f"{EDITORS[LOST].repo_id} is not on the hub" in plan["err"]
    assert asked["code"] == UsageError.exit_code
    assert first["before"] == pytest.approx(wanted_bytes(repository) / 1e9), "nothing is downloaded before the answer"

    assert first["code"] == ModelError.exit_code, "two of three editors are missing"
    assert "metric dino is left out" in first["err"]
    assert first["out"].splitlines()[-1] == str(out / "report.html")
    assert second["out"] == first["out"]
    assert (downloads, second["before"], end["before"]) == (1, 0, 0)
    assert sorted(path.name for path in out.iterdir()) == ["report.html", GOOD]
    summary = json.loads((out / GOOD / "summary.json").read_text())
    assert {row["arm"] for row in summary["tables"]["outcomes"]} == {"pca-diffusion", "pca-concentration"}
    measured = (out / GOOD / "results.jsonl").read_text().splitlines()
    assert len(measured) == len({json.loads(line)["key"] for line in measured}), "measured once"


def test_number_of_edits():
    """Quick: two clean edits; noise and two methods; noise of equal visibility and two controls for each; an unrelated one."""
    quick = real("photographs", PROFILES[8], quick=True)
    assert edits_per_prompt(quick) == 2 + 3 + 2 + 2 * 2 + 1
    assert edits_per_prompt(replace(quick, seeds=3)) == 3 + 3 * 10


def test_hours_grow_with_work_and_size():
    config = replace(real("photographs", PROFILES[8]), editors=("sd15",))
    small = plan_real(config, PROFILES[8], instructions=[3] * 4)
    assert small.hours > 0.1
    assert plan_real(config, PROFILES[8], instructions=[3] * 8).hours == pytest.approx(2 * small.hours)
    assert plan_real(replace(config, size_px=1024), PROFILES[8], instructions=[3] * 4).hours == pytest.approx(
        4 * small.hours
    )
    assert plan_real(config, PROFILES[80], instructions=[3] * 4).hours < small.hours
    (row,) = small.editors
    assert (row.download_gb, row.download_is_nominal) == (REQUIREMENTS["sd15"].download_gigabytes, True), "no network"


def test_editors_fit_their_profile():
    for profile in PROFILES.values():
        for name in profile.editors:
            assert REQUIREMENTS[name].gpu_gigabytes * 1.2 < profile.gigabytes, name
            assert REQUIREMENTS[name].calls == {None: 1, 1.0: 1}.get(
                EDITORS[name].settings.guidance, REQUIREMENTS[name].calls
            )


@pytest.mark.parametrize(
    ("gigabytes", "profile"),
    [(6.2, None), (8.4, 8), (15.6, 16), (15.8, 16), (21.0, 16), (22.5, 24), (24.1, 24), (47, 24), (85, 80)],
)
def test_a_gpu_gets_the_largest_profile_that_fits(gigabytes: float, profile: int | None):
    found = largest_profile(int(gigabytes * 1e9))
    assert (found.gigabytes if found else None) == profile


def test_what_is_refused(photographs: Path, tmp_path: Path):
    config = real(str(photographs), PROFILES[8])
    with pytest.raises(UsageError, match="set HF_HOME to a folder on another disk"):
        require_disk(1e9)
    with pytest.raises(DeviceError, match="give --profile"):
        profile_of(torch.device("cpu"))
    with pytest.raises(UsageError, match="unknown editor 'sd51'"):
        plan_real(replace(config, editors=("sd51",)), PROFILES[8], instructions=[3])
    planned = plan_real(config, PROFILES[8], instructions=[3])
    with pytest.raises(ModelError, match="is gated"):
        require_editors(replace(planned, editors=(replace(planned.editors[0], refused="it is gated"),)))
    assert half_precision(torch.device("cpu")) == "fp32"
    command = ["bench", "real", "--images", str(photographs), "--out", str(tmp_path)]
    assert isinstance(CliRunner().invoke(app, [*command, "--profile", "12"]).exception, UsageError)
    assert isinstance(CliRunner().invoke(app, [*command, "--device", "cpu"]).exception, DeviceError)


def test_the_commands_of_the_notebook(photographs: Path):
    notebook = json.loads((ROOT / "examples" / "bench_real.ipynb").read_text())
    lines = [line.strip() for cell in notebook["cells"] if cell["cell_type"] == "code" for line in cell["source"]]
    commands = [shlex.split(line.removeprefix("!pca-protect ")) for line in lines if line.startswith("!pca-protect ")]
    assert len(commands) == 3
    for command in commands:
        arguments = [str(photographs) if word == "photos" else word for word in command]
        result = CliRunner().invoke(app, [*arguments, *(() if "--dry-run" in arguments else ("--dry-run",))])
        assert result.exit_code == 0, result.output
