"""Differentiable measure of a change's visibility, and a penalty that moves perturbations to where the picture masks them.

Three properties of human vision, each in its simplest form. Sensitivity to fine detail is lower, for chroma more so than for
luma (contrast sensitivity; Mullen, Journal of Physiology 359, 1985): changes are low-passed. Texture masks changes (contrast
masking; Legge & Foley, JOSA 70, 1980): the threshold rises with local contrast. Perception depends on energy: squares are
averaged. The constants were chosen on photographs that no result is reported on.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pca_protect.attack.pgd import Objective
from pca_protect.image.tensors import TO_YCC, Mask, Uint8Image, apply_color_matrix, blurred, to_tensor

FLAT_THRESHOLD = 0.03
"""Visibility threshold on a flat patch, in units of the [0, 1] range: 7.65 levels."""
_MASKING = 1.0
"""Increase of the threshold per unit of the local standard deviation of luma."""
_SURROUNDINGS_PX = 2.0
_LUMA_BLUR_PX, _CHROMA_BLUR_PX = 0.7, 1.5
_CHROMA_WEIGHT = 0.5
_LEVELS = 255.0
STEP_PER_VISIBLE_LEVEL = 7.0
"""Longest step in levels per level of the visibility limit: random signs of about 7 levels have a visibility of 1."""

_CPU = torch.device("cpu")
_STRIP_PX, _STRIP_MARGIN_PX = 512, 16
_FIRST_TARGET = 0.995
"""Fraction of a visibility limit that the first scaling aims at: rounding to whole levels adds a little."""


class Visibility:
    """Visibility of changes to given pictures.

    Args:
        clean: pixels `(B, 3, H, W)` in [0, 1].
    """

    def __init__(self, clean: Tensor) -> None:
        self._clean = clean
        luma = _ycc(clean)[:, :1]
        contrast = _blurred((luma - _blurred(luma, _SURROUNDINGS_PX)).square(), _SURROUNDINGS_PX)
        self._threshold = FLAT_THRESHOLD + _MASKING * contrast.clamp_min(0.0).sqrt()

    def energy_map(self, pixels: Tensor) -> Tensor:
        """Squared low-passed change in units of the threshold, `(B, 1, H, W)`; differentiable."""
        change = _ycc(pixels - self._clean)
        luma = _blurred(change[:, :1], _LUMA_BLUR_PX) / self._threshold
        chroma = _blurred(change[:, 1:], _CHROMA_BLUR_PX) / self._threshold
        return luma.square() + _CHROMA_WEIGHT * chroma.square().sum(dim=1, keepdim=True)

    def energy(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """The mean of `energy_map`, `(B,)`; 0 for unchanged pictures, lower is less visible.

        Args:
            mask: `(B, 1, H, W)` of zeros and ones, where to average; None is everywhere.
        """
        return mean_energy(self.energy_map(pixels), mask)


def mean_energy(energy_map: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of maps `(B, 1, H, W)` over a mask of the same shape, of zeros and ones; None is everywhere. Returns `(B,)`."""
    if mask is None:
        return energy_map.flatten(start_dim=1).mean(dim=1)
    return (energy_map * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp_min(1.0)


def in_levels(energy: float) -> float:
    """Visibility for a mean energy: its root, scaled to the luma change in 8-bit levels that is as visible on a flat patch.
    Uniform noise of 16 levels has about 1.5 on a photograph, and 3 on one with large flat areas."""
    return math.sqrt(energy) * FLAT_THRESHOLD * _LEVELS


def energy_of(levels: float) -> float:
    """The inverse of `in_levels`."""
    return (levels / (FLAT_THRESHOLD * _LEVELS)) ** 2


def visible_levels(
    clean: Uint8Image, changed: Uint8Image, *, mask: Mask | None = None, device: torch.device = _CPU
) -> float:
    """Visibility of a change to a picture `(H, W, 3)` of any size, in levels; see `in_levels`. Computed in strips of rows.

    Args:
        mask: `(H, W)`, where to average; None is everywhere.
        device: to compute on; for MPS, which has no float64, the CPU.
    """
    device = _CPU if device.type == "mps" else device
    height = len(clean)
    total = torch.zeros((), dtype=torch.float64, device=device)
    for top in range(0, height, _STRIP_PX):
        bottom = min(height, top + _STRIP_PX)
        begin, end = max(0, top - _STRIP_MARGIN_PX), min(height, bottom + _STRIP_MARGIN_PX)
        before, after = (to_tensor([levels[begin:end]], device) for levels in (clean, changed))
        energy = Visibility(before).energy_map(after)[0, 0, top - begin : bottom - begin].double()
        total += (energy if mask is None else energy[torch.from_numpy(mask[top:bottom]).to(device)]).sum()
    return in_levels(float(total) / max(1, height * clean.shape[1] if mask is None else int(mask.sum())))


def scale_to_visibility(
    clean: Uint8Image,
    changed: Uint8Image,
    most_levels: float,
    *,
    mask: Mask | None = None,
    device: torch.device = _CPU,
) -> Uint8Image:
    """Scales a picture's change down by one factor until its visibility is within a limit.

    Visibility is proportional to the factor, except for rounding to whole levels: two or three evaluations suffice.

    Args:
        most_levels: the limit, see `visible_levels`.
        mask, device: as for `visible_levels`.
    """
    visible = visible_levels(clean, changed, mask=mask, device=device)
    if visible <= most_levels:
        return changed
    factor, target, result = 1.0, _FIRST_TARGET, changed
    while visible > most_levels:
        factor *= target * most_levels / visible
        target **= 8
        result = scaled(clean, changed, factor)
        visible = visible_levels(clean, result, mask=mask, device=device)
    return result


def scaled(clean: Uint8Image, changed: Uint8Image, share: float) -> Uint8Image:
    """The picture with a share of its change, rounded to whole levels."""
    picture: Uint8Image = (clean + share * (changed.astype(np.float32) - clean)).round().astype(np.uint8)
    return picture


def _ycc(pixels: Tensor) -> Tensor:
    return apply_color_matrix(pixels, TO_YCC)


def _blurred(planes: Tensor, sigma_px: float) -> Tensor:
    return blurred(planes, sigma_px, reach_px=math.ceil(3 * sigma_px))


_FIRST_WEIGHT = 1.0
"""First weight of a mode without one, under a visibility limit."""
_LOWEST_WEIGHT = 0.01
_FASTEST = 1.4
"""Largest factor by which the weight changes per step: the first steps are long and more visible than later ones."""


class VisibilityPenalty:
    """A logarithmic objective plus a penalty on visible energy.

    With a limit, each image's weight is adapted like a Lagrange multiplier: it rises while the visibility is above the limit
    and falls while it is below. The limit is approached, not guaranteed; `scale_to_visibility` enforces it.

    Args:
        goal: objective to minimise, with values comparable between pictures, such as logarithms.
        clean: pixels `(B, 3, H, W)` in [0, 1].
        weight: factor on the visible energy, see `Visibility.energy`.
        most_levels: visibility limit, see `visibility.in_levels`; None is no limit.
        editable: `(B, 1, H, W)` of zeros and ones, where the limit holds on average; None is everywhere.
    """

    def __init__(
        self,
        goal: Objective,
        clean: Tensor,
        *,
        weight: float,
        most_levels: float | None = None,
        editable: Tensor | None = None,
    ) -> None:
        self._editable = editable
        self._goal = goal
        self._visibility = Visibility(clean)
        self._lowest = max(weight, _LOWEST_WEIGHT)
        self._weight = clean.new_full((len(clean),), weight or _FIRST_WEIGHT)
        self._most = None if most_levels is None else energy_of(most_levels)

    def __call__(self, pixels: Tensor) -> Tensor:
        energy_map = self._visibility.energy_map(pixels)
        energy = mean_energy(energy_map, None)
        if self._most is not None and torch.is_grad_enabled():
            seen = mean_energy(energy_map.detach(), self._editable)
            change = (seen / self._most).sqrt().clamp(1 / _FASTEST, _FASTEST)
            self._weight = (self._weight * change).clamp_min(self._lowest)
        return self._goal(pixels) + self._weight * energy
