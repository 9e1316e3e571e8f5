"""Builds an EXIF block from the directory of a TIFF page, whose descriptive tags are among those of its pixels."""

from __future__ import annotations

import itertools
import struct

from pca_protect.io.exif import DETAILS, GPS, INTEROPERABILITY
from pca_protect.io.tiff_directory import (
    LONG,
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

DESCRIPTIVE = frozenset(
    {269, 270, 271, 272, 274, 282, 283, 285, 296, 297, 305, 306, 315, 316, 318, 319, 18246, 18249, 33432, 34665, 34853, 40091,
     40092, 40093, 40094, 40095}
)  # fmt: skip
"""Tags of a TIFF page that are carried."""

LAYOUT = frozenset(
    {*range(254, 267), 273, *range(277, 282), 284, *range(288, 293), 317, *range(320, 330), 332, 333, 334, 336, *range(338, 348),
     *range(512, 533)}
)  # fmt: skip
"""Tags of a TIFF page that describe its pixels. All others are private, and may hold whole layers."""

_POINTERS = frozenset({DETAILS, GPS, INTEROPERABILITY})
_CLASSIC = {16: (4, "I", "Q"), 17: (9, "i", "q"), 18: (13, "I", "Q")}
"""BigTIFF types, and the type and letter of the same number in classic TIFF."""


def page_directory(data: bytes, page: int) -> tuple[Layout, Directory]:
    """The directory of a page, counted from 0.

    Raises:
        ValueError: the file has no such page.
    """
    layout = layout_of(data)
    chain = directories(data, layout, first_directory(data, layout).start)
    found = next(itertools.islice(chain, page, None), None)
    if found is None:
        raise ValueError(f"no page {page}")
    return layout, found


def exif_of_tiff(data: bytes, page: int) -> bytes:
    """The block of a page's descriptive tags, with their bytes as they are; empty if there is none. Maker notes are copied and
    thereby moved.

    Raises:
        ValueError: the file is not well-formed.
    """
    layout, directory = page_directory(data, page)
    entries = [entry for entry in directory.entries if entry.tag in DESCRIPTIVE]
    if not entries:
        return b""
    block = bytearray({"<": b"II\x2a\0", ">": b"MM\0\x2a"}[layout.order] + bytes(4))
    start = _copy(data, layout, entries, block, depth=0)
    struct.pack_into(f"{layout.order}I", block, 4, start)
    return bytes(block)


def _copy(data: bytes, layout: Layout, entries: list[Entry], block: bytearray, *, depth: int) -> int:
    """Append a directory of these entries, and those below it; returns its position."""
    values = {}
    for entry in entries:
        if entry.tag not in _POINTERS:
            values[entry.tag] = _classic(layout, entry, value_bytes(data, entry))
            continue
        starts = integers(data, layout, entry)
        if len(starts) != 1 or depth > 2:
            continue
        try:
            child = read_directory(data, layout, starts[0])
        except ValueError:
            continue
        start = _copy(data, layout, list(child.entries), block, depth=depth + 1)
        values[entry.tag] = Value(LONG, 1, layout.numbers("I", [start]))
    return append_directory(block, layout, values)[0]


def _classic(layout: Layout, entry: Entry, data: bytes) -> Value:
    if entry.type not in _CLASSIC:
        return Value(entry.type, entry.count, data)
    kind, letter, wide = _CLASSIC[entry.type]
    numbers = struct.unpack(f"{layout.order}{entry.count}{wide}", data)
    try:
        return Value(kind, entry.count, layout.numbers(letter, numbers))
    except struct.error as error:
        raise ValueError(f"tag {entry.tag} has a number over 32 bits") from error
