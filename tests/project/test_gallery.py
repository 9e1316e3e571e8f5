"""The picture of edits that `examples/gallery.py` makes."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ASTRONAUT, ROOT
from PIL import Image

from pca_protect.eval.pictures import square_picture

SIDE = 256
BUDGET = 12
COLUMNS = ("original", "another seed", "noise", "diffusion", "concentration")
QUICK = ["--modes", *COLUMNS[3:], "--steps", "2", "--budget", str(BUDGET), "--device", "cpu"]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / "gallery.py"))


@pytest.fixture(scope="module")
def sheet(script: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    output = tmp_path_factory.mktemp("gallery") / "new" / "gallery.png"
    images = ["--images", str(ASTRONAUT), str(ASTRONAUT)]
    script["main"]([*QUICK, *images, "--prompts", "sunset", "at night", "--output", str(output)])
    return np.asarray(Image.open(output))


@pytest.fixture(scope="module")
def tiles(script: dict[str, Any], sheet: np.ndarray) -> dict[tuple[int, int, str], np.ndarray]:
    """By block, line and column."""
    found = {}
    line_height = SIDE + script["CAPTION"]
    for block in range(2):
        for line in range(2):
            top = block * (script["TITLE"] + script["CAPTION"] + 2 * line_height)
            top += script["TITLE"] + script["CAPTION"] + line * line_height
            for column, name in enumerate(COLUMNS):
                left = script["SIDE_TEXT"] + column * (SIDE + script["MARGIN"])
                found[block, line, name] = sheet[top : top + SIDE, left : left + SIDE].astype(int)
                assert (sheet[top : top + SIDE, left + SIDE : left + SIDE + script["MARGIN"]] == 255).all()
                below = sheet[top + SIDE : top + line_height, left : left + SIDE]
                same = name == "original" or (line == 0 and name == "another seed")
                assert (below < 128).any() != same, f"a number under {name}, or none"
    return found


def test_given_pictures_stay_within_the_budget(tiles: dict[tuple[int, int, str], np.ndarray]):
    original = square_picture(ASTRONAUT, SIDE).rgb
    for block in range(2):
        assert (tiles[block, 0, "original"] == original).all()
        assert (tiles[block, 0, "another seed"] == original).all()
        for name in COLUMNS[2:]:
            assert 0 < np.abs(tiles[block, 0, name] - original).max() <= BUDGET


def test_every_edit_is_another(tiles: dict[tuple[int, int, str], np.ndarray]):
    edits = [tile for (_, line, _), tile in tiles.items() if line == 1]
    for number, edit in enumerate(edits):
        assert np.abs(edit - tiles[0, 0, "original"]).mean() > 5
        assert all((edit != other).any() for other in edits[:number])
    night, day = tiles[1, 1, "original"], tiles[1, 0, "original"]
    assert night.mean() < day.mean() / 1.5


def test_there_is_a_title_and_a_foot(script: dict[str, Any], sheet: np.ndarray):
    assert (sheet[: script["TITLE"]] < 128).any()
    assert (sheet[-script["FOOT"] :] < 128).any()
    assert (sheet[:, -script["MARGIN"] :] == 255).all(), "text runs over the right edge"


def test_another_number_of_prompts_is_refused(script: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        script["main"](["--images", "one.png", "two.png", "three.png", "--prompts", "sunset", "snow"])
    assert "3 pictures and 2 prompts" in capsys.readouterr().err


def test_a_failed_edit_of_the_original_is_said(
    script: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """pocket-editor's watercolor of the astronaut comes out no closer to one than an edit without a prompt does."""
    output = ["--editor", "pocket-editor", "--output", str(tmp_path / "sheet.png")]
    for prompt, failed in (("watercolor", True), ("sunset", False)):
        script["main"](["--modes", "diffusion", "--steps", "1", "--device", "cpu", "--prompts", prompt, *output])
        assert ("the edit of the original does not" in capsys.readouterr().out) == failed
