"""Pictures at the sizes at which editors see them, whole or, for a change to a part of them, as a product of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_LOBES = 3


def sizes(height: int, width: int, scales: Sequence[int | Literal["native"]]) -> list[tuple[int, int]]:
    """Heights and widths for scales, from the smallest on. Scales from the picture's own size up, where there is nothing
    to be seen that it does not hold, count as its own; without any scale its own is the only one."""
    short = min(height, width)
    smaller = sorted({scale for scale in scales if scale != "native" and scale < short})
    found = [(round(height * scale / short), round(width * scale / short)) for scale in smaller]
    if len(smaller) < len(scales) or not scales:
        found.append((height, width))
    return found


def resized(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """`(H, W, 3)` levels at another height and width, with Lanczos' filter as editing tools use it."""
    height, width = size
    return np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.LANCZOS))


def shrinking(length: int, smaller: int) -> NDArray[np.float32]:
    """The matrix `(smaller, length)` that makes one axis of a picture smaller as `resized` does: Lanczos' filter of three
    lobes, as wide as the factor asks for, cut off and normalised at the ends."""
    factor = length / smaller
    centers = (np.arange(smaller) + 0.5) * factor
    distances = ((np.arange(length) + 0.5) - centers[:, None]) / factor
    weights = np.sinc(distances) * np.sinc(distances / _LOBES) * (np.abs(distances) < _LOBES)
    matrix: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return matrix
