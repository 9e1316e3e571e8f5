"""How large a picture may be, checked before memory is taken, and Pillow held to the same while it reads."""

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
"""All frames together. A camera of 2024 takes 150 megapixels; what is larger is a panorama or a decompression bomb."""

MAX_FRAMES = 10_000
"""More frames than this are an attack on memory: a GIF can hold one in 20 bytes."""


def check_size(width: int, height: int, source: str, *, max_pixels: int = MAX_PIXELS) -> None:
    """Raises:
    PictureError: a side shorter than `MIN_SIDE`, or more than `max_pixels`.
    """
    if min(width, height) < MIN_SIDE:
        raise PictureError(
            f"{source}: {width}x{height} px is too small; the shorter side has to be at least {MIN_SIDE} px"
        )
    if width * height > max_pixels:
        raise over_limit(f"{source}: {width}x{height} px is", max_pixels)


def check_frames(count: int, pixels: int, source: str, *, max_pixels: int = MAX_PIXELS) -> None:
    """Raises:
    PictureError: the first `count` frames have more than `max_pixels` together, or are too many.
    """
    if pixels > max_pixels:
        raise over_limit(
            f"{source}: its first {count} frames have {pixels / 1e6:.0f} megapixels together, which is", max_pixels
        )
    if count > MAX_FRAMES:
        raise PictureError(f"{source}: has more than {MAX_FRAMES} frames; split it into several files")


def bomb(error: Image.DecompressionBombError, source: str, max_pixels: int) -> PictureError:
    """The sentence for what Pillow refused by itself; its message says how many pixels that were."""
    pixels = re.search(r"\((\d+) pixels\)", str(error))
    size = f"has {int(pixels[1]) / 1e6:.0f} megapixels, which is" if pixels else "is"
    return over_limit(f"{source}: {size}", max_pixels)


def over_limit(what: str, max_pixels: int) -> PictureError:
    return PictureError(f"{what} over the limit of {max_pixels / 1e6:g} megapixels; raise it with `max_pixels`")


_LARGEST_CHUNK = 8 * 2**20
"""Of packed metadata in PNG. Pillow's own limit of 1 MB is less than some colour profiles have."""

_lock = threading.Lock()
_active: list[int] = []
_usual = ExitStack()


@contextmanager
def pillow_limited_to(max_pixels: int) -> Iterator[None]:
    """Let Pillow read up to `max_pixels`, without warnings, and refuse more with its `DecompressionBombError`.

    Pillow has one limit per process, warns above it and refuses above twice of it. Of several threads that read at the
    same time the largest limit holds, and the last one to finish puts back what was there before; so an embedding
    program finds its own setting again. Each picture is checked against its own limit by `check_size` as well.
    """
    with _lock:
        if not _active:
            before = Image.MAX_IMAGE_PIXELS
            _usual.callback(setattr, Image, "MAX_IMAGE_PIXELS", before)
            _usual.callback(setattr, PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_CHUNK)
            PngImagePlugin.MAX_TEXT_CHUNK = _LARGEST_CHUNK
            _usual.enter_context(warnings.catch_warnings())
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
                _usual.close()
