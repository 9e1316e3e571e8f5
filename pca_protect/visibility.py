"""How visible a change is: differentiable, so that a perturbation can be kept where the eye forgives it.

Three facts about the eye, each in its simplest form. Fine detail is seen less than coarse, in colour sooner than in
brightness (contrast sensitivity; Mullen, Journal of Physiology 359, 1985): changes are low-passed. Detail hides detail
(contrast masking; Legge & Foley, JOSA 70, 1980): they count less where the picture is busy. And a change is judged by its
energy: squares are averaged. The constants were chosen on photographs that no result is reported on.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pca_protect.pixels import from_levels
from pca_protect.planes import TO_YCC, blurred, recoloured

FLAT_THRESHOLD = 0.03
"""The yardstick on a flat patch, in units of the [0, 1] range: 7.65 levels."""
_MASKING = 1.0
"""By how much the threshold grows with the local deviation of brightness."""
_SURROUNDINGS_PX = 2.0
_LUMA_BLUR_PX, _CHROMA_BLUR_PX = 0.7, 1.5
_CHROMA_WEIGHT = 0.5
_LEVELS = 255.0
STEP_PER_VISIBLE_LEVEL = 7.0
"""Longest step, in levels, for each level of visibility that is allowed: random signs of about seven are that visible."""

_STRIP_PX, _STRIP_MARGIN_PX = 512, 16
_HALVINGS = 8


class Visibility:
    """Of changes to given pictures.

    Args:
        clean: pixels `(B, 3, H, W)` in [0, 1].
    """

    def __init__(self, clean: Tensor) -> None:
        self._clean = clean
        luma = _ycc(clean)[:, :1]
        contrast = _blurred((luma - _blurred(luma, _SURROUNDINGS_PX)).square(), _SURROUNDINGS_PX)
        self._threshold = FLAT_THRESHOLD + _MASKING * contrast.clamp_min(0.0).sqrt()

    def energy_map(self, pixels: Tensor) -> Tensor:
        """Squared change, low-passed, in thresholds: `(B, 1, H, W)`, differentiable."""
        change = _ycc(pixels - self._clean)
        luma = _blurred(change[:, :1], _LUMA_BLUR_PX) / self._threshold
        chroma = _blurred(change[:, 1:], _CHROMA_BLUR_PX) / self._threshold
        return luma.square() + _CHROMA_WEIGHT * chroma.square().sum(dim=1, keepdim=True)

    def energy(self, pixels: Tensor) -> Tensor:
        """The mean of `energy_map`, `(B,)`; 0 for unchanged pictures, lower is less visible."""
        return self.energy_map(pixels).flatten(start_dim=1).mean(dim=1)


def in_levels(energy: float) -> float:
    """Visibility for a mean energy: the root, in 8-bit levels of a change of brightness on a flat patch that would be as
    visible. Uniform noise of 16 levels has about 1.5 on a photograph, and 3 on one with large flat areas."""
    return math.sqrt(energy) * FLAT_THRESHOLD * _LEVELS


def energy_of(levels: float) -> float:
    """The inverse of `in_levels`."""
    return (levels / (FLAT_THRESHOLD * _LEVELS)) ** 2


def visible_levels(clean: NDArray[np.uint8], changed: NDArray[np.uint8]) -> float:
    """Visibility of a change to a picture `(H, W, 3)` of any size, in levels; see `in_levels`. Made in strips of rows."""
    height = len(clean)
    total = 0.0
    for top in range(0, height, _STRIP_PX):
        bottom = min(height, top + _STRIP_PX)
        begin, end = max(0, top - _STRIP_MARGIN_PX), min(height, bottom + _STRIP_MARGIN_PX)
        before, after = (from_levels([levels[begin:end]]) for levels in (clean, changed))
        total += float(Visibility(before).energy_map(after)[..., top - begin : bottom - begin, :].double().sum())
    return in_levels(total / (height * clean.shape[1]))


def faded(clean: NDArray[np.uint8], changed: NDArray[np.uint8], most_levels: float) -> NDArray[np.uint8]:
    """The picture with its change made smaller, everywhere by the same factor, until it is no more visible than this."""
    if visible_levels(clean, changed) <= most_levels:
        return changed
    change = changed.astype(np.float32) - clean
    shown, low, high = clean.copy(), 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        tried = (clean + middle * change).round().astype(np.uint8)
        if visible_levels(clean, tried) <= most_levels:
            shown, low = tried, middle
        else:
            high = middle
    return shown


def _ycc(pixels: Tensor) -> Tensor:
    return recoloured(pixels, TO_YCC)


def _blurred(planes: Tensor, sigma_px: float) -> Tensor:
    return blurred(planes, sigma_px, reach_px=math.ceil(3 * sigma_px))
