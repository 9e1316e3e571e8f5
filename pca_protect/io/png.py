"""Encodes PNG with 8 or 16 bits and APNG with 8, lossless in pixels and metadata."""

from __future__ import annotations

import io
import re
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
from pca_protect.io.containers import PNG_SIGNATURE, png_chunks
from pca_protect.io.density import phys_chunk
from pca_protect.io.encoded import Encoded
from pca_protect.io.frames import alike, changed_box, frames_of, one_size
from pca_protect.io.marker import MARKER_KEY, with_marker
from pca_protect.io.picture import Picture, Text

_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_LEVEL = 4
"""zlib level for 16 bits; higher levels do not compress noise further."""
LARGEST_PROFILE = 2**20
"""Bytes of a colour profile. Pillow refuses a PNG with a larger one."""
_LARGEST_COMPRESSED_TEXT = 2**20
_MOST_TEXTS = 50
_LONGEST_KEYWORD = 79


def encode_png(picture: Picture, marker: str) -> Encoded:
    """Encode a picture. Several frames become an APNG without blending or disposal that stores the changed box of each
    frame. Metadata precedes the pixels, for programs that stop reading there.

    Raises:
        PictureError: frames differ in size, there are several with 16 bits, which readers reduce to 8 bits, or the colour
            profile is so large that readers refuse the file.
    """
    frames = frames_of(picture)
    if len(frames) > 1:
        one_size(frames, "PNG")
        if any(frame.low is not None for frame in frames):
            raise PictureError(
                f"{picture.source}: has several 16-bit pages, and PNG holds one; write it to a .tiff file"
            )
        frames = alike(frames)
    if len(picture.icc_profile) > LARGEST_PROFILE:
        raise PictureError(
            f"{picture.source}: has a colour profile of {len(picture.icc_profile)} bytes, over the limit of "
            f"{LARGEST_PROFILE} of PNG readers; write it to a .tiff or .webp file"
        )
    samples = frames[0].samples()
    height, width, channels = samples.shape
    bits = samples.dtype.itemsize * 8
    parts = [
        PNG_SIGNATURE,
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPE[channels], 0, 0, 0)),
    ]
    parts += [_chunk(name, data) for name, data in _metadata(picture, marker)]
    parts += _animation(frames) if len(frames) > 1 else [_chunk(b"IDAT", _compressed(samples))]
    parts.append(_chunk(b"IEND", b""))
    left_out: tuple[str, ...] = ()
    if len(picture.text) > _MOST_TEXTS:
        left_out = (
            f"the file's {len(picture.text)} text chunks were kept, of which some readers take the first {_MOST_TEXTS}",
        )
    return Encoded(b"".join(parts), left_out)


def _metadata(picture: Picture, marker: str) -> Iterator[tuple[bytes, bytes]]:
    """Chunks before the pixels. The marker is the first text, for readers that stop after some chunks."""
    for name, data in picture.color_chunks:
        yield name.encode("latin-1"), data
    if picture.icc_profile:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc_profile)
    if picture.density is not None:
        yield b"pHYs", phys_chunk(picture.density)
    if picture.exif:
        yield b"eXIf", with_marker(picture.exif, "")
    if marker:
        yield b"iTXt", _international(Text(MARKER_KEY, marker))
    if picture.iptc:
        profile = iptc.to_raw_profile("iptc", iptc.to_photoshop(picture.iptc)).encode()
        keyword = b"Raw profile type iptc\0"
        if len(profile) < _LARGEST_COMPRESSED_TEXT:
            yield b"zTXt", keyword + b"\0" + zlib.compress(profile)
        else:
            yield b"tEXt", keyword + profile
    if picture.xmp:
        yield b"iTXt", _international(Text("XML:com.adobe.xmp", picture.xmp.decode("utf-8", "replace")))
    for text in picture.text:
        yield b"iTXt", _international(text)


def _international(text: Text) -> bytes:
    """The content of an iTXt chunk, with a keyword as the specification requires (PNG third edition, section 11.3.3)."""
    keyword = (
        " ".join(re.sub("[^\x20-\x7e\xa1-\xff]", " ", text.keyword).split())[:_LONGEST_KEYWORD].strip() or "Comment"
    )
    language = re.sub("[^A-Za-z0-9-]", "", text.language)
    strings = (text.translated_keyword, text.text)
    translated, content = (string.replace("\0", "").encode("utf-8", "replace") for string in strings)
    return keyword.encode("latin-1") + b"\0\0\0" + language.encode() + b"\0" + translated + b"\0" + content


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
    """The zlib stream of filtered rows, from Pillow for 8 bits and from OpenCV for 16, which Pillow does not write."""
    channels = samples.shape[2]
    if samples.dtype == np.uint16:
        return _compressed_gray_alpha(samples) if channels == 2 else _compressed_sixteen(samples)
    image = Image.fromarray(samples[..., 0] if channels == 1 else samples, _MODE[channels])
    file = io.BytesIO()
    image.save(file, "PNG")
    return _pixel_data(file.getvalue())


def _pixel_data(file: bytes) -> bytes:
    return b"".join(content for name, content in png_chunks(file) if name == "IDAT")


def _compressed_sixteen(samples: NDArray[np.uint16]) -> bytes:
    import cv2  # noqa: PLC0415 - large, and rarely needed

    order = [2, 1, 0, 3][: samples.shape[2]]
    done, file = cv2.imencode(".png", samples if samples.shape[2] == 1 else np.ascontiguousarray(samples[..., order]))
    assert done
    return _pixel_data(file.tobytes())


def _compressed_gray_alpha(samples: NDArray[np.uint16]) -> bytes:
    """Filter each row by Sub (PNG specification, section 12.7). OpenCV does not write this kind."""
    height, width, channels = samples.shape
    pixel = 2 * channels
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8).reshape(height, width * pixel)
    filtered = rows.copy()
    filtered[:, pixel:] -= rows[:, :-pixel]
    return zlib.compress(np.pad(filtered, ((0, 0), (1, 0)), constant_values=1).tobytes(), _LEVEL)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
