"""`--no-evaluate` reaches the work and changes no pixel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from folders import put_pictures
from PIL import Image
from typer.testing import CliRunner

from pca_protect.cli.main import protect_app

Run = Callable[..., Result]

EVALUATED = ("psnr_db", "visible_levels", "loss_clean", "protected", "noise", "gain_over_noise")


@pytest.fixture
def run(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls `protect` in the temporary folder with a tiny VAE and two steps."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Result:
        settings = ("--vae", str(tiny_folder), "--preset", "paper", "--steps", "2")
        return CliRunner().invoke(protect_app, [*arguments, *settings])

    return invoke


def test_the_record_and_the_summary_have_no_evaluation(photo: Path, run: Run):
    skipped = run(photo.name, "--no-evaluate", "--json", "-o", "skipped.png")
    assert skipped.exit_code == 0, skipped.output
    record = json.loads(skipped.stdout)
    assert {name: record[name] for name in EVALUATED} == dict.fromkeys(EVALUATED)
    assert 0 < record["max_change_levels"] <= 16, "the budget is measured nevertheless"
    evaluated = json.loads(run(photo.name, "--json", "-o", "evaluated.png").stdout)
    assert all(evaluated[name] is not None for name in EVALUATED)
    assert np.array_equal(*(np.asarray(Image.open(f"{name}.png")) for name in ("skipped", "evaluated")))
    line = run(photo.name, "--no-evaluate", "-v", "-o", "line.png").stdout
    assert ", not evaluated, " in line
    assert "latent shift" not in line


def test_loss_and_gain_are_shown_with_v(photo: Path, run: Run):
    brief, verbose = (run(photo.name, "-o", f"{name}.png", *more).stdout for name, more in (("a", []), ("b", ["-v"])))
    for line in (brief, verbose):
        assert "latent shift " in line
        assert "% (random noise: " in line
    for part in ("gain over noise ", "loss "):
        assert part in verbose
        assert part not in brief


def test_a_folder_that_was_not_evaluated_is_finished(tmp_path: Path, run: Run):
    put_pictures(tmp_path / "photos", 2)
    assert "2 protected" in run("photos", "-o", "out", "--no-evaluate").stderr
    assert "2 finished before" in run("photos", "-o", "out").stderr


def test_the_estimate_of_a_dry_run(photo: Path, run: Run):
    assert "1 picture, 0.00167 megapixels: about 1 s" in run(photo.name, "--no-evaluate", "--dry-run").stderr
