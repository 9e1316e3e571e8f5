"""The scripts in examples/, run as a reader would run them; some have a test file of their own."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import pca_protect
from pca_protect import ProtectConfig
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.purifiers.filters import FILTERS

EXAMPLES = ROOT / "examples"
FACE = (170, 60, 298, 188)

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a script in an empty folder; gives what it prints."""
    monkeypatch.chdir(tmp_path)

    def run_script(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_script


def numbers(pattern: str, text: str) -> tuple[float, ...]:
    """What the groups of a pattern hold."""
    found = re.search(pattern, text)
    assert found, text
    return tuple(map(float, found.groups()))


def largest_change(path: str) -> int:
    """Of a protected crop of the astronaut's face."""
    face = np.asarray(Image.open(EXAMPLES / "astronaut.png").convert("RGB").crop(FACE)).astype(int)
    return int(np.abs(np.asarray(Image.open(path).convert("RGB")).astype(int) - face).max())


def test_add_a_loss(run: Run):
    printed = run("add_a_loss.py", "--output", "flat.png")
    assert 0 < largest_change("flat.png") <= 16
    before, after = numbers(r"variance of the latent ([\d.]+) -> ([\d.]+)", printed)
    assert after < 0.7 * before
    moved, noise = numbers(r"latent shift (\d+)% \(random noise: (\d+)%\)", printed)
    assert moved > 2 * noise


def test_add_a_surrogate(run: Run):
    printed = run("add_a_surrogate.py", "--output", "half.png")
    assert 0 < largest_change("half.png") <= 16
    assert "against pocket + pocket-half" in printed
    for name in ("pocket", "pocket-half"):
        moved, noise = numbers(rf"{name}: latent shift (\d+)% \(random noise: (\d+)%\)", printed)
        assert moved > 2 * noise


def test_add_an_editor(run: Run):
    printed = run("add_an_editor.py", "--output", "mine")
    embedded, mine = load_editor("pocket-editor", offline=True), load_editor("mine", offline=True)
    assert (mine.kind, mine.size_px) == ("inpaint", embedded.size_px)
    assert mine.surrogate.digest == embedded.surrogate.digest
    protected, noise = numbers(r"protected: ([\d.]+)\n.*random noise: ([\d.]+)", printed)
    assert protected > 2 * noise


def test_add_a_purifier(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(FILTERS, "nl-means", FILTERS["blur-1"])  # taken out again after the test
    printed = run("add_a_purifier.py")
    (before,) = numbers(r"FLIP error: ([\d.]+)", printed)
    (left,) = numbers(r"non-local means of strength 6: ([\d.]+), \d+% remains", printed)
    (blurred,) = numbers(r"Gaussian blur of 1 px: ([\d.]+), \d+% remains", printed)
    assert 0 < blurred < before
    assert left != blurred


def test_demo(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With one step where `make demo` takes forty."""
    monkeypatch.setattr(pca_protect, "ProtectConfig", partial(ProtectConfig, steps=1, preset="paper"))
    printed = run("demo.py", "--output", "demo")
    original = np.asarray(Image.open(EXAMPLES / "astronaut.png")).astype(int)
    for mode in ("diffusion", "concentration"):
        protected = np.asarray(Image.open(tmp_path / "demo" / f"astronaut.{mode}.png")).astype(int)
        assert np.abs(protected - original).max() == 2
        assert f"mode {mode}" in printed
    with Image.open(tmp_path / "demo" / "demo.png") as sheet:
        assert sheet.width > 3 * 512


def test_every_example_is_run_and_named():
    folder = Path(__file__).parent
    tested = "".join((folder / f"test_{name}.py").read_text() for name in ("guides", "gallery", "integrations"))
    named = (EXAMPLES / "README.md").read_text()
    for script in EXAMPLES.glob("*.py"):
        assert f'"{script.name}"' in tested, "no test runs it"
        assert f"| `{script.name}` |" in named, "README.md does not name it"
