"""Finds input pictures in buckets. Names decide, since reading the header of every object would cost a request each."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import PurePosixPath

from pca_protect.batch.store import Store, Stored
from pca_protect.io.discover import OnListed
from pca_protect.io.filters import Filter
from pca_protect.io.source import Found, Source, picture_suffixes


def list_bucket(
    url: str, found: Found, *, wanted: Filter, output: str | None = None, on_listed: OnListed | None = None
) -> None:
    """Add the pictures below a URL to `found`.

    Takes names with an image extension, and names without an extension, whose content is checked when it is read. Skips names
    that begin with a dot and everything below the output. Keys that are no usable path are listed with their problem.

    Args:
        output: output folder or URL.

    Raises:
        UsageError: the URL is not accessible.
    """
    store = Store(url)
    single = store.single()
    found.several = True
    listed: Iterable[Stored]
    if single is not None:
        root, _, _ = store.root.rpartition("/")
        listed = [single]
    else:
        root = store.root
        found.folders.append(url)
        listed = store.listed()
    for stored in listed:
        found.listed += 1
        if on_listed is not None:
            on_listed(found.listed)
        if output is not None and f"{root}/{stored.place}".startswith(f"{output}/"):
            found.output_inside = True
            found.excluded += 1
        else:
            _add(stored, root, found, wanted)
    found.require_complete()


def _add(stored: Stored, root: str, found: Found, wanted: Filter) -> None:
    parts = stored.place.split("/")
    source = Source(
        f"{root}/{stored.place}", root, stored.place, suffix="", size_bytes=stored.size_bytes, tag=stored.tag
    )
    if problem := _problem(parts):
        found.sources.append(
            Source(source.path, root, stored.place, problem=f"{source.path}: {problem}; rename the object")
        )
    elif any(part[0] == "." for part in parts):
        found.hidden += 1
    elif not wanted.accepts(parts):
        found.excluded += 1
    elif PurePosixPath(parts[-1]).suffix.lower() not in {"", *picture_suffixes()}:
        found.not_pictures += 1
    else:
        found.sources.append(source)


def _problem(parts: list[str]) -> str:
    """Why a key cannot be mirrored as a path; empty if it can."""
    if any(part in ("", ".", "..") for part in parts):
        return "its key has an empty part, `.` or `..`"
    if any("\0" in part for part in parts):
        return "its key has a null character"
    if sys.platform == "win32" and any(letter in part for part in parts for letter in '\\:*?"<>|'):
        return "its key has a character that Windows does not permit in names"
    return ""
