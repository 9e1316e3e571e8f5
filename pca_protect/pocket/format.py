"""The version of the embedded models' folders."""

from __future__ import annotations

import json
from pathlib import Path

from pca_protect.errors import ModelError

FORMAT = 1
"""Raised when folders of an older program can no longer be read, or mean something else."""

DESCRIPTION = "pocket.json"
"""In every embedded model's folder: {"format": 1, "steps": ..., "seconds": ...}, the training it had."""


def check_format(folder: Path) -> None:
    """Refuse a pocket model of another version. Folders that say nothing of a version are other people's and pass.

    Raises:
        ModelError: the version is another one or cannot be read.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return
    try:
        version = json.loads(path.read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: names no format version ({error!r}); copy the model's folder again") from error
    if version != FORMAT:
        raise ModelError(
            f"{folder}: a pocket model of format {version}, and this program reads format {FORMAT}; "
            "use the models of the installed pca-protect, or upgrade it"
        )
