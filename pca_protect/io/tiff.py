"""Encodes TIFF with 8 or 16 bits and any number of pages: deflate with the horizontal predictor, which is widely readable.

The encoder is our own because Pillow writes no 16-bit colour. The file begins with the picture's EXIF block, so that everything
the block points to, such as maker notes, stays at its position.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pca_protect.errors import PictureError
from pca_protect.io.density import with_density
from pca_protect.io.encoded import Encoded, sentence, unstorable
from pca_protect.io.exif import first_entries
from pca_protect.io.exif_of_tiff import LAYOUT
from pca_protect.io.frames import frames_of
from pca_protect.io.marker import with_marker
from pca_protect.io.picture import Picture
from pca_protect.io.tiff_directory import (
    BYTE,
    EMPTY,
    LONG,
    SHORT,
    UNDEFINED,
    Layout,
    Value,
    append_directory,
    first_directory,
    layout_of,
)

_STRIP_BYTES = 2**20
_OF_PIXELS = LAYOUT | {301}
"""Tags that the EXIF block of another format may hold, and that readers would apply to these pixels."""
_LARGEST_FILE = 2**32 - 2**24


def encode_tiff(picture: Picture, marker: str) -> Encoded:
    """Encode a picture. EXIF, XMP and IPTC are tags of the first page. Text and frame times are left out.

    Raises:
        PictureError: the file would exceed the 4 GB of TIFF, or the picture is 16-bit grey with alpha, which most readers
            do not support.
    """
    block = with_marker(with_density(picture.exif, picture.density), marker)
    data = bytearray(block or EMPTY)
    layout = layout_of(data)
    entries: dict[int, bytes] = {}
    if block:
        main = first_directory(data, layout)
        entries = {tag: entry for tag, entry in first_entries(data, layout, main).items() if tag not in _OF_PIXELS}
        data[main.start : main.end] = bytes(main.end - main.start)
    link = layout.first_link
    pages = frames_of(picture)
    for number, page in enumerate(pages):
        samples = page.samples()
        if samples.dtype == np.uint16 and samples.shape[2] == 2:
            raise PictureError(
                f"{picture.source}: is 16-bit grey with transparency, which TIFF readers do not support; "
                "write it to a .png file"
            )
        strips, rows = _strips(samples, layout)
        if len(data) + sum(map(len, strips)) > _LARGEST_FILE:
            raise PictureError(f"{picture.source}: is over the 4 GB limit of TIFF; write it to a .png file")
        positions = list(itertools.accumulate(map(len, strips[:-1]), initial=len(data)))
        data += b"".join(strips)
        values = _values(samples, positions, [len(strip) for strip in strips], rows, layout)
        if len(pages) > 1:
            values[254] = _longs(layout, 2)
            values[297] = _shorts(layout, number & 0xFFFF, len(pages) & 0xFFFF)
        if page.icc_profile:
            values[34675] = Value(UNDEFINED, len(page.icc_profile), page.icc_profile)
        if number == 0 and picture.xmp:
            values[700] = Value(BYTE, len(picture.xmp), picture.xmp)
        if number == 0 and picture.iptc:
            values[33723] = Value(UNDEFINED, len(picture.iptc), picture.iptc)
        start, next_link = append_directory(data, layout, values, entries=entries if number == 0 else None)
        struct.pack_into(f"{layout.order}I", data, link, start)
        link = next_link
    left_out = list(unstorable(picture, "TIFF"))
    if any(page.duration_ms > 0 for page in pages):
        left_out.append(sentence("the times of its frames", "TIFF"))
    return Encoded(bytes(data), tuple(left_out))


def _strips(samples: NDArray[Any], layout: Layout) -> tuple[list[bytes], int]:
    """Compressed strips, and the number of rows in each."""
    height, width, channels = samples.shape
    rows = max(1, min(height, _STRIP_BYTES // (width * channels * samples.dtype.itemsize)))
    strips = []
    for start in range(0, height, rows):
        strip = samples[start : start + rows].astype(samples.dtype.newbyteorder(layout.order))
        strip[:, 1:] -= samples[start : start + rows, :-1]
        strips.append(zlib.compress(strip.tobytes(), 6))
    return strips, rows


def _values(
    samples: NDArray[Any], positions: list[int], sizes: list[int], rows: int, layout: Layout
) -> dict[int, Value]:
    """Tags of the pixels."""
    height, width, channels = samples.shape
    values = {
        256: _longs(layout, width),
        257: _longs(layout, height),
        258: _shorts(layout, *[samples.dtype.itemsize * 8] * channels),
        259: _shorts(layout, 8),  # deflate
        262: _shorts(layout, 1 if channels < 3 else 2),  # BlackIsZero or RGB
        273: _longs(layout, *positions),
        277: _shorts(layout, channels),
        278: _longs(layout, rows),
        279: _longs(layout, *sizes),
        284: _shorts(layout, 1),
        317: _shorts(layout, 2),
    }
    if channels in (2, 4):
        values[338] = _shorts(layout, 2)  # unassociated alpha
    return values


def _shorts(layout: Layout, *numbers: int) -> Value:
    return Value(SHORT, len(numbers), layout.numbers("H", numbers))


def _longs(layout: Layout, *numbers: int) -> Value:
    return Value(LONG, len(numbers), layout.numbers("I", numbers))
