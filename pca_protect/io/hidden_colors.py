"""Colours under full transparency, which viewers hide and editors can read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pca_protect.io.frames import frames_of
from pca_protect.io.picture import Picture

HIDDEN = (
    "the file's fully transparent pixels hold colours that viewers hide and editors can read; remove them with "
    "`clear_hidden`"
)


def has_hidden_colors(frame: Picture) -> bool:
    """Whether fully transparent pixels have different colours. One single colour shows nothing."""
    if frame.alpha is None:
        return False
    hidden = frame.rgb[frame.alpha == 0]
    return bool(len(hidden)) and bool((hidden != hidden[0]).any())


def without_hidden_colors(picture: Picture) -> Picture:
    """Make fully transparent pixels of all frames black, and remove the warning about them."""
    first, *following = (_cleared(frame) for frame in frames_of(picture))
    warnings = tuple(warning for warning in picture.read_warnings if warning != HIDDEN)
    return replace(first, following=tuple(following), read_warnings=warnings)


def _cleared(frame: Picture) -> Picture:
    if frame.alpha is None:
        return frame
    visible = (frame.alpha > 0)[..., None]
    low = None if frame.low is None else np.where(visible, frame.low, np.uint8(0))
    return replace(frame, rgb=np.where(visible, frame.rgb, np.uint8(0)), low=low)
