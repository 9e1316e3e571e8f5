"""Edits EXIF blocks in place: kept values and all bytes they point to stay at their position, byte for byte.

A block is a TIFF header with directories (CIPA DC-008, Exif 3.0, section 4.5), with or without the prefix `Exif\\0\\0`. Maker
notes contain offsets from the start of the block, so nothing that is kept may move.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

from pca_protect.io.tiff_directory import (
    ASCII,
    EMPTY,
    UTF8,
    Directory,
    Entry,
    Layout,
    Value,
    append_directory,
    directories,
    first_directory,
    integers,
    layout_of,
    read_directory,
    value_bytes,
)

PREFIX = b"Exif\0\0"
ORIENTATION, SOFTWARE = 0x0112, 0x0131
DETAILS, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_MAKER_NOTE = 0x927C
_SUB_DIRECTORIES = 330
_PIXELS = {273: 279, 324: 325, 513: 514}
"""Tags of the positions of pixel data, and the tags of its sizes."""

_UNWANTED = frozenset({*_PIXELS, *_PIXELS.values(), _SUB_DIRECTORIES, 700, 33723, 34377, 34675, 37724})
"""Tags removed from the first directory: further pictures, and copies of XMP, IPTC and the colour profile, which are carried
separately."""

_JPEG = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")

Range = tuple[int, int]
"""Start and end in bytes."""


def cleaned(block: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Set the orientation to 1, and remove thumbnails and other pictures; returns the block and warnings about the latter.

    Raises:
        ValueError: the block is not well-formed.
    """
    data, layout, main = _opened(block)
    unwanted: list[Range] = []
    for directory in _pictures(data, layout, main):
        unwanted += [(directory.start, directory.end), *_values(directory.entries), *_pixels(data, layout, directory)]
    unwanted += _pixels(data, layout, main)
    removed = [entry for entry in main.entries if entry.tag in _UNWANTED]
    for entry in main.entries:
        if entry.tag == ORIENTATION and not _set_upright(data, layout, entry):
            removed.append(entry)
    _remove(data, layout, main, removed, unwanted, linked=False)
    warnings = _without_previews(data, layout)
    return bytes(data), warnings


def without_gps(block: bytes) -> bytes:
    """Remove the GPS directory with its values; the same block if it has none.

    Raises:
        ValueError: the block is not well-formed.
    """
    data, layout, main = _opened(block)
    found = False
    for directory in (main, *_children(data, layout, main, (DETAILS,))):
        removed = [entry for entry in directory.entries if entry.tag == GPS]
        unwanted: list[Range] = []
        for gps in _children(data, layout, directory, (GPS,)):
            unwanted += [(gps.start, gps.end), *_values(gps.entries)]
        if removed:
            found = True
            _remove(data, layout, directory, removed, unwanted)
    return bytes(data) if found else block


def with_values(block: bytes, values: dict[int, Value]) -> bytes:
    """Add or replace values of the first directory, which is appended anew while everything else stays in place.

    Args:
        block: empty for a new one, in little-endian order.

    Raises:
        ValueError: the block is not well-formed.
    """
    if not block:
        data, layout, entries = bytearray(EMPTY), Layout("<"), dict[int, bytes]()
    else:
        data, layout, main = _opened(block)
        entries = first_entries(data, layout, main)
        data[main.start : main.end] = bytes(main.end - main.start)
    start, _ = append_directory(data, layout, values, entries=entries)
    struct.pack_into(f"{layout.order}I", data, 4, start)
    return bytes(data)


def first_entries(data: bytes | bytearray, layout: Layout, main: Directory) -> dict[int, bytes]:
    """The entries of a directory as they are stored, 12 bytes each, by tag. Of equal tags the first counts."""
    raw = [bytes(data[at : at + 12]) for at in range(main.start + 2, main.link, 12)]
    return {struct.unpack_from(f"{layout.order}H", entry)[0]: entry for entry in reversed(raw)}


def value_of(block: bytes, tag: int) -> Value | None:
    """A value of the first directory; None if it is missing or the block is not well-formed."""
    try:
        data, _, main = _opened(block)
    except ValueError:
        return None
    found = next((entry for entry in main.entries if entry.tag == tag), None)
    return None if found is None else Value(found.type, found.count, value_bytes(data, found))


def software_of(block: bytes) -> bytes:
    """The program that wrote the file; empty if unknown."""
    value = value_of(block, SOFTWARE)
    return value.data.split(b"\0", 1)[0].strip() if value is not None and value.type in (ASCII, UTF8) else b""


def _opened(block: bytes) -> tuple[bytearray, Layout, Directory]:
    data = bytearray(block.removeprefix(PREFIX))
    layout = layout_of(data)
    if layout.big:
        raise ValueError("a BigTIFF header")
    return data, layout, first_directory(data, layout)


