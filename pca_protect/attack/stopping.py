"""Early stopping once the latent shift is large enough for every encoder and scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Stop = Callable[[Tensor], Tensor]
"""Perturbed pixels `(B, 3, H, W)` in [0, 1] -> whether each image is finished, `(B,)` bool. Called without gradient. The
result of an image must be independent of its batch."""


@dataclass(frozen=True)
class LatentView:
    """Images as one encoder sees them at one scale.

    Attributes:
        means: perturbed pixels -> posterior means `(B, ...)`.
        clean: means of the clean images.
        distance: L2 distance from `clean` at which an image is finished, `(B,)`.
    """

    means: Callable[[Tensor], Tensor]
    clean: Tensor
    distance: Tensor

    @classmethod
    def beyond_noise(cls, means: Callable[[Tensor], Tensor], clean: Tensor, noisy: Tensor, factor: float) -> LatentView:
        """A view whose `distance` is `factor` times that of the means of noisy images, `(B, ...)`."""
        return cls(means, clean, factor * _norms(noisy - clean))


def moved_enough(views: Sequence[LatentView]) -> Stop:
    """A stop for images that reach the distance in every view."""

    def stop(pixels: Tensor) -> Tensor:
        finished = [_norms(view.means(pixels) - view.clean) >= view.distance for view in views]
        return torch.stack(finished).all(dim=0)

    return stop


def smallest_share(effect: Callable[[float], float], full: float, wanted: float, *, evaluations: int = 8) -> float:
    """Smallest share of a perturbation with at least the wanted effect, to a relative tolerance of 3 %.

    Regula falsi; the value at an end that is kept twice is halved (Dowell & Jarratt 1971, BIT 11, the Illinois algorithm).

    Args:
        effect: share in (0, 1] -> effect, increasing, 0 at 0.
        full: effect of the whole perturbation, at least `wanted`.
        evaluations: maximum number of calls of `effect`.
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
    norms: Tensor = torch.linalg.vector_norm(x.flatten(start_dim=1), dim=1)
    return norms
