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
    """Heights and widths for scales, from the smallest on. Scales from the picture's own size up, where there is nothing
    to be seen that it does not hold, count as its own; without any scale its own is the only one.

    Args:
        longest_px: of the longer side, where the picture is made smaller before anybody sees it; None is as it is.
    """
    if longest_px is not None:
        height, width = fitting(height, width, longest_px)
    short = min(height, width)
    smaller = sorted({scale for scale in scales if scale != "native" and scale < short})
    found = [(round(height * scale / short), round(width * scale / short)) for scale in smaller]
    if len(smaller) < len(scales) or not scales:
        found.append((height, width))
    return found


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
