"""Where the side-by-side picture goes: decided, and every collision refused, before any work is done."""

from __future__ import annotations

from pathlib import Path

from pca_protect.errors import UsageError
from pca_protect.io.plan import check_folder


def sheet_file(picture: Path, output: Path | None) -> Path:
    """`NAME.check.png` beside the picture, or in the folder given; otherwise the file given. Touches nothing.

    Raises:
        UsageError: the file exists, has no folder to go to, or is to be no PNG.
    """
    if output is None or output.is_dir():
        target = (output or picture.parent) / f"{picture.stem}.check.png"
    elif output.suffix.lower() == ".png":
        target = output
    else:
        raise UsageError(f"--output {output}: neither a folder nor a name ending in .png; give one of them")
    check_folder(target.parent)
    if target.exists():
        raise UsageError(f"{target}: exists already and is not replaced; choose another name with --output")
    return target
