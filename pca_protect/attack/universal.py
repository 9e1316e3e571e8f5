"""Universal perturbations: one tile that perturbs any picture, as initialisation or without further steps.

Universal perturbations: Moosavi-Dezfooli et al., arXiv 1610.08401; as initialisation that saves steps: FastProtect (Ahn et al.
2024, arXiv 2412.11423). Convolutions are translation-equivariant on the latent grid. A small tile whose side
is a multiple of the grid can therefore be repeated over the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pca_protect.attack.ensemble import equal_gains
from pca_protect.attack.pgd import Objective, cosine
from pca_protect.errors import not_finite

_MOMENTUM = 0.8
_FIRST_STEP = 0.5
"""Length of the first training step in units of the budget; later steps follow a cosine."""
_LEAST = 1e-30


@dataclass(frozen=True)
class UniversalPerturbation:
    """A tile `(3, side, side)` in [-1, 1], fractions of the budget."""

    tile: Tensor

    def over(self, rows: slice, columns: slice, *, radius: float, gray: Sequence[bool]) -> Tensor:
        """The tiled perturbation on a part of a picture, `(B, 3, h, w)` in the unit of `radius`.

        The tiling starts at the picture's upper left corner, so that it continues across neighbouring parts.

        Args:
            rows, columns: the part, in pixels of the picture.
            radius: largest absolute value; the budget, or a part of it.
            gray: per picture of the batch, whether its channels must stay equal; it then gets the tile's channel mean.
        """
        side = self.tile.shape[-1]
        down, right = (torch.arange(axis.start, axis.stop) % side for axis in (rows, columns))
        part = radius * self.tile[:, down[:, None], right]
        mean = part.mean(dim=0, keepdim=True).expand_as(part)
        return torch.stack([mean if is_gray else part for is_gray in gray])


GoalOf = Callable[[int], Objective]
"""Number of a crop -> one encoder's objective on it, see `pgd.Objective`."""


@dataclass(frozen=True)
class TileTraining:
    """State of a training: everything that a resumed run needs.

    Attributes:
        tile: `(3, side, side)` in [-1, 1], fractions of the budget.
        momentum: running sum of normalised gradients, `(3, side, side)`.
        step: number of steps taken.
    """

    tile: Tensor
    momentum: Tensor
    step: int = 0

    @staticmethod
    def begin(side_px: int, *, seed: int) -> TileTraining:
        """A tile of uniform noise."""
        generator = torch.Generator().manual_seed(seed)
        tile = torch.empty(3, side_px, side_px).uniform_(-1.0, 1.0, generator=generator)
        return TileTraining(tile, torch.zeros_like(tile))


def train_step(
    training: TileTraining,
    crops: Sequence[Tensor],
    goals: Sequence[GoalOf],
    *,
    radius: float,
    steps: int,
    batch: int,
    grid_px: int,
    seed: int,
) -> TileTraining:
    """One step towards a tile that minimises the mean objective over crops, for every encoder.

    The gradient is that of a random batch of crops, with the tile shifted at random on the latent grid. Gradients of several
    encoders are combined by `ensemble.equal_gains`. Steps are signs of a sum with momentum, as in `pgd.MomentumStep`; their
    length follows a cosine.

    Args:
        crops: clean pixels `(1, 3, h, w)` in [0, 1], on the device of the encoders.
        goals: one per encoder.
        radius: the budget, in [0, 1] units.
        steps: number of steps of the whole training.
        batch: crops per step.
        grid_px: latent grid; divides the tile's side.
        seed: of the draws, which depend on it and on the number of the step only.

    Raises:
        ModelError: a gradient is not finite.
    """
    side = training.tile.shape[-1]
    generator = torch.Generator().manual_seed(seed * 1_000_003 + training.step)
    drawn = torch.randint(len(crops), (batch,), generator=generator).tolist()
    shifts = grid_px * torch.randint(side // grid_px, (batch, 2), generator=generator)
    gradients = [
        torch.stack(
            [
                _tile_gradient(training.tile, crops[number], goal_of(number), shift.tolist(), radius)
                for number, shift in zip(drawn, shifts, strict=True)
            ]
        ).sum(dim=0)
        for goal_of in goals
    ]
    gradient = equal_gains([one[None] for one in gradients])[0] if len(gradients) > 1 else gradients[0]
    if not bool(gradient.isfinite().all()):
        raise not_finite(f"at training step {training.step}")
    momentum = _MOMENTUM * training.momentum + gradient / gradient.abs().mean().clamp_min(_LEAST)
    length = _FIRST_STEP * cosine(training.step, steps)
    return TileTraining((training.tile - length * momentum.sign()).clamp(-1.0, 1.0), momentum, training.step + 1)


def _tile_gradient(tile: Tensor, crop: Tensor, goal: Objective, shift: Sequence[int], radius: float) -> Tensor:
    """Gradient of an objective in the tile, on the CPU, `(3, side, side)`."""
    leaf = tile.detach().to(crop.device).requires_grad_()
    height, width = crop.shape[-2:]
    times = [-(-side // tile.shape[-1]) for side in (height, width)]
    laid = torch.roll(leaf, tuple(shift), dims=(-2, -1)).repeat(1, *times)[:, :height, :width]
    (gradient,) = torch.autograd.grad(goal((crop + radius * laid).clamp(0.0, 1.0)).sum(), leaf)
    return gradient.cpu()
