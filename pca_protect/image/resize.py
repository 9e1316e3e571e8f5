"""Pictures at the sizes at which editors see them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pca_protect.config import Scale

_MEGAPIXEL = 1024 * 1024
_MULTIPLE_PX = 16


def sizes(height: int, width: int, scales: Sequence[Scale], *, longest_px: int | None = None) -> list[tuple[int, int]]:
    """Heights and widths for scales, each once, from the smallest on. Scales that are not smaller than the picture in both
    directions count as its own size; without any scale its own is the only one.

    `1mp` is the size of 1024 * 1024 px in area at the picture's proportions, each side rounded to the nearest multiple of 16.
    Editors differ by a few pixels from that: FLUX.1 Kontext takes the nearest proportions from a list of 17 sizes, FLUX.2
    rounds down, Qwen-Image-Edit rounds to multiples of 32. For proportions of 1:1 and 3:2 all four agree. Kontext and
    Qwen-Image-Edit also enlarge smaller pictures.

    Args:
        longest_px: of the longer side, where the picture is made smaller before anybody sees it; None is as it is.
    """
    if longest_px is not None:
        height, width = fitting(height, width, longest_px)
    found = {_size(height, width, scale) for scale in scales or ("native",)}
    return sorted(found, key=lambda size: size[0] * size[1])


def _size(height: int, width: int, scale: Scale) -> tuple[int, int]:
    if scale == "native":
        return height, width
    if scale == "1mp":
        factor = math.sqrt(_MEGAPIXEL / (height * width))
        found = _nearest_multiple(height * factor), _nearest_multiple(width * factor)
    else:
        short = min(height, width)
        found = round(height * scale / short), round(width * scale / short)
    return found if found[0] < height and found[1] < width else (height, width)


def _nearest_multiple(side: float) -> int:
    return max(1, round(side / _MULTIPLE_PX)) * _MULTIPLE_PX


def fitting(height: int, width: int, longest_px: int) -> tuple[int, int]:
    """The size at which the longer side has `longest_px`, nearest to the same proportions; no larger than it is."""
    if max(height, width) <= longest_px:
        return height, width
    shorter = longest_px * min(height, width) / max(height, width)
    around = (max(1, math.floor(shorter)), math.ceil(shorter))
    found = [(px, longest_px) if width > height else (longest_px, px) for px in around]
    return min(found, key=lambda size: abs(width / height - size[1] / size[0]))


def resized(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """`(H, W, 3)` levels at another height and width, with Lanczos' filter as editing tools use it."""
    height, width = size
    return np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.LANCZOS))
