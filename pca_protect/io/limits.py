"""Limits on picture size, checked before memory is allocated and applied to Pillow while it reads."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image, PngImagePlugin

from pca_protect.errors import PictureError

MIN_SIDE = 8
MAX_PIXELS = 200_000_000
"""Sum over all frames. Cameras of 2024 reach 150 megapixels; larger files are panoramas or decompression bombs."""

MAX_FRAMES = 10_000
"""Protects memory: a GIF frame can take as little as 20 bytes."""


def check_size(width: int, height: int, source: str, *, max_pixels: int = MAX_PIXELS) -> None:
    """Raises:
    PictureError: a side is shorter than `MIN_SIDE`, or the picture has more than `max_pixels`.
    """
    if min(width, height) < MIN_SIDE:
        raise PictureError(
            f"{source}: {width}x{height} px is too small; the shorter side has to be at least {MIN_SIDE} px"
        )
    if width * height > max_pixels:
        raise over_limit(f"{source}: {width}x{height} px is", max_pixels)


def check_frames(count: int, pixels: int, source: str, *, max_pixels: int = MAX_PIXELS) -> None:
    """Raises:
    PictureError: the first `count` frames exceed `max_pixels` together, or `MAX_FRAMES`.
    """
    if pixels > max_pixels:
        raise over_limit(
            f"{source}: its first {count} frames have {pixels / 1e6:.1f} megapixels together, which is", max_pixels
        )
    if count > MAX_FRAMES:
        raise PictureError(f"{source}: has more than {MAX_FRAMES} frames; split it into several files")


def bomb(error: Image.DecompressionBombError, source: str, max_pixels: int) -> PictureError:
    """The error for a picture that Pillow refused, with the pixel count parsed from Pillow's message."""
    pixels = re.search(r"\((\d+) pixels\)", str(error))
    size = f"has {int(pixels[1]) / 1e6:.0f} megapixels, which is" if pixels else "is"
    return over_limit(f"{source}: {size}", max_pixels)


def over_limit(what: str, max_pixels: int) -> OverLimitError:
    return OverLimitError(f"{what} over the limit of {max_pixels / 1e6:g} megapixels; raise it with `max_pixels`")


class OverLimitError(PictureError):
    """The picture has more pixels than the limit."""


_LARGEST_CHUNK = 8 * 2**20
"""Bytes of one compressed PNG metadata chunk. Some colour profiles exceed Pillow's own limit of 1 MB."""

_lock = threading.Lock()
_active: list[int] = []
_restore = ExitStack()


@contextmanager
def pillow_limited_to(max_pixels: int) -> Iterator[None]:
    """Let Pillow read up to `max_pixels`, without warnings, and refuse more with its `DecompressionBombError`.

    Pillow's limit is process-wide: it warns above the limit and refuses above twice the limit. While several threads read,
    the largest of their limits applies; the last thread to finish restores the previous settings, for the sake of
    embedding programs. `check_size` additionally checks each picture against its own limit.
    """
    with _lock:
        if not _active:
            before = Image.MAX_IMAGE_PIXELS
            _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", before)
            _restore.callback(setattr, PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_CHUNK)
            PngImagePlugin.MAX_TEXT_CHUNK = _LARGEST_CHUNK
            _restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # damaged metadata is no reason to stop
        _active.append(max_pixels)
        Image.MAX_IMAGE_PIXELS = max(_active) // 2
    try:
        yield
    finally:
        with _lock:
            _active.remove(max_pixels)
            if _active:
                Image.MAX_IMAGE_PIXELS = max(_active) // 2
            else:
                _restore.close()
