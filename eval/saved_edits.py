"""Edits that a benchmark saved as pictures, for judges.

edits/EDITOR/PICTURE/original.png               the picture before every arm
edits/EDITOR/PICTURE/PROMPT/prompt.txt          the instruction
edits/EDITOR/PICTURE/PROMPT/VARIANT.png         the first edit of a variant, such as `clean` or `pca-diffusion 16`
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pca_protect.errors import UsageError
from pca_protect.eval.pictures import Rgb

FOLDER = "edits"
CLEAN, OTHER_SEED = "clean", "clean-other-seed"
_ORIGINAL, _PROMPT = "original.png", "prompt.txt"


@dataclass(frozen=True)
class SavedEdits:
    """The edits of one picture with one prompt.

    Attributes:
        prompt: the instruction.
        edits: variant -> file; `CLEAN` is among them.
    """

    editor: str
    picture: str
    prompt: str
    original: Path
    edits: dict[str, Path]

    @property
    def name(self) -> str:
        """Unique in a run."""
        return f"{self.editor} | {self.picture} | {self.edits[CLEAN].parent.name}"


def save_original(folder: Path, original: Rgb) -> None:
    """Args:
    folder: of the picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(original).save(folder / _ORIGINAL)


def save_edit(folder: Path, number: int, name: str, prompt: str, variant: str, edit: Rgb) -> None:
    """Args:
    folder: of the picture.
    number: of the prompt in the run; it keeps long names apart after they were cut.
    name: short name of the prompt.
    """
    target = folder / f"{number}-{re.sub(r'[^A-Za-z0-9]+', '-', name)[:40].strip('-')}"
    target.mkdir(parents=True, exist_ok=True)
    (target / _PROMPT).write_text(prompt + "\n", encoding="utf-8")
    Image.fromarray(edit).save(target / f"{variant}.png")


def saved_edits(run: Path) -> list[SavedEdits]:
    """The edits saved in a benchmark's folder, sorted by editor, picture and prompt.

    Raises:
        UsageError: there are none.
    """
    found = []
    for original in sorted((run / FOLDER).glob(f"*/*/{_ORIGINAL}")):
        for prompt in sorted(original.parent.glob(f"*/{_PROMPT}")):
            edits = {path.name.removesuffix(".png"): path for path in sorted(prompt.parent.glob("*.png"))}
            if CLEAN in edits:
                text = prompt.read_text(encoding="utf-8").strip()
                found.append(SavedEdits(original.parent.parent.name, original.parent.name, text, original, edits))
    if not found:
        raise UsageError(f"{run}: holds no saved edits; run bench editing with --keep-edits and give its folder")
    return found


def read_edit(path: Path) -> Rgb:
    """Raises:
    UsageError: the file is not a picture.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise UsageError(f"{path}: is not a readable picture; run the benchmark again in a new folder") from error


def digest_of(edits: Iterable[SavedEdits]) -> str:
    """SHA-256 of the names and contents of all files."""
    sha = hashlib.sha256()
    for one in edits:
        for name, path in {"original": one.original, **one.edits}.items():
            sha.update(f"{one.name} | {name} | ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()
