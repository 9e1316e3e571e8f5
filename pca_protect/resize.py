"""Pictures at the sizes at which editors see them, whole or, for a change to a part of them, as a product of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_LOBES = 3


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


def shrinking(length: int, smaller: int, start: int, stop: int) -> tuple[int, NDArray[np.float32]]:
    """What makes one axis of a picture smaller as `resized` does, as far as a part of that axis takes part in it: Lanczos'
    filter of three lobes, as wide as the factor asks for, cut off and normalised at the ends.

    Args:
        length, smaller: pixels before and after.
        start, stop: the part.

    Returns:
        The first small pixel that the part has a share in, and the matrix `(n, stop - start)` for it and those that follow.
    """
    factor = length / smaller
    reach = _LOBES * factor
    first = max(0, int((start - reach) / factor))
    last = min(smaller, int((stop + reach) / factor) + 1)
    low, high = max(0, int(first * factor - reach)), min(length, int((last + 1) * factor + reach) + 1)
    centers = (np.arange(first, last) + 0.5) * factor
    weights = lanczos(centers, np.arange(low, high) + 0.5, factor)
    part = weights[:, start - low : stop - low]
    (touched,) = np.nonzero(part.any(axis=1))
    part = part[touched[0] : touched[-1] + 1]
    return first + int(touched[0]), np.ascontiguousarray(part, dtype=np.float32)


def lanczos(centers: NDArray[np.floating], places: NDArray[np.floating], factor: float) -> NDArray[np.floating]:
    """Weights `(centers, places)` of Lanczos' filter of three lobes, `factor` times as wide as for pixels that stay as many, cut
    off and normalised at the ends of the places."""
    distances = (places - centers[:, None]) / factor
    weights: NDArray[np.floating] = np.sinc(distances) * np.sinc(distances / _LOBES) * (np.abs(distances) < _LOBES)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
