"""Encodes JPEG, the one lossy output."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from pca_protect.errors import PictureError
from pca_protect.io import exif, iptc
from pca_protect.io.density import jfif_fields
from pca_protect.io.encoded import Encoded, unstorable
from pca_protect.io.marker import with_marker
from pca_protect.io.picture import Picture

_QUALITY = 95
_LARGEST_SEGMENT = 65_000
"""Bytes of metadata in one segment, whose limit is 65,535 bytes with its headers."""
_JFIF_FIELDS = slice(13, 18)
"""Bytes of unit and resolution in a file that begins with a JFIF segment."""


def encode_jpeg(picture: Picture, marker: str) -> Encoded:
    """Encode with quality 95 and without chroma subsampling.

    Raises:
        PictureError: the picture has several frames or is transparent.
    """
    if picture.following:
        raise PictureError(
            f"{picture.source}: has {len(picture.following) + 1} frames, and JPEG holds one; write it to a .png file"
        )
    if picture.alpha is not None and int(picture.alpha.min()) < (255 if picture.low is None else 65535):
        raise PictureError(f"{picture.source}: is transparent, and JPEG has no transparency; write it to a .png file")
    left_out = list(unstorable(picture, "JPEG", comments=True))
    if picture.low is not None:
        left_out.append("JPEG holds 8 bits per channel, and the low bytes of its 16 were left out")

    def segment(data: bytes, what: str) -> bytes:
        if len(data) < _LARGEST_SEGMENT:
            return data
        left_out.append(f"{what} of {len(data)} bytes is over the {_LARGEST_SEGMENT} of a JPEG and was left out")
        return b""

    block, packet = segment(picture.exif, "the file's EXIF block"), segment(picture.xmp, "the file's XMP packet")
    block = with_marker(block, marker)
    extra = b""
    if records := segment(picture.iptc, "the file's IPTC block"):
        extra += _segment(0xED, b"Photoshop 3.0\0" + iptc.to_photoshop(records))
    for text in picture.text:
        if text.keyword == "Comment" and (comment := segment(text.text.encode(), "the file's comment")):
            extra += _segment(0xFE, comment)
    image = Image.fromarray(np.ascontiguousarray(picture.rgb[..., 0]) if picture.gray else picture.rgb)
    file = io.BytesIO()
    image.save(
        file,
        "JPEG",
        quality=_QUALITY,
        subsampling=0,
        exif=exif.PREFIX + block if block else b"",
        icc_profile=picture.icc_profile or None,
        xmp=packet,
        extra=extra,
    )
    data = bytearray(file.getvalue())
    if picture.density is not None:
        data[_JFIF_FIELDS] = jfif_fields(picture.density)
    return Encoded(bytes(data), tuple(left_out))


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
