"""Encodes lossless WebP, still and animated, with the RGB of fully transparent pixels kept."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
from PIL import Image

from pca_protect.errors import PictureError
from pca_protect.io.density import with_density
from pca_protect.io.encoded import Encoded, sentence, unstorable
from pca_protect.io.frames import alike, changed_box, frames_of, one_size
from pca_protect.io.marker import with_marker
from pca_protect.io.picture import Picture

MAX_SIDE = 16383
_MAX_DURATION_MS = 2**24 - 1
_LARGEST_BODY = 2**32 - 10


def encode_webp(picture: Picture, marker: str) -> Encoded:
    """Encode a picture. Leaves out IPTC, text and greyscale profiles; rounds frame times to milliseconds.

    Raises:
        PictureError: the picture has 16 bits, a side is over `MAX_SIDE`, or frames differ in size.
    """
    frames = frames_of(picture)
    if any(frame.low is not None for frame in frames):
        raise PictureError(
            f"{picture.source}: has 16 bits per channel, and WebP holds 8; write it to a .png or .tiff file"
        )
    one_size(frames, "WebP")
    if max(picture.width, picture.height) > MAX_SIDE:
        raise PictureError(
            f"{picture.source}: {picture.width}x{picture.height} px is over the WebP limit of {MAX_SIDE} px a side; "
            "write it to a .png file"
        )
    left_out = list(unstorable(picture, "WebP"))
    if picture.iptc:
        left_out.append(sentence("the file's IPTC records", "WebP"))
    if picture.gray and picture.icc_profile:
        left_out.append("the file's grey colour profile cannot be stored in WebP and was left out")
        picture = replace(picture, icc_profile=b"")
    block = with_marker(with_density(picture.exif, picture.density), marker)
    if len(frames) == 1:
        data = _still(picture, exif=block, icc_profile=picture.icc_profile, xmp=picture.xmp)
    else:
        data = _animation(picture, alike(frames), block)
    return Encoded(data, tuple(left_out))


def _still(picture: Picture, **metadata: bytes) -> bytes:
    colour = picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
    file = io.BytesIO()
    Image.fromarray(colour).save(file, "WEBP", lossless=True, exact=True, **metadata)
    return file.getvalue()


def _animation(picture: Picture, frames: tuple[Picture, ...], exif: bytes) -> bytes:
    """Assemble the container itself (WebP container specification): libwebp's animation encoder merges equal frames and
    discards the colour of transparent pixels."""
    flags = 0x02 | (0x20 if picture.icc_profile else 0) | (0x10 if frames[0].alpha is not None else 0)
    flags |= (0x08 if exif else 0) | (0x04 if picture.xmp else 0)
    parts = [_chunk(b"VP8X", struct.pack("<I", flags) + _int24(picture.width - 1) + _int24(picture.height - 1))]
    if picture.icc_profile:
        parts.append(_chunk(b"ICCP", picture.icc_profile))
    parts.append(_chunk(b"ANIM", struct.pack("<IH", 0, min(picture.loop, 65535))))
    before = None
    for frame in frames:
        samples = replace(frame, gray=False).samples()
        box = (0, 0, frame.width, frame.height) if before is None else changed_box(before, samples, step=2)
        before = samples
        left, top, right, bottom = box
        cut = replace(
            frame,
            rgb=frame.rgb[top:bottom, left:right],
            alpha=None if frame.alpha is None else frame.alpha[top:bottom, left:right],
        )
        place = (left // 2, top // 2, right - left - 1, bottom - top - 1, _milliseconds(frame.duration_ms))
        do_not_blend = b"\x02"
        parts.append(_chunk(b"ANMF", b"".join(map(_int24, place)) + do_not_blend + _image_chunks(_still(cut))))
    if exif:
        parts.append(_chunk(b"EXIF", exif))
    if picture.xmp:
        parts.append(_chunk(b"XMP ", picture.xmp))
    body = b"WEBP" + b"".join(parts)
    if len(body) > _LARGEST_BODY:
        raise PictureError(f"{picture.source}: is over the 4 GB limit of WebP; write it to a .png file")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _image_chunks(still: bytes) -> bytes:
    """The image chunk of a still WebP file."""
    position = 12
    while position < len(still):
        name, length = struct.unpack_from("<4sI", still, position)
        if name == b"VP8L":
            return still[position : position + 8 + length + length % 2]
        position += 8 + length + length % 2
    raise AssertionError("a lossless WebP without its pixels")


def _milliseconds(duration_ms: float) -> int:
    return min(round(duration_ms), _MAX_DURATION_MS)


def _int24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
