"""What may happen to a protected picture on its way, and what is done to wash protection off: no model weights needed.

Each one takes and returns an 8-bit picture `(H, W, 3)` of the same size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pca_protect.eval.pictures import Rgb, through_file

_LANCZOS = Image.Resampling.LANCZOS
_UPLOAD_LARGEST_PX, _UPLOAD_QUALITY = 1080, 80


@dataclass(frozen=True)
class Purifier:
    """A way of washing protection off, by intent or by accident.

    Attributes:
        name: for tables and options.
        what: one phrase for reports.
    """

    name: str
    what: str
    apply: Callable[[Image.Image, np.random.Generator], Image.Image]

    def __call__(self, picture: Rgb, seed: int = 0) -> Rgb:
        """The purified picture. Only those that add noise depend on `seed`."""
        image = self.apply(Image.fromarray(np.ascontiguousarray(picture)), np.random.default_rng(seed))
        return np.array(image)


def _jpeg(quality: int) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    return lambda image, _: _through_file(image, "JPEG", quality=quality, subsampling="4:2:0")


def _webp(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return _through_file(image, "WEBP", quality=80)


def _half_size(image: Image.Image, _: np.random.Generator) -> Image.Image:
    half = (max(1, image.width // 2), max(1, image.height // 2))
    return image.resize(half, _LANCZOS).resize(image.size, _LANCZOS)


def _jpeg_then_half_size(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    return _half_size(_jpeg(75)(image, generator), generator)


def _crop(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """12.5 % of each side is cut off in all, half at either end."""
    across, down = image.width / 16, image.height / 16
    return image.resize(image.size, _LANCZOS, box=(across, down, image.width - across, image.height - down))


def _blur(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1))


def _median(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.MedianFilter(3))


def _noise(deviation: float) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    def apply(image: Image.Image, generator: np.random.Generator) -> Image.Image:
        noisy = np.asarray(image) / 255 + generator.normal(0, deviation, (image.height, image.width, 3))
        return Image.fromarray((noisy.clip(0, 1) * 255).round().astype(np.uint8))

    return apply


def _adverse_cleaner(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Bilateral filtering until patterns are gone, then guided filtering that brings edges back (lllyasviel's
    AdverseCleaner, with its published settings)."""
    original = np.asarray(image).astype(np.float32)
    cleaned: NDArray[Any] = original.copy()
    for _pass in range(64):
        cleaned = cv2.bilateralFilter(cleaned, 5, 8, 8)
    for _pass in range(4):
        cleaned = cv2.ximgproc.guidedFilter(original, cleaned, 4, 16)
    return Image.fromarray(cleaned.clip(0, 255).round().astype(np.uint8))


def _upload(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """As a photo site would store it, shown at the original's size again."""
    stored = image.copy()
    stored.thumbnail((_UPLOAD_LARGEST_PX, _UPLOAD_LARGEST_PX), _LANCZOS)
    stored = _through_file(stored, "JPEG", quality=_UPLOAD_QUALITY, subsampling="4:2:0")
    return stored if stored.size == image.size else stored.resize(image.size, _LANCZOS)


def _through_file(image: Image.Image, kind: str, **options: int | str) -> Image.Image:
    return Image.fromarray(through_file(np.asarray(image), kind, **options))


FILTERS: dict[str, Purifier] = {
    purifier.name: purifier
    for purifier in (
        *(
            Purifier(f"jpeg-{quality}", f"JPEG, quality {quality}, 4:2:0", _jpeg(quality))
            for quality in (95, 85, 75, 65, 50)
        ),
        Purifier("webp-80", "WebP, quality 80", _webp),
        Purifier("half-size", "half size by Lanczos and back", _half_size),
        Purifier("jpeg-75-half-size", "JPEG 75, then half size and back", _jpeg_then_half_size),
        Purifier("crop", "12.5 % cropped off, resized", _crop),
        Purifier("blur-1", "Gaussian blur of 1 px", _blur),
        Purifier("noise-0.05", "Gaussian noise of 0.05", _noise(0.05)),
        Purifier("noise-0.1", "Gaussian noise of 0.1", _noise(0.1)),
        Purifier("median-3", "median of 3x3 px", _median),
        Purifier("adverse-cleaner", "AdverseCleaner: bilateral, then guided filters", _adverse_cleaner),
        Purifier("upload", "an upload: 1080 px at most, JPEG 80", _upload),
    )
}
"""By name, in the order of reports."""
