"""Recovers the low bytes of 16-bit colour, which Pillow drops when it reads PNG, TIFF and PPM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pca_protect.errors import PictureError
from pca_protect.io.channels import Channels, from_sixteen_bits
from pca_protect.io.orientation import apply_orientation

_SILENT = 0
"""OpenCV's `LOG_LEVEL_SILENT`."""
ROUNDED = "it has more than 8 bits per channel, and only the upper 8 were read"


def has_low_bytes(image: Image.Image, data: bytes) -> bool:
    """Whether the file has more than 8 bits per channel while Pillow opened it as 8-bit colour. Call before decoding."""
    if image.mode not in ("RGB", "RGBA", "LA", "CMYK"):
        return False
    if image.format == "PNG":
        return data[24:25] == b"\x10"
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        return any(int(value) > 8 for value in (bits if isinstance(bits, tuple) else (bits,)))
    if image.format == "PPM":
        tiles = getattr(image, "tile", [])
        arguments = tiles[0][3] if tiles else ()
        return any(isinstance(value, int) and value > 255 for value in np.atleast_1d(np.array(arguments, dtype=object)))
    if image.format == "JPEG2000":
        start = data.find(b"\xff\x4f\xff\x51")
        return start >= 0 and any((bits & 0x7F) + 1 > 8 for bits in data[start + 42 : start + 43])
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8)) > 8
    if image.format == "AVIF":
        box = data.find(b"av1C")
        return box >= 0 and bool(data[box + 6 : box + 7]) and bool(data[box + 6] & 0x40)
    return False


def is_gray_with_alpha(image: Image.Image, data: bytes) -> bool:
    """Whether the file is a 16-bit greyscale PNG with alpha, which Pillow opens as RGBA."""
    return image.format == "PNG" and data[24:26] == b"\x10\x04"


def with_low_bytes(
    channels: Channels, image: Image.Image, data: bytes, source: str, *, page: int, orientation: int
) -> Channels | None:
    """Add the low bytes, decoded by OpenCV; None if it cannot decode the file or not its alpha.

    Args:
        channels: as Pillow decoded them: upright for TIFF, else in stored orientation.
        source: names the picture in messages.
        page: index in the file, from 0.
        orientation: the EXIF orientation that Pillow applied; 1 if none.

    Raises:
        PictureError: the two decoders read different pixels.
    """
    samples = _decoded(data, page)
    if samples is None:
        return None
    # Pillow rounds JPEG 2000, and rounds white to black.
    exact = image.format != "JPEG2000"
    for candidate in (samples, apply_orientation(samples, orientation)):
        colour = candidate[..., :3]
        if colour.shape != channels.rgb.shape or (exact and not np.array_equal(colour >> 8, channels.rgb)):
            continue
        alpha = None
        transparent = image.info.get("transparency")
        if isinstance(transparent, tuple):
            alpha = np.where((colour == np.array(transparent)).all(axis=2), 0, 65535).astype(np.uint16)
        elif channels.alpha is not None:
            if candidate.shape[2] != 4:
                return None
            alpha = np.ascontiguousarray(candidate[..., 3])
        deep = from_sixteen_bits(colour, alpha)
        return Channels(deep.rgb, deep.alpha, deep.low, channels.gray, channels.icc_profile, channels.notes)
    raise PictureError(
        f"{source}: two decoders read different pixels, so one is wrong; open it in a viewer and save it as PNG"
    )


def _decoded(data: bytes, page: int) -> NDArray[np.uint16] | None:
    """`(H, W, 3 or 4)` uint16 in RGB(A) order; None if OpenCV reads no 16-bit colour."""
    import cv2  # noqa: PLC0415 - large, and rarely needed

    buffer = np.frombuffer(data, np.uint8)
    with _silent(cv2):
        try:
            if page == 0:
                array: Any = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
            else:
                _, pages = cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
                array = pages[0] if pages else None
        except cv2.error:
            return None
    if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] not in (3, 4):
        return None
    order = [2, 1, 0, 3][: array.shape[2]]
    return np.ascontiguousarray(array[..., order])


@contextlib.contextmanager
def _silent(cv2: Any) -> Iterator[None]:  # noqa: ANN401 - the module itself
    """Silence OpenCV, which writes warnings about unknown tags to stderr."""
    # OpenCV 4.13 moved it from `cv2` to `cv2.utils.logging`.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    before = set_level(_SILENT)
    try:
        yield
    finally:
        set_level(before)
