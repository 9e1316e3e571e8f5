"""Frames of an animation: equal channels and sizes, and the box that changes between two frames."""

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
    """Give all frames the same channels, as animation formats require: alpha if any has it, grey if all are. Colours stay the
    same."""
    gray = all(frame.gray for frame in frames)
    if any(frame.alpha is not None for frame in frames):
        frames = tuple(replace(frame, alpha=_opaque(frame)) if frame.alpha is None else frame for frame in frames)
    return tuple(replace(frame, gray=gray) for frame in frames)


def one_size(frames: tuple[Picture, ...], what: str) -> None:
    """Raises:
    PictureError: frames differ in size, which the format `what` cannot store.
    """
    first = frames[0]
    for number, frame in enumerate(frames, 1):
        if frame.rgb.shape != first.rgb.shape:
            raise PictureError(
                f"{first.source}: page {number} has {frame.width}x{frame.height} px and the first "
                f"{first.width}x{first.height}, but {what} needs one size for all; write it to a .tiff file"
            )


def changed_box(before: NDArray[Any], after: NDArray[Any], *, step: int = 1) -> Box:
    """The smallest box outside of which two `(H, W, C)` frames are equal, with left and top rounded down to a multiple of
    `step`. For equal frames it is one pixel, since a frame cannot be empty."""
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
