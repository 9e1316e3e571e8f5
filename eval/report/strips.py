"""Pictures saved by a benchmark: an original, its protected versions, and the edits of all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pca_protect.eval.saved_edits import CLEAN, OTHER_SEED

_SHOWN = (
    *("noise-visible", "photoguard", "sds-plus", "pca-diffusion", "pca-diffusion shuffled"),
    *("pca-concentration", "pca-concentration shuffled"),
)
"""Arms and controls, shown if measured; others stay in the folder."""


@dataclass(frozen=True)
class Cell:
    """Attributes:
    caption: of the column.
    given: the editor's input.
    edit: the editor's output.
    """

    caption: str
    given: Path
    edit: Path


@dataclass(frozen=True)
class Strip:
    """One picture through one editor."""

    editor: str
    picture: str
    cells: list[Cell]


def strips_in(folder: Path) -> list[Strip]:
    """The strips of a folder EDITOR/PICTURE/*.png; empty if it does not exist."""
    return [
        Strip(editor.name, picture.name, _cells(picture))
        for editor in _folders(folder)
        for picture in _folders(editor)
        if (picture / f"{CLEAN}.png").exists() and (picture / "original.png").exists()
    ]


def _cells(folder: Path) -> list[Cell]:
    cells = [Cell("not protected", folder / "original.png", folder / f"{CLEAN}.png")]
    if (folder / f"{OTHER_SEED}.png").exists():
        cells.append(Cell("not protected, another seed", folder / "original.png", folder / f"{OTHER_SEED}.png"))
    for shown in _SHOWN:
        arm, _, control = shown.partition(" ")
        pattern = re.compile(rf"{arm}-([0-9.]+){f'-{control}' if control else ''}")
        edits = {
            float(match[1]): path
            for path in folder.glob("*.png")
            if (match := pattern.fullmatch(path.stem)) is not None
        }
        if edits:
            levels = max(edits)
            given = edits[levels].with_name(f"{edits[levels].stem}-protected.png")
            if given.exists():
                cells.append(Cell(f"{shown}, {levels:g} levels", given, edits[levels]))
    return cells


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
