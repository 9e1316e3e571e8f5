"""Encodes PNG with 8 or 16 bits and APNG with 8, lossless in pixels and metadata."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pca_protect.errors import PictureError
from pca_protect.io import iptc
from pca_protect.io.frames import alike, changed_box, frames_of, one_size
from pca_protect.io.marker import MARKER_KEY
from pca_protect.io.picture import Picture

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_ROWS_AT_ONCE = 64
_LEVEL = 4
"""zlib level for 16 bits; higher levels do not compress noise further."""


def encode_png(picture: Picture, marker: str) -> bytes:
    """Encode a picture. Several frames become an APNG without blending or disposal that stores the changed box of each
    frame. Metadata precedes the pixels, for programs that stop reading there.

    Raises:
        PictureError: frames differ in size, or there are several with 16 bits, which readers reduce to 8 bits.
    """
    frames = frames_of(picture)
    if len(frames) > 1:
        one_size(frames, "PNG")
        if any(frame.low is not None for frame in frames):
            raise PictureError(
                f"{picture.source}: has several 16-bit pages, and PNG holds one; write it to a .tiff file"
            )
        frames = alike(frames)
    samples = frames[0].samples()
    height, width, channels = samples.shape
    bits = samples.dtype.itemsize * 8
    parts = [_SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPE[channels], 0, 0, 0))]
    parts += [_chunk(name, data) for name, data in _metadata(picture, marker)]
    parts += _animation(frames) if len(frames) > 1 else [_chunk(b"IDAT", _compressed(samples))]
    parts.append(_chunk(b"IEND", b""))
    return b"".join(parts)


def _metadata(picture: Picture, marker: str) -> Iterator[tuple[bytes, bytes]]:
    if picture.icc_profile:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc_profile)
    if picture.exif:
        yield b"eXIf", picture.exif.removeprefix(b"Exif\0\0")
    if picture.iptc:
        profile = iptc.to_raw_profile("iptc", iptc.to_photoshop(picture.iptc))
        yield b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(profile.encode())
    texts = {keyword: text for keyword, text in picture.text.items() if keyword != MARKER_KEY}
    if picture.xmp:
        texts["XML:com.adobe.xmp"] = picture.xmp.decode("utf-8", "replace")
    if marker:
        texts[MARKER_KEY] = marker
    for keyword, text in texts.items():
        name = keyword.encode("latin-1", "replace").replace(b"\0", b"")[:79]
        yield b"iTXt", name + b"\0\0\0\0\0" + text.replace("\0", "").encode("utf-8", "replace")


def _animation(frames: tuple[Picture, ...]) -> Iterator[bytes]:
    """Chunks as in the APNG specification (PNG third edition, section 11.3.6)."""
    yield _chunk(b"acTL", struct.pack(">II", len(frames), frames[0].loop))
    sequence = 0
    before: NDArray[Any] | None = None
    for frame in frames:
        samples = frame.samples()
        left, top, right, bottom = (0, 0, frame.width, frame.height) if before is None else changed_box(before, samples)
        delay = _delay(frame.duration_ms)
        place = (right - left, bottom - top, left, top, delay.numerator, delay.denominator, 0, 0)
        yield _chunk(b"fcTL", struct.pack(">IIIIIHHBB", sequence, *place))
        sequence += 1
        data = _compressed(np.ascontiguousarray(samples[top:bottom, left:right]))
        if before is None:
            yield _chunk(b"IDAT", data)
        else:
            yield _chunk(b"fdAT", struct.pack(">I", sequence) + data)
            sequence += 1
        before = samples


def _delay(duration_ms: float) -> Fraction:
    """Seconds as a fraction of two 16-bit integers."""
    seconds = Fraction(min(duration_ms, 65_535_000.0)).limit_denominator(10**6) / 1000
    return seconds.limit_denominator(min(65535, int(65535 / max(1.0, float(seconds)))))


def _compressed(samples: NDArray[Any]) -> bytes:
    """The zlib stream of filtered rows, from Pillow for 8 bits. Pillow writes no 16-bit colour."""
    if samples.dtype == np.uint16:
        return _compressed_sixteen(samples)
    channels = samples.shape[2]
    image = Image.fromarray(samples[..., 0] if channels == 1 else samples, _MODE[channels])
    file = io.BytesIO()
    image.save(file, "PNG")
    data = file.getvalue()
    parts = []
    position = len(_SIGNATURE)
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name == b"IDAT":
            parts.append(data[position + 8 : position + 8 + length])
        position += 12 + length
    return b"".join(parts)


def _compressed_sixteen(samples: NDArray[np.uint16]) -> bytes:
    """Filter each row by Sub or Up, whichever has the smaller sum of absolute differences (PNG specification, section
    12.7). The Paeth filter gains little, since the low bytes are noise."""
    height, width, channels = samples.shape
    pixel = 2 * channels
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8).reshape(height, width * pixel)
    compressor = zlib.compressobj(_LEVEL)
    parts = []
    above = np.zeros((1, rows.shape[1]), np.uint8)
    for start in range(0, height, _ROWS_AT_ONCE):
        block = rows[start : start + _ROWS_AT_ONCE]
        from_above = block - np.concatenate([above, block[:-1]])
        above = block[-1:]
        from_left = block.copy()
        from_left[:, pixel:] -= block[:, :-pixel]
        use_sub = _absolute_sum(from_left) < _absolute_sum(from_above)
        kinds = np.where(use_sub, np.uint8(1), np.uint8(2))[:, None]
        chosen = np.where(use_sub[:, None], from_left, from_above)
        parts.append(compressor.compress(np.concatenate([kinds, chosen], axis=1).tobytes()))
    parts.append(compressor.flush())
    return b"".join(parts)


def _absolute_sum(differences: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The sum of absolute differences of each row, with bytes taken as signed."""
    sizes: NDArray[np.uint32] = np.minimum(differences, np.negative(differences)).sum(axis=1, dtype=np.uint32)
    return sizes


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
