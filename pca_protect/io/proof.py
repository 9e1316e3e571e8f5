"""Compares a picture with the one read back from its file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pca_protect.errors import PictureError
from pca_protect.io.frames import frames_of
from pca_protect.io.picture import Picture

_LONGEST_MS = 2**24 - 1
"""The limit of WebP for the time of one frame."""
_MOST_LOOPS = 65535


def largest_change_levels(picture: Picture, saved: Picture) -> int:
    """The L-inf distance over all frames, in 8-bit levels.

    Raises:
        PictureError: the pictures differ in size or number of frames.
    """
    before, after = frames_of(picture), frames_of(saved)
    if [frame.rgb.shape for frame in before] != [frame.rgb.shape for frame in after]:
        raise PictureError(
            f"{saved.source}: differs from {picture.source} in size or number of frames; please report this"
        )
    return max(_largest_difference(original, changed) for original, changed in zip(before, after, strict=True))


def require_only_colors_changed(picture: Picture, saved: Picture, *, timed: bool = True) -> None:
    """Compare alpha, low bytes, times and loops, which no protection changes.

    Args:
        timed: the format stores times and loops, rounded to a millisecond or a thousandth.

    Raises:
        PictureError: one of them differs.
    """
    for number, (before, after) in enumerate(zip(frames_of(picture), frames_of(saved), strict=True), 1):
        opaque = 255 if before.low is None else 65535
        differs = {
            "alpha": not _equal(before.alpha, after.alpha, default=opaque),
            "low bytes": not _equal(before.low, after.low, default=None),
            "time": timed and not _same_time(before.duration_ms, after.duration_ms),
        }
        for what, different in differs.items():
            if different:
                raise PictureError(
                    f"{picture.source}: the {what} of frame {number} would differ in the file; nothing was written, please "
                    "report this"
                )
    if timed and min(picture.loop, _MOST_LOOPS) != min(saved.loop, _MOST_LOOPS):
        raise PictureError(
            f"{picture.source}: its number of plays would differ in the file; nothing was written, please report this"
        )


def _equal(before: NDArray[Any] | None, after: NDArray[Any] | None, *, default: int | None) -> bool:
    """Whether two arrays are equal; one that is missing equals one of `default` everywhere."""
    if before is None or after is None:
        given = after if before is None else before
        return given is None or (default is not None and bool((given == default).all()))
    return np.array_equal(before, after)


def _same_time(before_ms: float, after_ms: float) -> bool:
    before_ms, after_ms = min(before_ms, _LONGEST_MS), min(after_ms, _LONGEST_MS)
    return abs(before_ms - after_ms) <= max(1.0, before_ms / 1000)


def _largest_difference(picture: Picture, saved: Picture) -> int:
    """Compare bands of rows to limit memory."""
    largest = 0
    for start in range(0, picture.height, 256):
        rows = slice(start, start + 256)
        difference = np.abs(saved.rgb[rows].astype(np.int16) - picture.rgb[rows].astype(np.int16))
        largest = max(largest, int(difference.max()))
    return largest
