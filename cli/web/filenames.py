"""Sanitises names of uploaded files for HTML, shells and file systems."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

from pca_protect.io.plan import PROTECTED

FOLDER_MARK = "\N{LATIN LETTER DENTAL CLICK}"
"""Separates folders in the names of a dropped folder's files: gradio's upload keeps letters, and not slashes."""

_MAX_LENGTH = 80
_MAX_FOLDERS = 8
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
_ESCAPED = {"%22": '"', "%0A": "\n", "%0D": "\r"}
"""Characters that browsers escape in the file names of a form."""


def safe_path(name: str) -> str:
    """A sanitised name, with the folders that are marked in it."""
    *folders, last = name.split(FOLDER_MARK)
    parts = [safe_name(folder) for folder in folders[:_MAX_FOLDERS] if folder.strip(" .")]
    return "/".join([*parts, safe_name(last)])


def safe_name(name: str) -> str:
    """The last component of a path, without characters that are special to a file system, a shell or HTML."""
    for escape, letter in _ESCAPED.items():
        name = name.replace(escape, letter)
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
        folder, slash, last = name.rpartition("/")
        stem = folder + slash + (last.rpartition(".")[0] or last)
        candidate, number = f"{stem}.{label}{suffix}", 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{stem}-{number}.{label}{suffix}"
        taken.add(candidate.lower())
        names.append(candidate)
    return names
