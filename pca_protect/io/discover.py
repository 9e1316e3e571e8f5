"""Which pictures are meant by the files, folders, patterns and lists that were given."""

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
    """A picture to protect, small enough to hold a hundred thousand of.

    Attributes:
        path: as it is opened, and named in messages.
        root: the folder whose tree the outputs mirror; empty for a picture that was named by itself.
        place: where it lies below `root`; its bare name where there is none.
        suffix: what its output's name ends in.
        width_px, height_px: as its header says, before any rotation; 0 where that cannot be read.
        problem: the sentence that it fails with, where that is known before any work; else empty.
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
    """An entry of a list of pictures; `root` is empty where the list does not say it."""

    path: str
    root: str = ""


@dataclass
class Found:
    """Attributes:
    sources: the pictures, in the order given; a folder's by name, its own before those of its subfolders.
    folders: the folders that were given.
    several: a folder, a pattern or a list was given, so that outputs need a folder.
    not_pictures: files of folders and patterns whose content is no picture.
    ours: files that this program made.
    not_entered: subfolders with something in them that were left alone.
    output_inside: the output folder lies inside a folder that was given, and was left out.
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
        said = []
        if self.not_entered:
            said.append(f"{_count(self.not_entered, 'subfolder')} not entered; add `recursive` to include them")
        if self.not_pictures:
            said.append(f"{_count(self.not_pictures, 'file')} ignored, no picture by content")
        if self.ours:
            said.append(f"{_count(self.ours, 'file')} left out: outputs of this program")
        if self.output_inside:
            said.append("the output folder lies among the inputs and was left out")
        return said


def discover(
    names: Sequence[str],
    *,
    listed: Sequence[Listed] = (),
    recursive: bool = False,
    output: Path | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Found:
    """Look at everything that was given; no pixel is decoded.

    Folders are mirrored from themselves, patterns (`*`, `?`, `[...]`, `**`) from the part before the first wildcard.
    Content decides what is a picture. Names that begin with a dot are skipped in folders, links are followed, and every
    folder is entered once however many links lead there. What cannot be looked at is kept, to fail with its sentence.

    Args:
        listed: entries of a list, after the names.
        recursive: enter subfolders.
        output: the folder that outputs go to, if any; nothing in it is an input.
        max_pixels: larger pictures fail when they are read.

    Raises:
        UsageError: a pattern that nothing matches.
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
        root = _fixed_part(pattern)
        matches = sorted(glob.iglob(pattern, recursive=True))  # noqa: PTH207 - takes absolute patterns, skips hidden names
        if not matches:
            raise UsageError(f"{pattern}: nothing matches this pattern; check it, and the folder you are in")
        for path in matches:
            if _is_folder(path):
                if "**" not in pattern:  # which matches the files of that folder as well
                    self.folder(path, root)
            else:
                self._add(path, root, os.path.relpath(path, root), named=False)

    def named(self, entry: Listed) -> None:
        place = os.path.relpath(entry.path, entry.root) if entry.root else Path(entry.path).name
        if place.split(os.sep, 1)[0] == os.pardir:
            raise UsageError(f"{entry.path}: does not lie below its root {entry.root}; correct that line of the list")
        self._add(entry.path, entry.root, place, named=True)

    def _add(self, path: str, root: str, place: str, *, named: bool) -> None:
        try:
            mode = Path(path).stat().st_mode
            # Sockets, pipes and devices are not looked at: that would wait, or take something away.
            header = read_header(Path(path), max_pixels=self._max_pixels) if stat.S_ISREG(mode) else None
        except (OSError, PictureError):  # it may be a picture: reading it says what is wrong
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
        """Real folders first: what a link leads to is listed where it lies, if it lies below `root`."""
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
                self._cannot_list(folder, root, error)
                continue
            subfolders = []
            for entry in entries:
                if not _is_folder(entry.path):
                    yield entry.path
                elif not self._recursive:
                    self.found.not_entered += identity_of(entry.path) != self._output and _holds_something(entry.path)
                elif entry.is_symlink():
                    linked.append(entry.path)
                else:
                    subfolders.append(entry.path)
            waiting += reversed(subfolders)

    def _cannot_list(self, folder: str, root: str, error: OSError) -> None:
        problem = (
            f"{folder}: cannot be listed ({error.strerror}), so its pictures are not protected; check its permissions"
        )
        self.found.sources.append(Source(folder, root, os.path.relpath(folder, root), problem=problem))


def identity_of(path: str | Path) -> tuple[int, int] | None:
    """What a file or folder is, whatever name or link leads there; None where there is nothing."""
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


def _holds_something(folder: str) -> bool:
    try:
        with os.scandir(folder) as listing:
            return any(entry.name[0] != "." for entry in listing)
    except OSError:
        return True


def _is_pattern(name: str) -> bool:
    return any(wildcard in name for wildcard in "*?[")


def _fixed_part(pattern: str) -> str:
    """The folder before the first wildcard: `photos` of `photos/**/*.jpg`."""
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if _is_pattern(part):
            break
        fixed.append(part)
    return str(Path(*fixed))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun} was" if number == 1 else f"{number} {noun}s were"
