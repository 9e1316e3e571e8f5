"""Pictures at the sizes at which editors see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def sizes(
    height: int, width: int, scales: Sequence[int | Literal["native"]], *, longest_px: int | None = None
) -> list[tuple[int, int]]:
    """Heights and widths for scales of the shorter side, in ascending order. Scales of at least the picture's own size count as
    `native`, since upscaling adds no detail. Without scales, the only size is the picture's own.

    Args:
        longest_px: limit on the longer side, for a picture that is downscaled before editors see it; None is no limit.
    """
    if longest_px is not None:
        height, width = fitting(height, width, longest_px)
    short = min(height, width)
    smaller = sorted({scale for scale in scales if scale != "native" and scale < short})
    result = [(round(height * scale / short), round(width * scale / short)) for scale in smaller]
    if len(smaller) < len(scales) or not scales:
        result.append((height, width))
    return result


def fitting(height: int, width: int, longest_px: int) -> tuple[int, int]:
    """Height and width with a longer side of at most `longest_px`, nearest to the same aspect ratio. Never upscales."""
    if max(height, width) <= longest_px:
        return height, width
    shorter = longest_px * min(height, width) / max(height, width)
    around = (max(1, math.floor(shorter)), math.ceil(shorter))
    candidates = [(px, longest_px) if width > height else (longest_px, px) for px in around]
    return min(candidates, key=lambda size: abs(width / height - size[1] / size[0]))


def resized(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """`(H, W, 3)` levels resized to a height and width with Pillow's Lanczos filter, which editing tools use."""
    height, width = size
    return np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.LANCZOS))
