"""Names of uploaded files, made fit for a page, a command and every file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

from pca_protect.io.plan import PROTECTED

_LONGEST = 80
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def safe_name(name: str) -> str:
    """The last part of a path, without what a file system, a shell or a page could take for something else."""
    last = PureWindowsPath(PurePosixPath(name.replace("\0", "")).name).name
    kept = "".join(
        letter if letter.isalnum() or letter in " ._-()" else "_" for letter in unicodedata.normalize("NFC", last)
    )
    plain = re.sub(r"\s+", " ", kept).strip(" .-")
    stem, dot, suffix = plain.rpartition(".")
    stem, suffix = (stem, f".{suffix}"[:12]) if dot and stem else (plain, "")
    stem = stem[: _LONGEST - len(suffix)].rstrip(" .") or "picture"
    return f"_{stem}{suffix}" if stem.lower() in _RESERVED else f"{stem}{suffix}"


def protected_names(pictures: Iterable[tuple[str, str]], *, label: str = PROTECTED) -> list[str]:
    """`photo.jpg` and `.png` -> `photo.protected.png`; a number before it where several would be called the same.

    Args:
        pictures: name, and extension of the file that will be made.
        label: see `io.plan.plan`.
    """
    given: set[str] = set()
    found = []
    for name, suffix in pictures:
        stem = name.rpartition(".")[0] or name
        candidate, number = f"{stem}.{label}{suffix}", 1
        while candidate.lower() in given:
            number += 1
            candidate = f"{stem}-{number}.{label}{suffix}"
        given.add(candidate.lower())
        found.append(candidate)
    return found
