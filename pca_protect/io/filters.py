"""Matches relative paths against glob patterns: `*`, `?` and `[...]` within a name, `**` for any number of folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path


def is_pattern(name: str) -> bool:
    return any(wildcard in name for wildcard in "*?[")


def split_pattern(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The folder before the first wildcard, and the parts after it: `("photos", ("**", "*.jpg"))` for `photos/**/*.jpg`."""
    parts = Path(pattern).parts
    fixed = next((index for index, part in enumerate(parts[:-1]) if is_pattern(part)), len(parts) - 1)
    return str(Path(*parts[:fixed])), parts[fixed:]


def matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern completely, both split at their separators."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return matches(parts, pattern[1:]) or (bool(parts) and matches(parts[1:], pattern))
    return bool(parts) and fnmatch(parts[0], pattern[0]) and matches(parts[1:], pattern[1:])


@dataclass(frozen=True)
class Filter:
    """Selects files of folders, patterns and buckets by their path relative to the input.

    A pattern without a separator is compared with the name of the file and of each folder above it; a pattern with separators is
    compared with the whole path and with each folder above it.

    Attributes:
        include: patterns, one of which has to match; empty for all files.
        exclude: patterns, none of which may match.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def accepts(self, parts: Sequence[str]) -> bool:
        return not self.excludes(parts) and (not self.include or _any_matches(parts, self.include))

    def excludes(self, parts: Sequence[str]) -> bool:
        """Whether an `exclude` pattern matches. Everything below an excluded folder is excluded."""
        return bool(self.exclude) and _any_matches(parts, self.exclude)


def _any_matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    for pattern in patterns:
        split = tuple(pattern.replace("\\", "/").strip("/").split("/"))
        if len(split) == 1 and any(fnmatch(part, split[0]) for part in parts):
            return True
        if len(split) > 1 and any(matches(parts[:end], split) for end in range(1, len(parts) + 1)):
            return True
    return False
