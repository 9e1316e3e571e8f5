"""Plans the output path of each picture and rejects collisions before any work."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pca_protect.errors import UsageError
from pca_protect.io.discover import identity_of
from pca_protect.io.name_case import ignores_case
from pca_protect.io.naming import PROTECTED, TEST_ONLY, NameTemplate
from pca_protect.io.source import Found, Source
from pca_protect.io.write import LOSSLESS, output_format

__all__ = ["PROTECTED", "TEST_ONLY", "Job", "Plan", "check_folder", "is_url", "plan"]

LONGEST_NAME = 255
"""Limit of common file systems for one file name: bytes on Linux, characters on macOS and Windows."""

SUFFIXES = (".png", ".tiff")
"""Possible suffixes of an output in an output folder."""

_BY_DEFAULT = NameTemplate()
_PICTURE_SUFFIXES = {".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"}


@dataclass(frozen=True, slots=True)
class Job:
    """A picture and the path or URL of its output.

    Attributes:
        target: path or URL of the output; without its suffix if `source.suffix` is empty.
        replace: permit replacing an existing output.
        conflict: why the output cannot be written although the picture is not at fault; empty if it can.
        test_only: all encoders are embedded test models, see `Record`.
    """

    source: Source
    target: str
    replace: bool = False
    conflict: str = ""
    test_only: bool = False

    @property
    def candidates(self) -> tuple[str, ...]:
        """All paths that the output may have. The content decides, if its suffix is unknown."""
        return (self.target,) if self.source.suffix else tuple(self.target + suffix for suffix in SUFFIXES)

    @property
    def problem(self) -> str:
        """Why the picture cannot be processed; empty if no reason is known."""
        return self.source.problem or self.conflict


@dataclass(frozen=True)
class Plan:
    """Attributes:
    jobs: in the order of the inputs.
    folder: the output folder or URL; None if outputs go beside the originals or `-o` names one file.
    several: there are several pictures, or an input folder, pattern or list.
    """

    jobs: list[Job]
    folder: str | None
    several: bool = True


def is_url(name: str | Path) -> bool:
    """Whether a name has a URL scheme, such as `s3://`."""
    scheme, separator, _ = str(name).partition("://")
    return bool(separator) and len(scheme) > 1 and scheme.replace("+", "").isalnum()


def plan(
    found: Found,
    output: str | Path | None,
    *,
    allow_lossy: bool = False,
    name: NameTemplate = _BY_DEFAULT,
    suffix: str = "",
    test_only: bool = False,
    fallback: bool = False,
) -> Plan:
    """Pair every picture with its output path. Writes nothing, and does not check which outputs exist.

    Without `output`, outputs go beside their pictures. In an output folder or URL, the tree of the input folder is mirrored.
    Otherwise `output` is the path for the single picture. Jobs with the same output, and jobs whose output is an input, get a
    `conflict`.

    Args:
        name: names of outputs, unless `output` is a file.
        suffix: extension of outputs with the dot; empty for that of each source, see `Source`.
        test_only: all encoders are embedded test models.
        fallback: the user named no test model, see `NameTemplate.test_only`.

    Raises:
        UsageError: there is no picture, an input folder has no output folder, no output is free of conflicts, an output is in
            a missing folder, or is lossy without permission, or a name or extension contradicts `output`.
    """
    _require_pictures(found)
    folder = _output_folder(found, output, allow_lossy=allow_lossy)
    _check_names(output, folder, name, suffix)
    if suffix:
        found = replace(found, sources=[replace(source, suffix=suffix) for source in found.sources])
    chosen = name.test_only(fallback=fallback) if test_only else name
    numbers: dict[str, int] = {}
    jobs = []
    for source in found.sources:
        number = numbers.setdefault(source.path, len(numbers) + 1)
        target = str(output) if output is not None and folder is None else _target(source, folder, chosen, number)
        jobs.append(Job(_checked(source, target), target, test_only=test_only))
    jobs, conflicts = _resolve_collisions(jobs)
    conflicts.update(_originals(jobs))
    if conflicts and len(conflicts) == sum(not job.source.problem for job in jobs):
        raise UsageError(next(iter(conflicts.values())))
    for index, conflict in conflicts.items():
        jobs[index] = replace(jobs[index], conflict=conflict)
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


def _target(source: Source, folder: str | None, name: NameTemplate, number: int) -> str:
    place = name.place(Path(source.place), suffix=source.suffix, number=number)
    if folder is None:
        return str(Path(source.path).parent / place.name)
    return f"{folder}/{place}" if is_url(folder) else str(Path(folder, place))


def _check_names(output: str | Path | None, folder: str | None, name: NameTemplate, suffix: str) -> None:
    """Raises:
    UsageError: a name or extension contradicts the output.
    """
    if folder is not None:
        return
    if output is None:
        if name.is_path:
            raise UsageError(f"`output_name={name.text}`: has folders, which need an output folder; add -o FOLDER")
    elif name != _BY_DEFAULT:
        raise UsageError(f"-o {output}: names the output, and so does `output_name={name.text}`; leave one of them out")
    elif suffix and LOSSLESS.get(Path(output).suffix.lower()) != LOSSLESS[suffix]:
        raise UsageError(f"-o {output}: does not fit `output_format={suffix[1:]}`; leave one of them out")


def _output_folder(found: Found, output: str | Path | None, *, allow_lossy: bool) -> str | None:
    if output is not None and is_url(output):
        return str(output).rstrip("/")
    if output is None:
        for source in found.sources:
            if is_url(source.path):
                raise UsageError(f"{source.path}: is a URL, which needs an output folder or URL; add -o")
        if found.folders:
            raise UsageError(f"{found.folders[0]}: is a folder, which needs an output folder; add -o FOLDER")
        return None
    if not str(output):
        raise UsageError("-o is empty; name a file or a folder, and check the shell variable if one was used")
    output = Path(output)
    if output.is_dir():
        check_folder(output)
        return str(output)
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
    return str(output)


def _checked(source: Source, target: str) -> Source:
    """Set `problem` if the output's name would be too long."""
    name = Path(target).name
    length = len(name) if sys.platform in ("darwin", "win32") else len(os.fsencode(name))
    if length <= LONGEST_NAME or source.problem:
        return source
    excess = length - LONGEST_NAME
    problem = f"{source.path}: its output's name would have {length} bytes, over the limit of {LONGEST_NAME}; "
    return replace(source, problem=f"{problem}shorten the picture's name by {excess} bytes")


