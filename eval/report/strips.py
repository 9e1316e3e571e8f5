"""Pictures saved by a benchmark: an original, its protected versions, and the edits of all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_ARMS = ("noise-visible", "photoguard", "sds-plus", "pca-diffusion", "pca-concentration")
"""Shown if measured; other arms stay in the folder."""


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
        if (picture / "clean.png").exists() and (picture / "original.png").exists()
    ]


def _cells(folder: Path) -> list[Cell]:
    cells = [Cell("not protected", folder / "original.png", folder / "clean.png")]
    for arm in _ARMS:
        edits = sorted(folder.glob(f"{arm}-[0-9]*.png"), key=lambda path: len(path.name))
        edits = [path for path in edits if not path.stem.endswith("-protected")]
        if edits:
            strongest = max(edits, key=lambda path: int(path.stem.rpartition("-")[2]))
            given = strongest.with_name(f"{strongest.stem}-protected.png")
            if given.exists():
                cells.append(Cell(f"{arm}, {strongest.stem.rpartition('-')[2]} levels", given, strongest))
    return cells


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
