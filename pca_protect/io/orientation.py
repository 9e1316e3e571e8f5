"""Applies the EXIF orientation to pixel arrays."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = TypeVar("Array", bound=NDArray[Any])


def apply_orientation(array: Array, orientation: int) -> Array:
    """Turn an `(H, W, ...)` array stored with this EXIF orientation, 1 to 8, upright."""
    flips = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }
    if orientation not in flips:
        return array
    return np.ascontiguousarray(flips[orientation](array))  # type: ignore[return-value]
