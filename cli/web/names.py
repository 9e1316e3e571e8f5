"""Sanitises names of uploaded files for HTML, shells and file systems."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

from pca_protect.io.plan import PROTECTED

_MAX_LENGTH = 80
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def safe_name(name: str) -> str:
    """The last component of a path, without characters that are special to a file system, a shell or HTML."""
    last = PureWindowsPath(PurePosixPath(name.replace("\0", "")).name).name
    replaced = "".join(
        letter if letter.isalnum() or letter in " ._-()" else "_" for letter in unicodedata.normalize("NFC", last)
    )
    plain = re.sub(r"\s+", " ", replaced).strip(" .-")
    stem, dot, suffix = plain.rpartition(".")
    stem, suffix = (stem, f".{suffix}"[:12]) if dot and stem else (plain, "")
    stem = stem[: _MAX_LENGTH - len(suffix)].rstrip(" .") or "picture"
    return f"_{stem}{suffix}" if stem.lower() in _RESERVED else f"{stem}{suffix}"


def protected_names(pictures: Iterable[tuple[str, str]], *, label: str = PROTECTED) -> list[str]:
    """Output names: `photo.jpg` and `.png` -> `photo.protected.png`; duplicates are numbered, `photo-2.protected.png`.

    Args:
        pictures: name of the upload and extension of the output.
        label: see `io.plan.plan`.
    """
    taken: set[str] = set()
    names = []
    for name, suffix in pictures:
        stem = name.rpartition(".")[0] or name
        candidate, number = f"{stem}.{label}{suffix}", 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{stem}-{number}.{label}{suffix}"
        taken.add(candidate.lower())
        names.append(candidate)
    return names
