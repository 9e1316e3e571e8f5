"""Edits of one part of a photograph, rendered by rule: training targets of `pocket-instruct` and known targets of its edits.

There is no segmenter: a rule on position and colour defines each part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pca_protect.eval.styles import Style

_Unit = NDArray[np.floating[Any]]
"""A picture, `(H, W, 3)`, or one channel of it, `(H, W)`, in [0, 1]."""

_LUMA = np.array((0.299, 0.587, 0.114), dtype=np.float32)
_RED = np.array((1.05, 0.30, 0.22), dtype=np.float32)
_SUBJECT = (0.30, 0.36)
"""Semi-axes of the central ellipse that counts as the subject, in widths and heights of the picture."""


def sky(picture: _Unit) -> _Unit:
    """Mask `(H, W)` in [0, 1] of the bright, not warm area that reaches down from the upper border without a break."""
    luma = picture @ _LUMA
    bright = ((luma - 0.40) / 0.15).clip(0, 1)
    not_warm = ((picture[..., 2] - picture[..., 0] + 0.06) / 0.06).clip(0, 1)
    blur_px = min(picture.shape[:2]) / 64
    likeness = gaussian_filter((bright * not_warm).astype(np.float32), blur_px, mode="nearest")
    reached = np.minimum.accumulate(((likeness - 0.45) / 0.2).clip(0, 1), axis=0)
    mask: _Unit = gaussian_filter(reached, blur_px, mode="nearest")
    return mask


def background(picture: _Unit) -> _Unit:
    """Mask `(H, W)` in [0, 1] of everything outside a central ellipse, with a soft rim."""
    down, across = (np.linspace(-0.5, 0.5, count, dtype=np.float32) for count in picture.shape[:2])
    radius = np.hypot(across[None] / _SUBJECT[0], down[:, None] / _SUBJECT[1])
    mask: _Unit = ((radius - 0.9) / 0.2).clip(0, 1)
    return mask


def _red_sky(picture: _Unit, generator: np.random.Generator) -> _Unit:
    weight = sky(picture)[..., None]
    return picture * (1 - weight) + (picture @ _LUMA)[..., None] * _RED * weight


def _grey_background(picture: _Unit, generator: np.random.Generator) -> _Unit:
    weight = background(picture)[..., None]
    return picture * (1 - weight) + (picture @ _LUMA)[..., None] * weight


LOCAL_EDITS: dict[str, Style] = {
    edit.name: edit
    for edit in (
        Style("red-sky", "make the sky red", _red_sky),
        Style("grey-background", "remove colour from the background", _grey_background),
    )
}
"""By name."""
