"""Lanczos-3 resampling of one axis of a picture, as matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LOBES = 3


def shrinking(length: int, smaller: int, start: int, stop: int) -> tuple[int, NDArray[np.float32]]:
    """Matrix that downscales a part of one axis as `resize.resized` does: Lanczos-3, stretched by the factor, truncated and
    normalised at the ends of the axis.

    Args:
        length, smaller: pixels before and after.
        start, stop: the part, in pixels before.

    Returns:
        Index of the first output pixel that depends on the part, and the matrix `(n, stop - start)` for n output pixels from
        there.
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
    """Weights `(centers, places)` of the Lanczos-3 filter, stretched by `factor` (1 for an unchanged size), truncated and
    normalised at the ends of the places."""
    distances = (places - centers[:, None]) / factor
    weights: NDArray[np.floating] = np.sinc(distances) * np.sinc(distances / _LOBES) * (np.abs(distances) < _LOBES)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
