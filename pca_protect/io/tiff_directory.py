"""Reads and appends TIFF directories, the structure of EXIF blocks and TIFF files, without interpreting values.

Format: TIFF 6.0, section 2; BigTIFF by Adam and others, 2007. Positions are byte offsets from the TIFF header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, UTF8 = 1, 2, 3, 4, 5, 7, 129
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
"""Bytes of one value by type; 16 to 18 are of BigTIFF, 129 is UTF-8 of Exif 3.0."""

EMPTY = b"II\x2a\x00\x00\x00\x00\x00"
"""A header without a directory."""

_MOST_ENTRIES = 5000


@dataclass(frozen=True)
class Value:
    """A value to store: its type, its number of elements, and its bytes in the byte order of the file."""

    type: int
    count: int
    data: bytes


@dataclass(frozen=True)
class Entry:
    """One entry of a directory.

    Attributes:
        position: of the entry.
        start, size: of its value, in bytes; within the entry if the value is small.
        inline: the value is within the entry.
    """

    tag: int
    type: int
    count: int
    position: int
    start: int
    size: int
    inline: bool


@dataclass(frozen=True)
class Directory:
    """Attributes:
    start, end: of its bytes, with the link to the next directory if there is one.
    link: position of that link, after the last entry.
    entries: those that lie within the data and have a known type.
    next_start: position of the next directory; 0 if none.
    """

    start: int
    link: int
    end: int
    entries: tuple[Entry, ...]
    next_start: int


@dataclass(frozen=True)
class Layout:
    """Byte order and word sizes of a TIFF file or EXIF block."""

    order: Literal["<", ">"]
    big: bool = False

    def numbers(self, letter: str, values: Iterable[int]) -> bytes:
        """Integers of a `struct` letter in the byte order of the file."""
        values = list(values)
        return struct.pack(f"{self.order}{len(values)}{letter}", *values)

    @property
    def first_link(self) -> int:
        """Position of the link to the first directory."""
        return 8 if self.big else 4


def layout_of(data: bytes | bytearray) -> Layout:
    """Raises:
    ValueError: the data does not begin with a TIFF header.
    """
    orders: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
    order = orders.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        raise ValueError("no TIFF header")
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    if version not in (42, 43) or (version == 43 and len(data) < 16):
        raise ValueError("no TIFF header")
    return Layout(order, version == 43)


def first_directory(data: bytes | bytearray, layout: Layout) -> Directory:
    """Raises:
    ValueError: the directory is not within the data.
    """
    (start,) = struct.unpack_from(layout.order + ("Q" if layout.big else "I"), data, layout.first_link)
    return read_directory(data, layout, start)


def read_directory(data: bytes | bytearray, layout: Layout, start: int) -> Directory:
    """Raises:
    ValueError: the directory is not within the data.
    """
    head, width, word, letter = (8, 20, 8, "Q") if layout.big else (2, 12, 4, "I")
    if start < 8 or start + head > len(data):
        raise ValueError(f"a directory at {start} of {len(data)} bytes")
    (count,) = struct.unpack_from(layout.order + ("Q" if layout.big else "H"), data, start)
    end = start + head + count * width
    if count > _MOST_ENTRIES or end > len(data):
        raise ValueError(f"a directory of {count} entries at {start} of {len(data)} bytes")
    entries = []
    for position in range(start + head, end, width):
        tag, kind, number = struct.unpack_from(f"{layout.order}HH{letter}", data, position)
        size = SIZES.get(kind, 0) * number
        field = position + 4 + word
        (offset,) = struct.unpack_from(layout.order + letter, data, field)
        inline = size <= word
        if kind in SIZES and (inline or offset + size <= len(data)):
            entries.append(Entry(tag, kind, number, position, field if inline else offset, size, inline))
    following, link = 0, end
    if end + word <= len(data):  # some writers end the block without a link
        (following,) = struct.unpack_from(layout.order + letter, data, end)
        end += word
    return Directory(start, link, end, tuple(entries), following)


def value_bytes(data: bytes | bytearray, entry: Entry) -> bytes:
    return bytes(data[entry.start : entry.start + entry.size])


def integers(data: bytes | bytearray, layout: Layout, entry: Entry) -> tuple[int, ...]:
    """The values of an entry of unsigned integers; empty for other types."""
    letter = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}.get(entry.type)
    if letter is None:
        return ()
    return struct.unpack_from(f"{layout.order}{entry.count}{letter}", data, entry.start)


def directories(data: bytes | bytearray, layout: Layout, start: int) -> Iterator[Directory]:
    """Directories from `start` along the links, each once, up to one that is not within the data."""
    seen: set[int] = set()
    while start and start not in seen:
        seen.add(start)
        try:
            directory = read_directory(data, layout, start)
        except ValueError:
            return
        yield directory
        start = directory.next_start


def append_directory(
    data: bytearray, layout: Layout, values: dict[int, Value], *, entries: dict[int, bytes] | None = None
) -> tuple[int, int]:
    """Append a directory without a successor, and the values that do not fit into its entries.

    Args:
        entries: entries by tag, 12 bytes each, taken from another directory of the same data; `values` replace them.

    Returns:
        Positions of the directory and of its link to the next.
    """
    raw = dict(entries or {})
    for tag, value in values.items():
        raw[tag] = struct.pack(f"{layout.order}HHI", tag, value.type, value.count)
        if len(value.data) > 4:
            data += bytes(len(data) % 2)
            raw[tag] += struct.pack(f"{layout.order}I", len(data))
            data += value.data
        else:
            raw[tag] += value.data.ljust(4, b"\0")
    data += bytes(len(data) % 2)
    start = len(data)
    data += struct.pack(f"{layout.order}H", len(raw)) + b"".join(raw[tag] for tag in sorted(raw)) + bytes(4)
    return start, len(data) - 4
