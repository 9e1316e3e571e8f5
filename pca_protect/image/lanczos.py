"""Lanczos' filter of three lobes as matrices, for one axis of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LOBES = 3


def shrinking(length: int, smaller: int, start: int, stop: int) -> tuple[int, NDArray[np.float32]]:
    """What makes one axis of a picture smaller as `resize.resized` does, as far as a part of that axis takes part in it: Lanczos'
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
