"""Early stopping at an effect: as soon as the latent has moved far enough at every encoder and scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Stop = Callable[[Tensor], Tensor]
"""Perturbed pixels `(B, 3, H, W)` in [0, 1] -> whether each image is finished, `(B,)` bool. Called without gradient. An image's
answer must not depend on the others."""


@dataclass(frozen=True)
class LatentView:
    """Images as one encoder sees them at one scale.

    Attributes:
        means: perturbed pixels -> posterior means `(B, ...)`.
        clean: means of the clean images.
        distance: L2 distance from `clean` that is far enough, `(B,)`.
    """

    means: Callable[[Tensor], Tensor]
    clean: Tensor
    distance: Tensor

    @classmethod
    def beyond_noise(cls, means: Callable[[Tensor], Tensor], clean: Tensor, noisy: Tensor, factor: float) -> LatentView:
        """Far enough is `factor` times the distance of noisy images' means `(B, ...)` from those of the clean ones."""
        return cls(means, clean, factor * _norms(noisy - clean))


def moved_enough(views: Sequence[LatentView]) -> Stop:
    """Finished are images that are far enough in every view."""

    def stop(pixels: Tensor) -> Tensor:
        finished = [_norms(view.means(pixels) - view.clean) >= view.distance for view in views]
        return torch.stack(finished).all(dim=0)

    return stop


def smallest_share(effect: Callable[[float], float], full: float, wanted: float, *, evaluations: int = 8) -> float:
    """The smallest share of a perturbation whose effect is at least a wanted one, found to 3 % of itself.

    Regula falsi; an end that stays twice has its value halved (Dowell & Jarratt 1971, BIT 11, the Illinois algorithm).

    Args:
        effect: share in (0, 1] -> effect, rising, 0 at 0.
        full: effect of the whole perturbation, at least `wanted`.
        evaluations: of `effect`, at most.
    """
    low, high = 0.0, 1.0
    below, above = -wanted, full - wanted
    stayed = 0
    for _ in range(evaluations):
        if high - low <= 0.03 * high or full == wanted:
            break
        share = low + (high - low) * -below / (above - below)
        share = min(max(1.01 * share, low + 0.02 * high), high - 0.01 * high)
        beyond = effect(share) - wanted
        if beyond >= 0:
            high, above = share, beyond
            below = below / 2 if stayed < 0 else below
            stayed = -1
        else:
            low, below = share, beyond
            above = above / 2 if stayed > 0 else above
            stayed = 1
    return high


def _norms(x: Tensor) -> Tensor:
    norms: Tensor = x.flatten(start_dim=1).norm(dim=1)
    return norms
