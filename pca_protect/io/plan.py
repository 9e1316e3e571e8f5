"""Which picture goes where: decided, and every collision refused, before any work is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pca_protect.errors import UsageError
from pca_protect.io.write import output_format

Existing = Literal["refuse", "overwrite", "skip"]


@dataclass(frozen=True)
class Job:
    source: Path
    target: Path
    skip: bool = False


def plan(
    pictures: Sequence[Path], output: Path | None, *, existing: Existing = "refuse", allow_lossy: bool = False
) -> list[Job]:
    """Pair every picture with its output file.

    Without `output` that is `NAME.protected.png` beside the picture; in an existing folder `NAME.protected.png`
    there; otherwise `output` is the file for the one picture given. Touches nothing.

    Raises:
        UsageError: a folder among the pictures, an output that would replace an input or another output, exists
            already, has no folder to go to, or is lossy without permission.
    """
    if not pictures:
        raise UsageError("no picture given; name one or more files")
    for picture in pictures:
        if picture.is_dir():
            raise UsageError(
                f"{picture}: is a folder, and folders are not supported yet; name the pictures, {picture}/*.png say"
            )
    if output is not None and not output.is_dir():
        if len(pictures) > 1:
            raise UsageError(f"-o {output}: with several pictures it has to be a folder that exists; create it first")
        if not output.suffix and not output.exists():
            raise UsageError(f"-o {output}: no such folder; create it first, or end the name in .png to write a file")
        output_format(output, allow_lossy=allow_lossy)
        targets = [output]
    else:
        targets = [(output or picture.parent) / f"{picture.stem}.protected.png" for picture in pictures]

    inputs = {_identity(picture): picture for picture in pictures}
    seen: dict[str, Path] = {}
    jobs = []
    for picture, target in zip(pictures, targets, strict=True):
        identity = _identity(target)
        if identity in inputs:
            raise UsageError(
                f"-o {target}: is one of the pictures to protect, and originals are never replaced; choose another name"
            )
        if identity in seen:
            raise UsageError(
                f"{seen[identity]} and {picture} would both be written to {target}; protect them one at a time with -o"
            )
        seen[identity] = picture
        check_folder(target.parent)
        if target.exists() and existing == "refuse":
            raise UsageError(
                f"{target}: exists already; add --overwrite or --skip-existing, or choose another name with -o"
            )
        jobs.append(Job(picture, target, skip=existing == "skip" and target.exists()))
    return jobs


def _identity(path: Path) -> str:
    """One string per file, however it is spelled: links resolved, and letter case folded where the disk ignores it."""
    if path.exists():
        status = path.stat()
        return f"{status.st_dev}:{status.st_ino}"
    return os.path.normcase(path.resolve())


def check_folder(folder: Path) -> None:
    """Raises:
    UsageError: a folder that files should go to is not there or cannot be written to.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; create it first")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}: cannot be written to; choose another folder with -o")
