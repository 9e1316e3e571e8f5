"""Whether a disk is case-insensitive: names that differ only in case are one file, as on exFAT, NTFS, APFS and SMB shares."""

from __future__ import annotations

import itertools
import os
import secrets
from pathlib import Path

_ENTRIES = 100


def ignores_case(folder: Path) -> bool:
    """Look at an entry of the folder under its name in the other case; in a folder without letters in its names, create a file
    for it and remove it again. For a folder that does not exist, look at the nearest one above that does. False if the folder
    cannot be read or written to.
    """
    existing = next((one for one in (folder, *folder.absolute().parents) if one.is_dir()), None)
    if existing is None:
        return False
    try:
        with os.scandir(existing) as entries:
            for entry in itertools.islice(entries, _ENTRIES):
                if entry.name.swapcase() != entry.name:
                    return _is_same(Path(entry.path))
        probe = existing / f".pca-probe-{secrets.token_hex(4)}"
        probe.touch(exist_ok=False)
        try:
            return _is_same(probe)
        finally:
            probe.unlink()
    except OSError:
        return False


def _is_same(path: Path) -> bool:
    other = path.with_name(path.name.swapcase())
    return os.path.lexists(other) and os.path.samestat(path.lstat(), other.lstat())
