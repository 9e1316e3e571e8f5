"""Which picture goes where: decided, and every collision refused, before any work is done."""

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
"""What every usual file system allows for one name: bytes on Linux, characters on macOS and Windows."""

PROTECTED = "protected"
"""Part of an output's default name, `NAME.protected.EXT`."""

TEST_ONLY = "test-only"
"""Replaces `PROTECTED` where `auto` fell back to an embedded model: the file is protected against no real editor."""

_PICTURE_SUFFIXES = {".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"}


@dataclass(frozen=True, slots=True)
class Job:
    """One picture and the file that it becomes."""

    source: Source
    target: str


@dataclass(frozen=True)
class Plan:
    """Attributes:
    jobs: in the order of the inputs.
    folder: where all outputs go; None where they lie beside the originals or `-o` names one file.
    several: more than one picture was named, or what may hold more.
    """

    jobs: list[Job]
    folder: Path | None
    several: bool = True


def plan(found: Found, output: Path | None, *, allow_lossy: bool = False, label: str = PROTECTED) -> Plan:
    """Pair every picture with its output file. Touches nothing, and does not ask which outputs exist already.

    Without `output` that is `NAME.protected.png` beside the picture. In an output folder it is the same name at the same
    place as below the folder that was given. Otherwise `output` is the file for the one picture given.

    Args:
        label: `PROTECTED` or `TEST_ONLY`.

    Raises:
        UsageError: nothing to protect, folders without a folder for the outputs, an output that would replace an input
            or another output, has no folder to go to, or is lossy without permission.
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
    UsageError: a folder that files should go to is not there or cannot be written to.
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
        raise UsageError("everything named is an output of this program; name the originals")
    reasons = "; ".join(found.messages())
    if where or reasons:
        raise UsageError(f"{where or 'the pattern'}: no picture to protect{f' ({reasons})' if reasons else ''}")
    raise UsageError("no picture given; name one or more files or folders")


def _output_folder(found: Found, output: Path | None, *, allow_lossy: bool) -> Path | None:
    if output is None:
        if found.folders:
            raise UsageError(
                f"{found.folders[0]}: is a folder; say with -o FOLDER where its protected pictures shall go"
            )
        return None
    if output.is_dir():
        check_folder(output)
        return output
    if not found.several:
        if len(found.sources) > 1:
            raise UsageError(f"-o {output}: with several pictures it has to be a folder that exists; create it first")
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
        raise UsageError(f"-o {output}: cannot be made in {existing}; choose another folder")
    return output


def _checked(source: Source, target: str) -> Source:
    """With the problem that the output's name would be too long, where it would."""
    name = Path(target).name
    length = len(name) if sys.platform in ("darwin", "win32") else len(os.fsencode(name))
    if length <= LONGEST_NAME or source.problem:
        return source
    too_many = length - LONGEST_NAME
    problem = f"{source.path}: its output would have a name of {length} bytes, and {LONGEST_NAME} are allowed; "
    return replace(source, problem=f"{problem}make its name {too_many} bytes shorter")


def _without_collisions(jobs: list[Job]) -> Iterator[Job]:
    """Each picture once, however often it was named.

    Raises:
        UsageError: two pictures would be written to one file.
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
        key = _folded(f"{folders[target.parent]}{os.sep}{target.name}")
        other = seen.setdefault(key, job)
        if other is job:
            yield job
        elif not _same_file(other.source.path, job.source.path):
            raise UsageError(
                f"{other.source.path} and {job.source.path} would both be written to {job.target}; "
                "rename one of them, or protect it in a run of its own with another -o"
            )


def _folded(path: str) -> str:
    """One spelling for the names that a usual disk of this system takes for one file."""
    if sys.platform == "darwin":
        return unicodedata.normalize("NFC", path).casefold()
    return os.path.normcase(path)


def _keep_originals(jobs: list[Job]) -> None:
    taken = [(job, identity) for job in jobs if (identity := identity_of(job.target)) is not None]
    if not taken:
        return
    originals = {identity_of(job.source.path) for job in jobs}
    for job, identity in taken:
        if identity in originals:
            raise UsageError(
                f"-o {job.target}: is one of the pictures to protect, and originals are never replaced; "
                "choose another name"
            )


def _same_file(one: str, other: str) -> bool:
    identity = identity_of(one)
    return one == other or (identity is not None and identity == identity_of(other))
