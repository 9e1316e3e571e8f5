"""IPTC-IIM records: wraps and unwraps them for file formats, and removes single records.

Records: IPTC Information Interchange Model 4.2. Photoshop image resources, which contain them: Adobe Photoshop file formats
specification.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_RESOURCE = 0x0404
_LOCATION = frozenset({26, 27, 90, 92, 95, 100, 101})
"""Datasets of record 2: content location code and name, city, sublocation, province, country code and name."""


def to_photoshop(iptc: bytes) -> bytes:
    """One Photoshop image resource, as stored in JPEG APP13 (after its signature) and in PNG raw profiles."""
    padding = bytes(len(iptc) % 2)
    return b"8BIM" + struct.pack(">HHI", _RESOURCE, 0, len(iptc)) + iptc + padding


def from_photoshop(block: bytes) -> bytes:
    """The IPTC records in a block of Photoshop image resources; empty if none."""
    position = 0
    while block[position : position + 4] == b"8BIM" and position + 12 <= len(block):
        (number,) = struct.unpack_from(">H", block, position + 4)
        name = block[position + 6]
        position += 6 + (name + 2) // 2 * 2
        if position + 4 > len(block):
            break
        (size,) = struct.unpack_from(">I", block, position)
        position += 4
        if number == _RESOURCE:
            return block[position : position + size]
        position += size + size % 2
    return b""


def to_raw_profile(name: str, data: bytes) -> str:
    """The text of a PNG chunk `Raw profile type NAME`: hexadecimal in lines of 72 digits, as ImageMagick writes it."""
    digits = data.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    return "\n".join(["", name, f"{len(data):8}", *lines, ""])


def from_raw_profile(text: str) -> bytes:
    """The data of a PNG chunk `Raw profile type NAME`; empty if it is malformed."""
    match = re.match(r"\s*(\S+)\s+(\d+)\s+([0-9a-fA-F\s]*)$", text)
    if match is None:
        return b""
    try:
        return bytes.fromhex("".join(match[3].split()))
    except ValueError:
        return b""


def without_location(iptc: bytes) -> bytes:
    """Remove the location records. Data after a malformed record is dropped."""
    return b"".join(record for record, number, dataset in _records(iptc) if not (number == 2 and dataset in _LOCATION))


def _records(iptc: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each record's bytes, record number and dataset number."""
    position = 0
    while position + 5 <= len(iptc) and iptc[position] == 0x1C:
        number, dataset, size = struct.unpack_from(">BBH", iptc, position + 1)
        end = position + 5
        if size & 0x8000:  # extended dataset: the length field has `width` bytes
            width = size & 0x7FFF
            size = int.from_bytes(iptc[end : end + width], "big")
            end += width
        end += size
        if end > len(iptc):
            return
        yield iptc[position:end], number, dataset
        position = end
