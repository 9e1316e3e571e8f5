"""Reads the frames that an APNG stores (PNG third edition, sections 11.3.6 and 13.11)."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
from PIL import Image

from pca_protect.io.animation import Bytes, Piece
from pca_protect.io.containers import PNG_SIGNATURE, png_chunks

_SHARED = ("PLTE", "tRNS")
_DISPOSALS: tuple[Literal["keep", "clear", "restore"], ...] = ("keep", "clear", "restore")


def apng_pieces(data: bytes) -> Iterator[Piece]:
    """Yield the stored frames, 16 bits reduced to 8.

    Raises:
        ValueError: a frame lies outside the picture or has no pixels.
        OSError, SyntaxError: the pixels cannot be decoded.
    """
    header, shared = b"", b""
    control: bytes | None = None
    pixels: list[bytes] = []
    first = True
    for name, content in png_chunks(data):
        if name == "IHDR":
            header = content
        elif name in _SHARED:
            shared += _chunk(name, content)
        elif name in ("fcTL", "IEND"):
            if control is not None:
                yield _piece(header, shared, control, b"".join(pixels), first=first)
                first = False
            control, pixels = content, []
        elif name == "IDAT" and control is not None:
            pixels.append(content)
        elif name == "fdAT":
            pixels.append(content[4:])


def _piece(header: bytes, shared: bytes, control: bytes, pixels: bytes, *, first: bool) -> Piece:
    _, width, height, left, top, numerator, denominator, dispose, blend = struct.unpack(">IIIIIHHBB", control[:26])
    full_width, full_height = struct.unpack_from(">II", header)
    if not pixels or left + width > full_width or top + height > full_height or dispose > 2 or blend > 1:
        raise ValueError("a frame without pixels or outside the picture")
    disposal = _DISPOSALS[dispose]
    if first and disposal == "restore":  # there is nothing before the first frame
        disposal = "clear"
    file = PNG_SIGNATURE + _chunk("IHDR", struct.pack(">II", width, height) + header[8:]) + shared
    rgba = _decoded(file + _chunk("IDAT", pixels) + _chunk("IEND", b""), header[8], header[9])
    return Piece(rgba, left, top, 1000 * numerator / (denominator or 100), bool(blend), disposal)


def _decoded(file: bytes, bits: int, color_type: int) -> Bytes:
    with Image.open(io.BytesIO(file), formats=["PNG"]) as image:
        level = image.info.get("transparency")
        if (
            color_type == 0 and isinstance(level, int) and bits < 16
        ):  # Pillow does not scale the level as it does the samples
            gray = np.asarray(image.convert("L"))
            alpha = np.where(gray == min(level * (255 // (2**bits - 1)), 255), 0, 255).astype(np.uint8)
            return np.dstack([gray, gray, gray, alpha])
        if image.mode.startswith("I"):
            samples = np.asarray(image).astype(np.uint16)
            gray = (samples >> 8).astype(np.uint8)
            alpha = np.where(samples == level, 0, 255).astype(np.uint8)
            return np.dstack([gray, gray, gray, alpha])
        return np.asarray(image.convert("RGBA"))


def _chunk(name: str, content: bytes) -> bytes:
    body = name.encode("latin-1") + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
