"""Encodes TIFF with 8 or 16 bits and any number of pages: deflate with the horizontal predictor, which is widely readable.

The encoder is our own because Pillow writes no 16-bit colour. Pillow's directory class encodes the tags.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pca_protect.errors import PictureError
from pca_protect.io.frames import frames_of
from pca_protect.io.picture import Picture

_BYTE, _LONG, _UNDEFINED = 1, 4, 7
_STRIP_BYTES = 2**20
_LARGEST_FILE = 2**32 - 2**24


def encode_tiff(picture: Picture, exif: bytes) -> bytes:
    """Encode a picture. EXIF, XMP and IPTC are tags of the first page. Text and frame times are dropped.

    Raises:
        PictureError: the file would exceed the 4 GB of TIFF, or the picture is 16-bit grey with alpha, which most readers
            do not support.
    """
    data = bytearray(b"II\x2a\x00\x00\x00\x00\x00")
    link = 4
    pages = frames_of(picture)
    for number, page in enumerate(pages):
        samples = page.samples()
        if samples.dtype == np.uint16 and samples.shape[2] == 2:
            raise PictureError(
                f"{picture.source}: is 16-bit grey with transparency, which TIFF readers do not support; "
                "write it to a .png file"
            )
        strips, rows = _strips(samples)
        tags = _tags(samples, strips, rows)
        if len(pages) > 1:
            tags[254], tags[297] = 2, (number, len(pages))
        if page.icc_profile:
            _put(tags, 34675, page.icc_profile, _UNDEFINED)
        if number == 0:
            _add_metadata(tags, picture, exif)
        data += bytes(len(data) % 2)
        if len(data) + sum(map(len, strips)) > _LARGEST_FILE:
            raise PictureError(f"{picture.source}: is over the 4 GB limit of TIFF; write it to a .png file")
        struct.pack_into("<I", data, link, len(data))
        link = len(data) + 2 + 12 * len(tags)  # offset of the pointer to the next directory
        data += tags.tobytes(len(data))
        for strip in strips:
            data += strip
    return bytes(data)


def _strips(samples: NDArray[Any]) -> tuple[list[bytes], int]:
    """Compressed strips, and the number of rows in each."""
    height, width, channels = samples.shape
    rows = max(1, min(height, _STRIP_BYTES // (width * channels * samples.dtype.itemsize)))
    strips = []
    for start in range(0, height, rows):
        strip = samples[start : start + rows].astype(samples.dtype.newbyteorder("<"))
        strip[:, 1:] -= samples[start : start + rows, :-1]
        strips.append(zlib.compress(strip.tobytes(), 6))
    return strips, rows


def _tags(samples: NDArray[Any], strips: list[bytes], rows: int) -> ImageFileDirectory_v2:
    height, width, channels = samples.shape
    sizes = [len(strip) for strip in strips]
    tags = ImageFileDirectory_v2(b"II\x2a\x00\x08\x00\x00\x00")
    tags[256], tags[257] = width, height
    tags[258] = (samples.dtype.itemsize * 8,) * channels
    tags[259] = 8  # deflate
    tags[262] = 1 if channels < 3 else 2  # BlackIsZero or RGB
    tags.tagtype[273] = _LONG
    tags[273] = (0, *itertools.accumulate(sizes[:-1]))  # Pillow adds the end of the directory to each offset
    tags[277], tags[278], tags[279] = channels, rows, tuple(sizes)
    tags[284], tags[317] = 1, 2
    if channels in (2, 4):
        tags[338] = 2  # unassociated alpha
    return tags


def _add_metadata(tags: ImageFileDirectory_v2, picture: Picture, exif: bytes) -> None:
    block = Image.Exif()
    block.load(exif)
    for tag in block:
        if tag not in tags:
            value = block.get_ifd(tag) if tag in (34665, 34853) else block[tag]
            if tag == 34665 and 40965 in value and not isinstance(value[40965], dict):
                value = {**value, 40965: block.get_ifd(40965)}
            tags[tag] = value
    if picture.xmp:
        _put(tags, 700, picture.xmp, _BYTE)
    if picture.iptc:
        _put(tags, 33723, picture.iptc, _UNDEFINED)


def _put(tags: ImageFileDirectory_v2, tag: int, value: bytes, kind: int) -> None:
    tags.tagtype[tag] = kind
    tags[tag] = value
