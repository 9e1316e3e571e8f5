"""Plans the output path of each picture and rejects collisions before any work."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pca_protect.errors import UsageError
from pca_protect.io.discover import Found, Source, identity_of
from pca_protect.io.write import output_format

LONGEST_NAME = 255
"""Limit of common file systems for one file name: bytes on Linux, characters on macOS and Windows."""

PROTECTED = "protected"
"""Part of an output's default name, `NAME.protected.EXT`."""

TEST_ONLY = "test-only"
"""Replaces `PROTECTED` if `auto` fell back to an embedded model, which protects against no real editor."""

_PICTURE_SUFFIXES = {".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"}


@dataclass(frozen=True, slots=True)
class Job:
    """A picture and the path of its output."""

    source: Source
    target: str


@dataclass(frozen=True)
class Plan:
    """Attributes:
    jobs: in the order of the inputs.
    folder: the output folder; None if outputs go beside the originals or `-o` names one file.
    several: there are several pictures, or an input folder, pattern or list.
    """

    jobs: list[Job]
    folder: Path | None
    several: bool = True


def plan(found: Found, output: Path | None, *, allow_lossy: bool = False, label: str = PROTECTED) -> Plan:
    """Pair every picture with its output path. Writes nothing, and does not check which outputs exist.

    Without `output`, the path is `NAME.protected.png` beside the picture. In an output folder, that name is kept and the
    tree of the input folder is mirrored. Otherwise `output` is the path for the single picture.

    Args:
        label: `PROTECTED` or `TEST_ONLY`.

    Raises:
        UsageError: there is no picture, an input folder has no output folder, or an output would replace an input or
            another output, is in a missing folder, or is lossy without permission.
    """
    _require_pictures(found)
    folder = _output_folder(found, output, allow_lossy=allow_lossy)
    jobs = []
    for source in found.sources:
        if output is not None and folder is None:
            target = str(output)
        else:
            beside = Path(source.path).parent if folder is None else folder / Path(source.place).parent
            target = str(beside / f"{Path(source.place).stem}.{label}{source.suffix}")
        jobs.append(Job(_checked(source, target), target))
    jobs = list(_without_collisions(jobs))
    _keep_originals(jobs)
    if folder is None:
        for parent in {Path(job.target).parent for job in jobs if not job.source.problem}:
            check_folder(parent)
    return Plan(jobs, folder, found.several or len(jobs) > 1)


def check_folder(folder: Path) -> None:
    """Raises:
    UsageError: the folder does not exist or is not writable.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; create it first")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}: cannot be written to; choose another folder with -o")


def _require_pictures(found: Found) -> None:
    if found.sources:
        return
    where = ", ".join(found.folders)
    if not found.folders and found.ours:
        raise UsageError("all inputs are outputs of this program; name the originals")
    reasons = "; ".join(found.messages())
    if where or reasons:
        raise UsageError(f"{where or 'the pattern'}: no picture to protect{f' ({reasons})' if reasons else ''}")
    raise UsageError("no picture given; name one or more files or folders")


def _output_folder(found: Found, output: Path | None, *, allow_lossy: bool) -> Path | None:
    if output is None:
        if found.folders:
            raise UsageError(f"{found.folders[0]}: is a folder, which needs an output folder; add -o FOLDER")
        return None
    if output.is_dir():
        check_folder(output)
        return output
    if not found.several:
        if len(found.sources) > 1:
            raise UsageError(f"-o {output}: several pictures need an existing folder; create it first")
        if not output.suffix and not output.exists():
            raise UsageError(f"-o {output}: no such folder; create it first, or end the name in .png to write a file")
        output_format(output, allow_lossy=allow_lossy)
        return None
    if output.exists():
        raise UsageError(f"-o {output}: is a file, and several pictures need a folder; choose another name")
    if output.suffix.lower() in _PICTURE_SUFFIXES:
        raise UsageError(f"-o {output}: names a picture, and several pictures need a folder; choose a folder's name")
    existing = next(parent for parent in output.absolute().parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f"-o {output}: cannot be created in {existing}; choose another folder")
    return output


def _checked(source: Source, target: str) -> Source:
    """Set `problem` if the output's name would be too long."""
    name = Path(target).name
    length = len(name) if sys.platform in ("darwin", "win32") else len(os.fsencode(name))
    if length <= LONGEST_NAME or source.problem:
        return source
    excess = length - LONGEST_NAME
    problem = f"{source.path}: its output's name would have {length} bytes, over the limit of {LONGEST_NAME}; "
    return replace(source, problem=f"{problem}shorten the picture's name by {excess} bytes")


def _without_collisions(jobs: list[Job]) -> Iterator[Job]:
    """Remove repeated pictures.

    Raises:
        UsageError: two pictures have the same output.
    """
    seen: dict[str, Job] = {}
    folders: dict[Path, str] = {}
    for job in jobs:
        if job.source.problem:
            yield job
            continue
        target = Path(job.target)
        if target.parent not in folders:
            folders[target.parent] = os.path.realpath(target.parent)
        key = _normalised(f"{folders[target.parent]}{os.sep}{target.name}")
        other = seen.setdefault(key, job)
        if other is job:
            yield job
        elif not _same_file(other.source.path, job.source.path):
            raise UsageError(
                f"{other.source.path} and {job.source.path} would both be written to {job.target}; "
                "rename one of them, or protect them in separate runs with different -o"
            )


def _normalised(path: str) -> str:
    """Normalise a path so that names of one file on this system's default file system are equal."""
    if sys.platform == "darwin":
        return unicodedata.normalize("NFC", path).casefold()
    return os.path.normcase(path)


def _keep_originals(jobs: list[Job]) -> None:
    existing_targets = [(job, identity) for job in jobs if (identity := identity_of(job.target)) is not None]
    if not existing_targets:
        return
    originals = {identity_of(job.source.path) for job in jobs}
    for job, identity in existing_targets:
        if identity in originals:
            raise UsageError(
                f"-o {job.target}: is one of the pictures to protect, and originals are never replaced; "
                "choose another name"
            )


def _same_file(first: str, second: str) -> bool:
    identity = identity_of(first)
    return first == second or (identity is not None and identity == identity_of(second))
