"""Frames of one animation: alike, and told apart by what changes between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pca_protect.errors import PictureError
from pca_protect.io.picture import Picture

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


def frames_of(picture: Picture) -> tuple[Picture, ...]:
    return (picture, *picture.following)


def alike(frames: tuple[Picture, ...]) -> tuple[Picture, ...]:
    """With alpha in all or none, and grey all or none, as animation formats want it. Colours stay the same."""
    gray = all(frame.gray for frame in frames)
    if any(frame.alpha is not None for frame in frames):
        frames = tuple(replace(frame, alpha=_opaque(frame)) if frame.alpha is None else frame for frame in frames)
    return tuple(replace(frame, gray=gray) for frame in frames)


def one_size(frames: tuple[Picture, ...], what: str) -> None:
    """Raises:
    PictureError: the frames cannot go to `what`, a format that has one size for all.
    """
    first = frames[0]
    for number, frame in enumerate(frames, 1):
        if frame.rgb.shape != first.rgb.shape:
            raise PictureError(
                f"{first.source}: page {number} has {frame.width}x{frame.height} px where the first has "
                f"{first.width}x{first.height}, and {what} has one size for all; write it to a .tiff file"
            )


def changed_box(before: NDArray[Any], after: NDArray[Any], *, step: int = 1) -> Box:
    """The smallest box outside of which two `(H, W, C)` frames are the same, its left and top multiples of `step`. One
    pixel where nothing changed at all, since a frame cannot be empty."""
    different = (before != after).any(axis=2)
    rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    left, top = int(columns[0]) // step * step, int(rows[0]) // step * step
    return left, top, int(columns[-1]) + 1, int(rows[-1]) + 1


def _opaque(frame: Picture) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if frame.low is None:
        return np.full(frame.rgb.shape[:2], 255, np.uint8)
    return np.full(frame.rgb.shape[:2], 65535, np.uint16)
