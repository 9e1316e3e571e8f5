"""Finds input pictures on disks: expands files, folders, glob patterns and lists."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pca_protect.errors import PictureError, UsageError
from pca_protect.io.filters import Filter, is_pattern, matches, split_pattern
from pca_protect.io.header import read_header
from pca_protect.io.limits import MAX_PIXELS
from pca_protect.io.source import Found, Listed, Source, picture_suffixes

OnListed = Callable[[int], None]
"""Called with the number of files listed so far."""


def discover(
    names: Sequence[str],
    *,
    listed: Sequence[Listed] = (),
    recursive: bool = False,
    output: Path | None = None,
    max_pixels: int = MAX_PIXELS,
    wanted: Filter = Filter(),  # noqa: B008 - immutable
    found: Found | None = None,
    on_listed: OnListed | None = None,
) -> Found:
    """Find the pictures of all inputs, reading headers only.

    Outputs mirror a folder from the folder itself, and a pattern (`*`, `?`, `[...]`, `**`) from the part before its first
    wildcard. The format is recognised by content; a file in no known format whose name has an image extension stays in the
    result. Within folders, names that begin with a dot are skipped. Symbolic links are followed, but each folder is entered once
    per pattern, and once for all folders. Unreadable files stay in the result and fail later with their error.

    Args:
        listed: entries of a list, processed after `names`.
        recursive: enter subfolders.
        output: the output folder, excluded from the inputs; None if there is none.
        max_pixels: larger pictures fail when they are read.
        wanted: filter for the files of folders and patterns.
        found: result to add to; None for a new one.

    Raises:
        UsageError: a pattern matches nothing, or a list entry is not below its root.
    """
    identity = identity_of(output) if output is not None else None
    search = _Search(recursive, identity, max_pixels, wanted, found or Found(), on_listed)
    for name in names:
        if not name:
            raise UsageError(
                "the name of an input is empty; name a file or a folder, and check the shell variable if one was used"
            )
        if _is_folder(name):
            search.folder(name, name)
        elif not os.path.lexists(name) and is_pattern(name):
            search.pattern(name)
        else:
            search.named(Listed(name))
    for entry in listed:
        search.found.several = True
        if _is_folder(entry.path):
            search.folder(entry.path, entry.root or entry.path)
        else:
            search.named(entry)
    search.found.require_complete()
    return search.found


class _Search:
    def __init__(
        self,
        recursive: bool,
        output: tuple[int, int] | None,
        max_pixels: int,
        wanted: Filter,
        found: Found,
        on_listed: OnListed | None,
    ) -> None:
        self.found = found
        self._recursive = recursive
        self._output = output
        self._max_pixels = max_pixels
        self._wanted = wanted
        self._on_listed = on_listed
        self._entered: set[tuple[int, int]] = set()

    def folder(self, folder: str, root: str) -> None:
        self.found.folders.append(folder)
        self.found.several = True
        for path in self._files_below(folder, root, None if self._recursive else 1, self._entered):
            self._add_if_wanted(path, root)

    def pattern(self, pattern: str) -> None:
        """Add what matches, and the files of folders that match. Each pattern may list a folder again."""
        self.found.several = True
        root, parts = split_pattern(pattern)
        depth = None if self._recursive or "**" in parts else len(parts) + 1
        any_match = False
        for path in self._files_below(root, root, depth, set(), count_not_entered=False):
            place = Path(os.path.relpath(path, root)).parts
            above = range(1, len(place)) if self._recursive else range(max(1, len(place) - 1), len(place))
            if matches(place, parts) or any(matches(place[:end], parts) for end in above):
                any_match = True
                self._add_if_wanted(path, root)
        if not any_match:
            raise UsageError(f"{pattern}: the pattern matches nothing; check it and the current folder")

    def named(self, entry: Listed) -> None:
        place = _relative(entry.path, entry.root) if entry.root else Path(entry.path).name
        if place is None:
            raise UsageError(f"{entry.path}: is not below its root {entry.root}; correct that line of the list")
        self._add(entry.path, entry.root, place, named=True)

    def _add_if_wanted(self, path: str, root: str) -> None:
        place = os.path.relpath(path, root)
        if self._wanted.accepts(Path(place).parts):
            self._add(path, root, place, named=False)
        else:
            self._count_listed()
            self.found.excluded += 1

    def _add(self, path: str, root: str, place: str, *, named: bool) -> None:
        self._count_listed()
        source = Source(path, root, place)
        try:
            status = Path(path).stat()
            source = replace(source, size_bytes=status.st_size, tag=str(status.st_mtime_ns))
            # Do not read sockets, pipes and devices: it could block or consume data.
            is_file = stat.S_ISREG(status.st_mode)
            header = read_header(Path(path), max_pixels=self._max_pixels) if is_file else None
        except (OSError, ValueError, PictureError):  # possibly a picture: reading it raises the error message
            self.found.sources.append(source)
            return
        if header is not None and header.ours:
            self.found.ours += 1
        elif header is not None:
            sized = replace(source, width_px=header.width, height_px=header.height, frames=header.frames)
            self.found.sources.append(replace(sized, suffix=header.suffix))
        elif named or Path(path).suffix.lower() in picture_suffixes():
            problem = (
                "" if named or is_file else f"{path}: is a pipe, a socket or a device; copy the picture into a file"
            )
            self.found.sources.append(replace(source, problem=problem))
        else:
            self.found.not_pictures += 1

    def _count_listed(self, number: int = 1) -> None:
        self.found.listed += number
        if self._on_listed is not None:
            self._on_listed(self.found.listed)

    def _files_below(
        self,
        folder: str,
        root: str,
        depth: int | None,
        entered: set[tuple[int, int]],
        *,
        count_not_entered: bool = True,
    ) -> Iterator[str]:
        """Traverse real folders before links, so that a link target below `root` is listed under its real path.

        Args:
            depth: number of levels; None for all.
            entered: identities of folders that are not entered again.
        """
        waiting, linked = [(folder, 1)], list[tuple[str, int]]()
        while waiting or linked:
            folder, level = waiting.pop() if waiting else linked.pop(0)
            if not self._enters(folder, entered):
                continue
            try:
                with os.scandir(folder) as listing:
                    all_entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self._add_unlistable(folder, root, error)
                continue
            entries = [entry for entry in all_entries if entry.name[0] != "."]
            self.found.hidden += len(all_entries) - len(entries)
            self._count_listed(len(all_entries) - len(entries))
            subfolders = []
            for entry in entries:
                if not _is_folder(entry.path):
                    yield entry.path
                elif self._wanted.excludes(Path(os.path.relpath(entry.path, root)).parts):
                    self._count_listed()
                    self.found.excluded += 1
                elif depth is not None and level >= depth:
                    is_skipped = identity_of(entry.path) != self._output and _has_visible_entries(entry.path)
                    self.found.not_entered += count_not_entered and is_skipped
                elif entry.is_symlink():
                    linked.append((entry.path, level + 1))
                else:
                    subfolders.append((entry.path, level + 1))
            waiting += reversed(subfolders)

    def _enters(self, folder: str, entered: set[tuple[int, int]]) -> bool:
        identity = identity_of(folder)
        if identity is not None and identity == self._output:
            self.found.output_inside = True
            return False
        if identity in entered:
            return False
        if identity is not None:
            entered.add(identity)
        return True

    def _add_unlistable(self, folder: str, root: str, error: OSError) -> None:
        problem = (
            f"{folder}: cannot be listed ({error.strerror}), so its pictures are not protected; check its permissions"
        )
        self._count_listed()
        self.found.sources.append(Source(folder, root, os.path.relpath(folder, root), problem=problem))


def identity_of(path: str | Path) -> tuple[int, int] | None:
    """Device and inode of a file or folder, equal for all links to it; None if it does not exist."""
    status = _status(path)
    return (status.st_dev, status.st_ino) if status is not None else None


def _relative(path: str, root: str) -> str | None:
    """The path relative to a root; None if it is not below it."""
    try:
        place = os.path.relpath(path, root)
    except ValueError:  # another drive
        return None
    return None if place.split(os.sep, 1)[0] == os.pardir else place


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