def _resolve_collisions(jobs: list[Job]) -> tuple[list[Job], dict[int, str]]:
    """The jobs without repeated pictures, and by index the conflicts of different pictures with the same output."""
    kept: list[Job] = []
    first: dict[str, int] = {}
    conflicts: dict[int, str] = {}
    for job, name in zip(jobs, _file_names(jobs), strict=True):
        if not job.source.problem:
            index = first.setdefault(name, len(kept))
            if index < len(kept):
                other = kept[index].source.path
                if _same_file(other, job.source.path):
                    continue
                conflicts[len(kept)] = (
                    f"{other} and {job.source.path} would both be written to {job.target}; "
                    "rename one of them, or tell them apart by {name} or {parent} in `output_name`"
                )
                conflicts.setdefault(index, conflicts[len(kept)])
        kept.append(job)
    return kept, conflicts


def _file_names(jobs: list[Job]) -> Iterator[str]:
    """The targets, spelled so that names of one file are equal. A disk is asked about case if names differ in nothing else."""

    @cache
    def folder_of(parent: str) -> str:
        return os.path.realpath(parent)

    @cache
    def folds(parent: str) -> bool:
        return ignores_case(Path(parent))

    def exact(target: str) -> str:
        parent, name = os.path.split(target)
        return f"{folder_of(parent)}/{name}"

    first: dict[str, str] = {}
    ambiguous: set[str] = set()
    for job in jobs:
        if not is_url(job.target):
            name = exact(job.target)
            if first.setdefault(_folded(name), name) != name:
                ambiguous.add(_folded(name))
    del first  # as large as the jobs
    for job in jobs:
        if is_url(job.target):
            yield job.target
            continue
        name = exact(job.target)
        key = _folded(name) if ambiguous else name
        yield key if key in ambiguous and folds(os.path.split(job.target)[0]) else name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _originals(jobs: list[Job]) -> dict[int, str]:
    """Conflicts of outputs that are inputs, by index."""
    existing = [(index, identity_of(job.target)) for index, job in enumerate(jobs) if not is_url(job.target)]
    existing = [(index, identity) for index, identity in existing if identity is not None]
    originals = {identity_of(job.source.path) for job in jobs} if existing else set()
    return {
        index: (
            f"-o {jobs[index].target}: is one of the pictures to protect, and originals are never replaced; "
            "choose another name"
        )
        for index, identity in existing
        if identity in originals
    }


def _same_file(first: str, second: str) -> bool:
    identity = identity_of(first)
    return first == second or (identity is not None and identity == identity_of(second))
