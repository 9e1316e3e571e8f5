"""Format version of the embedded models' folders."""

from __future__ import annotations

import json
from pathlib import Path

from pca_protect.errors import ModelError

FORMAT = 1
"""To be incremented when older folders can no longer be read, or change their meaning."""

DESCRIPTION = "pocket.json"
"""Description of the training, in every embedded model's folder: {"format": 1, "steps": ..., "seconds": ...}."""


def check_format(folder: Path) -> None:
    """Refuse a pocket model of another format version. Folders without a description are not pocket models and pass.

    Raises:
        ModelError: the version differs or cannot be read.
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
