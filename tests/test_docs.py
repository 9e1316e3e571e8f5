"""What the documents show is run."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, smooth_picture

import pca_protect.protection
import pca_protect.surrogates.load
from pca_protect.cli.main import app, protect_app

README = (ROOT / "README.md").read_text()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the examples and a few pictures, as a reader of the README would have it."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name in ("photo.png", "photo.jpg"):
        smooth_picture(16, 16).save(tmp_path / name)
    (tmp_path / "photos" / "holiday").mkdir(parents=True)
    smooth_picture(16, 16).save(tmp_path / "photos" / "holiday" / "beach.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", [pca_protect.protection, pca_protect.surrogates.load])
def test_docstrings_can_be_pasted(workplace: Path, module: object):
    result = doctest.testmod(module, verbose=False)
    assert result.attempted > 0
    assert result.failed == 0


def test_readme_python_can_be_pasted(workplace: Path, capsys: pytest.CaptureFixture[str]):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    quick = code.replace('mode="concentration"', 'mode="concentration", steps=1')
    assert quick != code
    exec(compile(quick, "README.md", "exec"), {})
    assert (workplace / "astronaut.protected.png").exists()
    assert len(capsys.readouterr().out.split()) == 4


COMMANDS = re.findall(r"^(?:protect|pca-protect) [^#\n]*", README, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_readme_commands_are_valid(workplace: Path, line: str):
    """Everything but the work itself: `--dry-run` to protect, `--help` for what takes minutes or a bucket."""
    words = [
        name for word in shlex.split(line) for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]
    if words[0] == "protect":
        protect_app([*words[1:], "--dry-run"], standalone_mode=False)
    else:
        slow = words[1] in ("bench", "check") or "ray" in words
        app([*words[1:], *(["--help"] if slow else [])], standalone_mode=False)


def test_readme_shows_commands():
    assert len(COMMANDS) >= 6
    assert "make demo" in README
    assert "make test" in README
