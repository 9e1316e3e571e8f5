"""Finds input pictures: expands files, folders, glob patterns and lists."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pca_protect.errors import PictureError, UsageError
from pca_protect.io.header import read_header
from pca_protect.io.limits import MAX_PIXELS


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to protect. A run may hold 100,000 of these, so it stores no pixels.

    Attributes:
        path: used to open the file and in messages.
        root: the folder whose tree the outputs mirror; empty for a file named directly.
        place: path relative to `root`; the file name if `root` is empty.
        suffix: extension of the output, with the dot.
        width_px, height_px: from the header, before EXIF rotation; 0 if the header cannot be read.
        problem: error message of a picture that cannot be processed; empty if none is known yet.
    """

    path: str
    root: str
    place: str
    suffix: str = ".png"
    width_px: int = 0
    height_px: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a list of pictures; `root` is empty if the list has none."""

    path: str
    root: str = ""


@dataclass
class Found:
    """Attributes:
    sources: pictures in the order given; within a folder by name, its files before its subfolders.
    folders: input folders.
    several: the inputs include a folder, a pattern or a list, so outputs need a folder.
    not_pictures: number of files, from folders and patterns, in no known image format.
    ours: number of outputs of this program.
    not_entered: number of non-empty subfolders skipped without `recursive`.
    output_inside: the output folder is inside an input folder and was skipped.
    """

    sources: list[Source] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    several: bool = False
    not_pictures: int = 0
    ours: int = 0
    not_entered: int = 0
    output_inside: bool = False

    def messages(self) -> list[str]:
        """What was left out, one sentence each."""
        messages = []
        if self.not_entered:
            messages.append(f"{_count(self.not_entered, 'subfolder')} not entered; add `recursive` to include them")
        if self.not_pictures:
            messages.append(f"{_count(self.not_pictures, 'file')} ignored: not in a recognised image format")
        if self.ours:
            messages.append(f"{_count(self.ours, 'file')} left out: outputs of this program")
        if self.output_inside:
            messages.append("the output folder is inside an input folder and was left out")
        return messages


def discover(
    names: Sequence[str],
    *,
    listed: Sequence[Listed] = (),
    recursive: bool = False,
    output: Path | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Found:
    """Find the pictures of all inputs, reading headers only.

    Outputs mirror a folder from the folder itself, and a pattern (`*`, `?`, `[...]`, `**`) from the part before its first
    wildcard. The format is recognised by content. Within folders, names that begin with a dot are skipped. Symbolic links
    are followed, but each folder is entered once. Unreadable files stay in the result and fail later with their error.

    Args:
        listed: entries of a list, processed after `names`.
        recursive: enter subfolders.
        output: the output folder, excluded from the inputs; None if there is none.
        max_pixels: larger pictures fail when they are read.

    Raises:
        UsageError: a pattern matches nothing, or a list entry is not below its root.
    """
    search = _Search(recursive, identity_of(output) if output is not None else None, max_pixels)
    for name in names:
        if _is_folder(name):
            search.folder(name, name)
        elif not os.path.lexists(name) and _is_pattern(name):
            search.pattern(name)
        else:
            search.named(Listed(name))
    for entry in listed:
        search.found.several = True
        if _is_folder(entry.path):
            search.folder(entry.path, entry.root or entry.path)
        else:
            search.named(entry)
    return search.found


class _Search:
    def __init__(self, recursive: bool, output: tuple[int, int] | None, max_pixels: int) -> None:
        self.found = Found()
        self._recursive = recursive
        self._output = output
        self._max_pixels = max_pixels
        self._entered: set[tuple[int, int]] = set()

    def folder(self, folder: str, root: str) -> None:
        self.found.folders.append(folder)
        self.found.several = True
        for path in self._files_below(folder, root):
            self._add(path, root, os.path.relpath(path, root), named=False)

    def pattern(self, pattern: str) -> None:
        self.found.several = True
        root = _folder_before_wildcard(pattern)
        matches = sorted(glob.iglob(pattern, recursive=True))  # noqa: PTH207 - takes absolute patterns, skips hidden names
        if not matches:
            raise UsageError(f"{pattern}: the pattern matches nothing; check it and the current folder")
        for path in matches:
            if _is_folder(path):
                if "**" not in pattern:  # `**` matches the files of that folder as well
                    self.folder(path, root)
            else:
                self._add(path, root, os.path.relpath(path, root), named=False)

    def named(self, entry: Listed) -> None:
        place = os.path.relpath(entry.path, entry.root) if entry.root else Path(entry.path).name
        if place.split(os.sep, 1)[0] == os.pardir:
            raise UsageError(f"{entry.path}: is not below its root {entry.root}; correct that line of the list")
        self._add(entry.path, entry.root, place, named=True)

    def _add(self, path: str, root: str, place: str, *, named: bool) -> None:
        try:
            mode = Path(path).stat().st_mode
            # Do not read sockets, pipes and devices: it could block or consume data.
            header = read_header(Path(path), max_pixels=self._max_pixels) if stat.S_ISREG(mode) else None
        except (OSError, PictureError):  # possibly a picture: reading it raises the error message
            self.found.sources.append(Source(path, root, place))
            return
        if header is None:
            if named:
                self.found.sources.append(Source(path, root, place))
            else:
                self.found.not_pictures += 1
        elif header.ours:
            self.found.ours += 1
        else:
            self.found.sources.append(Source(path, root, place, header.suffix, header.width, header.height))

    def _files_below(self, folder: str, root: str) -> Iterator[str]:
        """Traverse real folders before links, so that a link target below `root` is listed under its real path."""
        waiting, linked = [folder], list[str]()
        while waiting or linked:
            folder = waiting.pop() if waiting else linked.pop(0)
            identity = identity_of(folder)
            if identity is not None and identity == self._output:
                self.found.output_inside = True
                continue
            if identity in self._entered:
                continue
            if identity is not None:
                self._entered.add(identity)
            try:
                with os.scandir(folder) as listing:
                    entries = sorted((entry for entry in listing if entry.name[0] != "."), key=lambda entry: entry.name)
            except OSError as error:
                self._add_unlistable(folder, root, error)
                continue
            subfolders = []
            for entry in entries:
                if not _is_folder(entry.path):
                    yield entry.path
                elif not self._recursive:
                    self.found.not_entered += identity_of(entry.path) != self._output and _has_visible_entries(
                        entry.path
                    )
                elif entry.is_symlink():
                    linked.append(entry.path)
                else:
                    subfolders.append(entry.path)
            waiting += reversed(subfolders)

    def _add_unlistable(self, folder: str, root: str, error: OSError) -> None:
        problem = (
            f"{folder}: cannot be listed ({error.strerror}), so its pictures are not protected; check its permissions"
        )
        self.found.sources.append(Source(folder, root, os.path.relpath(folder, root), problem=problem))


def identity_of(path: str | Path) -> tuple[int, int] | None:
    """Device and inode of a file or folder, equal for all links to it; None if it does not exist."""
    status = _status(path)
    return (status.st_dev, status.st_ino) if status is not None else None


def _is_folder(path: str) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return Path(path).stat()
    except (OSError, ValueError):
        return None


def _has_visible_entries(folder: str) -> bool:
    try:
        with os.scandir(folder) as listing:
            return any(entry.name[0] != "." for entry in listing)
    except OSError:
        return True


def _is_pattern(name: str) -> bool:
    return any(wildcard in name for wildcard in "*?[")


def _folder_before_wildcard(pattern: str) -> str:
    """The folder before the first wildcard: `photos` for `photos/**/*.jpg`."""
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if _is_pattern(part):
            break
        fixed.append(part)
    return str(Path(*fixed))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun} was" if number == 1 else f"{number} {noun}s were"
