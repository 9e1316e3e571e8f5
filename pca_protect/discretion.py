"""Keep a perturbation from being seen: what shows of it costs, the more so above a limit."""

from __future__ import annotations

import torch
from torch import Tensor

from pca_protect.optimize import Objective
from pca_protect.visibility import Visibility, energy_of, mean_energy

_FIRST_PRICE = 1.0
"""Where visibility is limited but has no price of its own."""
_LOWEST_PRICE = 0.01
_FASTEST = 1.4
"""The price changes by no larger factor in a step: the first, long steps show more than what comes of them."""


class Discreet:
    """A logarithmic objective plus a price on visible energy.

    Above a limit the price rises step by step and below it falls back, each image by itself: a multiplier for the
    constraint, moved along the constraint's violation. The limit is approached, not kept; `visibility.faded` keeps it.

    Args:
        goal: to be minimised, its values comparable between pictures, as logarithms are.
        clean: pixels `(B, 3, H, W)` in [0, 1].
        price: of a visible energy of 1, see `Visibility.energy`.
        most_levels: the limit, see `visibility.in_levels`; None is none.
        editable: `(B, 1, H, W)` of zeros and ones, where the limit holds on average; None is everywhere.
    """

    def __init__(
        self,
        goal: Objective,
        clean: Tensor,
        *,
        price: float,
        most_levels: float | None = None,
        editable: Tensor | None = None,
    ) -> None:
        self._editable = editable
        self._goal = goal
        self._visibility = Visibility(clean)
        self._lowest = max(price, _LOWEST_PRICE)
        self._price = clean.new_full((len(clean),), price or _FIRST_PRICE)
        self._most = None if most_levels is None else energy_of(most_levels)

    def __call__(self, pixels: Tensor) -> Tensor:
        energy_map = self._visibility.energy_map(pixels)
        energy = mean_energy(energy_map, None)
        if self._most is not None and torch.is_grad_enabled():
            seen = mean_energy(energy_map.detach(), self._editable)
            change = (seen / self._most).sqrt().clamp(1 / _FASTEST, _FASTEST)
            self._price = (self._price * change).clamp_min(self._lowest)
        return self._goal(pixels) + self._price * energy