def _children(data: bytearray, layout: Layout, parent: Directory, tags: tuple[int, ...]) -> list[Directory]:
    """Directories that entries point to; pointers that lead nowhere are ignored."""
    found = []
    for entry in parent.entries:
        for start in integers(data, layout, entry) if entry.tag in tags else ():
            try:
                found.append(read_directory(data, layout, start))
            except ValueError:
                continue
    return found


def _kept_directories(data: bytearray, layout: Layout, main: Directory) -> list[Directory]:
    details = _children(data, layout, main, (DETAILS,))
    below = [child for one in details for child in _children(data, layout, one, (INTEROPERABILITY, GPS))]
    return [main, *details, *_children(data, layout, main, (GPS,)), *below]


def _pictures(data: bytearray, layout: Layout, main: Directory) -> list[Directory]:
    """Directories of thumbnails and other pictures."""
    known = {one.start for one in _kept_directories(data, layout, main)}
    starts = [main.next_start]
    for entry in main.entries:
        if entry.tag == _SUB_DIRECTORIES:
            starts += integers(data, layout, entry)
    found = {one.start: one for start in starts for one in directories(data, layout, start)}
    return [one for start, one in found.items() if start not in known]


def _pixels(data: bytearray, layout: Layout, directory: Directory) -> list[Range]:
    ranges = []
    by_tag = {entry.tag: entry for entry in directory.entries}
    for position_tag, size_tag in _PIXELS.items():
        if position_tag in by_tag and size_tag in by_tag:
            starts, sizes = (integers(data, layout, by_tag[tag]) for tag in (position_tag, size_tag))
            ranges += [(start, start + size) for start, size in zip(starts, sizes, strict=False)]
    return ranges


def _values(entries: Iterable[Entry]) -> list[Range]:
    return [(entry.start, entry.start + entry.size) for entry in entries if not entry.inline]


def _set_upright(data: bytearray, layout: Layout, entry: Entry) -> bool:
    letter = {1: "B", 3: "H", 4: "I"}.get(entry.type)
    if letter is None or entry.count != 1:
        return False
    struct.pack_into(layout.order + letter, data, entry.start, 1)
    return True


def _remove(
    data: bytearray,
    layout: Layout,
    directory: Directory,
    removed: Iterable[Entry],
    unwanted: Iterable[Range] = (),
    *,
    linked: bool = True,
) -> None:
    """Remove entries of a directory, and overwrite their values and `unwanted` with zeros where nothing kept refers to them."""
    positions = {entry.position for entry in removed}
    first = directory.start + 2
    raw = [bytes(data[at : at + 12]) for at in range(first, directory.link, 12) if at not in positions]
    link = bytes(data[directory.link : directory.end]) if linked else b""
    struct.pack_into(f"{layout.order}H", data, directory.start, len(raw))
    data[first : directory.end] = (b"".join(raw) + link).ljust(directory.end - first, b"\0")
    _overwrite(data, layout, [*unwanted, *_values(removed)])


def _overwrite(data: bytearray, layout: Layout, unwanted: Iterable[Range]) -> None:
    kept = _kept_ranges(data, layout)
    for start, end in unwanted:
        for low, high in _outside(kept, min(start, len(data)), min(end, len(data))):
            data[low:high] = bytes(high - low)


def _kept_ranges(data: bytearray, layout: Layout) -> list[Range]:
    """Bytes of the header, and of the directories and values that can be reached, in order."""
    ranges = [(0, 8)]
    for directory in _kept_directories(data, layout, first_directory(data, layout)):
        ranges += [(directory.start, directory.end), *_values(directory.entries)]
    return sorted(ranges)


def _outside(kept: list[Range], start: int, end: int) -> list[Range]:
    """The parts of a range that no range of `kept` covers."""
    parts = []
    for low, high in kept:
        if high <= start or low >= end:
            continue
        if low > start:
            parts.append((start, low))
        start = max(start, high)
    return [*parts, (start, end)] if start < end else parts


def _without_previews(data: bytearray, layout: Layout) -> tuple[str, ...]:
    """Remove values that contain a JPEG file, and JPEG files that no directory refers to."""
    warnings = []
    for directory in _kept_directories(data, layout, first_directory(data, layout)):
        found = [entry for entry in directory.entries if _JPEG.search(value_bytes(data, entry))]
        if found:
            _remove(data, layout, directory, found)
        for entry in found:
            what = "maker note" if entry.tag == _MAKER_NOTE else f"EXIF tag {entry.tag}"
            warnings.append(f"the file's {what} holds a preview of the unprotected picture and was left out")
    for start, end in _outside(_kept_ranges(data, layout), 0, len(data)):
        match = _JPEG.search(data, start, end)
        if match is not None:
            data[match.start() : end] = bytes(end - match.start())
    return tuple(warnings)
