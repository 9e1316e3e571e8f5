"""Walks the chunks, segments and boxes of picture files, for the parts that Pillow does not give."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each chunk, up to IEND or the end of the data."""
    position = len(PNG_SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        yield name.decode("latin-1"), data[position + 8 : position + 8 + length]
        if name == b"IEND":
            return
        position += 12 + length


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker, such as 0xE1, and content of each segment of the first picture; after its end, marker 0 with what follows.
    Pixel data is skipped."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:  # entropy-coded data, or padding
            position += 1
            continue
        marker = data[position + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD7:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + length
        if marker == 0xDA:
            position = _end_of_scan(data, position)
    if data[position : position + 2] == b"\xff\xd9":
        yield 0, data[position + 2 :]


def _end_of_scan(data: bytes, position: int) -> int:
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return len(data)
        if data[position + 1] != 0 and not 0xD0 <= data[position + 1] <= 0xD7:
            return position
        position += 2


def webp_chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        yield name.decode("latin-1").rstrip(), data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of the content of each box of an ISO base media file (ISO/IEC 14496-12, section 4.2)."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        yield name.decode("latin-1"), start + head, min(start + size, end)
        start += size


def inflated(data: bytes, *, at_most: int = 64 * 2**20) -> bytes:
    """Decompressed zlib data; empty if it is damaged or longer than `at_most` bytes."""
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(data, at_most)
    except zlib.error:
        return b""
    return text if decompressor.eof else b""
