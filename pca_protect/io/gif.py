"""Reads the frames that a GIF stores (GIF89a specification, CompuServe 1990)."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pca_protect.io.animation import Bytes, Piece

_EXTENSION, _IMAGE, _CONTROL = 0x21, 0x2C, 0xF9
_DISPOSALS: dict[int, Literal["clear", "restore"]] = {2: "clear", 3: "restore"}


def gif_pieces(data: bytes) -> Iterator[Piece]:
    """Yield the stored frames.

    Raises:
        EOFError: the file ends within a frame.
        OSError, SyntaxError: the pixels cannot be decoded.
    """
    packed = data[10]
    global_table, position = _color_table(data, 13, packed)
    duration_ms, transparent, dispose = 0.0, None, 0
    while position < len(data):
        introducer = data[position]
        if introducer == _EXTENSION and position + 2 < len(data):
            content, end = _sub_blocks(data, position + 2)
            if data[position + 1] == _CONTROL and len(content) >= 4:
                flags, delay, index = struct.unpack_from("<BHB", content)
                duration_ms, dispose = 10.0 * delay, flags >> 2 & 7
                transparent = index if flags & 1 else None
            position = end
        elif introducer == _IMAGE:
            if position + 11 > len(data):
                raise EOFError("truncated frame")
            left, top, width, height, flags = struct.unpack_from("<HHHHB", data, position + 1)
            table, start = _color_table(data, position + 10, flags)
            _, end = _sub_blocks(data, start + 1)
            used = table if len(table) else global_table
            indices = _indices(data[start:end], width, height, interlaced=flags & 0x40)
            rgba = _colored(indices, used, transparent)
            yield Piece(rgba, left, top, duration_ms, True, _DISPOSALS.get(dispose, "keep"))
            duration_ms, transparent, dispose = 0.0, None, 0
            position = end
        elif introducer == 0:  # padding that some writers leave between blocks
            position += 1
        else:
            return


def _color_table(data: bytes, position: int, packed: int) -> tuple[Bytes, int]:
    """The table as `(N, 3)`, empty if there is none, and the position after it."""
    size = 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0
    table = np.frombuffer(data[position : position + size], np.uint8)
    if len(table) < size:
        raise EOFError("truncated colour table")
    return table.reshape(-1, 3), position + size


def _sub_blocks(data: bytes, position: int) -> tuple[bytes, int]:
    """The joined content of sub-blocks, and the position after their terminator."""
    parts: list[bytes] = []
    while True:
        if position >= len(data):
            raise EOFError("truncated block")
        length = data[position]
        if length == 0:
            return b"".join(parts), position + 1
        parts.append(data[position + 1 : position + 1 + length])
        position += 1 + length


def _indices(stored: bytes, width: int, height: int, *, interlaced: int) -> NDArray[np.uint8]:
    """Decompress one frame, as a file of its own that has a table of all 256 greys."""
    table = np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()
    screen = struct.pack("<HHBBB", width, height, 0xF7, 0, 0)
    place = struct.pack("<BHHHHB", _IMAGE, 0, 0, width, height, interlaced)
    with Image.open(io.BytesIO(b"GIF89a" + screen + table + place + stored + b";"), formats=["GIF"]) as image:
        image.load()
        return np.asarray(image)


def _colored(indices: NDArray[np.uint8], table: Bytes, transparent: int | None) -> Bytes:
    """Indices beyond the table are black; without any table they are grey levels, as in Pillow."""
    rgba = np.full((256, 4), 255, np.uint8)
    if len(table):
        rgba[:, :3] = 0
        rgba[: len(table), :3] = table
    else:
        rgba[:, :3] = np.arange(256, dtype=np.uint8)[:, None]
    if transparent is not None:
        rgba[transparent, 3] = 0
    return rgba[indices]
