"""A manifest: pictures with prompts of their own, one JSON object per line.

    {"picture": "beach.jpg", "prompts": ["make the sky red"], "mask": "beach-sky.png", "description": "a beach at noon"}

`picture` and `mask` are relative to the manifest. `prompts` is a list of instructions, or an object of names and instructions;
names, or else the instructions, group the rows by prompt. White pixels of `mask` are repainted by inpainting editors.
`description` is the text of the original for the metric `clip-direction`. The last two are optional.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pca_protect.errors import PictureError, UsageError, first_line, quoted
from pca_protect.eval.editors.editor import Mask
from pca_protect.eval.trial import instructions
from pca_protect.io.read import read_picture

_KEYS = ("picture", "prompts", "mask", "description")
_WHITE = 128
"""Smallest level of a repainted pixel."""


@dataclass(frozen=True)
class ManifestEntry:
    """One line of a manifest.

    Attributes:
        picture: file.
        digest: SHA-256 of the picture file in hex.
        prompts: short name -> instruction.
        mask: file; None without a mask.
        mask_digest: SHA-256 of the mask file in hex; empty without a mask.
        description: of the original; None if not given.
    """

    picture: Path
    digest: str
    prompts: Mapping[str, str]
    mask: Path | None = None
    mask_digest: str = ""
    description: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Plain values that determine the measurements, without the digest of the picture."""
        return {"prompts": dict(self.prompts), "mask": self.mask_digest, "description": self.description}


def read_manifest(path: Path) -> list[ManifestEntry]:
    """The entries of a manifest, in order. All files that it names are read.

    Raises:
        UsageError: the manifest is missing or empty, or a line of it is wrong; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UsageError(f"manifest {path}: cannot be read ({reason}); give a file of JSON lines in UTF-8") from error
    entries: list[ManifestEntry] = []
    lines_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = _entry(line, path.parent)
            if entry.picture.name in lines_of:
                earlier = lines_of[entry.picture.name]
                raise UsageError(
                    f"line {earlier} has a picture {quoted(entry.picture.name, 60)} too; give each name once"
                )
        except UsageError as error:
            raise UsageError(f"{path} line {number}: {error}") from error
        lines_of[entry.picture.name] = number
        entries.append(entry)
    if not entries:
        raise UsageError(f"manifest {path}: has no line; write one JSON object per picture")
    return entries


def shared_prompts(entries: Sequence[ManifestEntry]) -> list[str]:
    """Names of the prompts that several pictures have."""
    counts = Counter(name for entry in entries for name in entry.prompts)
    return [name for name, count in counts.items() if count > 1]


def square_mask(path: Path, size_px: int) -> Mask:
    """Which pixels of the picture's centred square, resized to `(size_px, size_px)`, are repainted."""
    square = ImageOps.fit(Image.fromarray(_levels(path)), (size_px, size_px), Image.Resampling.NEAREST)
    return np.asarray(square) >= _WHITE


def _entry(line: str, folder: Path) -> ManifestEntry:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not JSON ({quoted(first_line(error), 80)}); write one object per line") from error
    if not isinstance(found, dict):
        raise UsageError("is no JSON object; write one object per line")
    unknown = [key for key in found if key not in _KEYS]
    if unknown:
        raise UsageError(f"unknown key {quoted(unknown[0], 40)!r}; known ones are {', '.join(_KEYS)}")
    picture = folder / _text(found, "picture", required=True)
    mask_name, description = _text(found, "mask"), _text(found, "description")
    try:
        original = read_picture(picture)
        mask = None if not mask_name else folder / mask_name
        mask_picture = None if mask is None else read_picture(mask)
    except PictureError as error:
        raise UsageError(str(error)) from error
    if mask_picture is not None:
        (height, width), (mask_height, mask_width) = original.rgb.shape[:2], mask_picture.rgb.shape[:2]
        if (height, width) != (mask_height, mask_width):
            raise UsageError(
                f"mask {quoted(mask_name, 60)} is {mask_width}x{mask_height} px and its picture {width}x{height} px; "
                "give a mask of the picture's size"
            )
        if mask_picture.rgb.max() < _WHITE:
            raise UsageError(f"mask {quoted(mask_name, 60)} repaints nothing; make what is to be repainted white")
    return ManifestEntry(
        picture=picture,
        digest=original.digest,
        prompts=_prompts(found.get("prompts")),
        mask=mask,
        mask_digest="" if mask_picture is None else mask_picture.digest,
        description=description or None,
    )


def _prompts(found: object) -> dict[str, str]:
    """Raises:
    UsageError: they are neither texts nor named texts, or are refused by `instructions`.
    """
    if isinstance(found, dict):
        texts, names = list(found.values()), list(found)
    elif isinstance(found, list):
        texts, names = found, []
    else:
        texts, names = [], []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise UsageError("`prompts` has to be a list of instructions, or an object of names and instructions")
    if any(not name.strip() for name in names):
        raise UsageError("`prompts` has an empty name; name every prompt, or give a list")
    return instructions(dict(zip(names, texts, strict=True)) if names else texts)


def _text(found: Mapping[str, object], key: str, *, required: bool = False) -> str:
    """The text of a key; empty if the key is missing."""
    value = found.get(key, None if required else "")
    if not isinstance(value, str) or (key in found and not value.strip()):
        raise UsageError(
            f"`{key}` is missing or no text; give {'a text' if key == 'description' else 'the name of a file'}"
        )
    return value


def _levels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Brightest channel of a picture file, `(H, W)` uint8."""
    return np.asarray(read_picture(path).rgb.max(axis=2))
