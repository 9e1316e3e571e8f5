"""Are two latent spaces the same but for a linear map?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def explained_variance(sources: list[Tensor], targets: list[Tensor], *, neighbourhood: int = 3) -> float:
    """Share of the variance of the target latents that the best linear map of the source latents explains, at most 1.

    The map sees a square of source positions around each target position. It is fitted on every other picture and
    judged on the rest.

    Args:
        sources, targets: latents `(1, C, h, w)` of the same pictures, at least two.
    """
    rows = [
        (_neighbours(source, neighbourhood), _columns(target)) for source, target in zip(sources, targets, strict=True)
    ]
    fit, rest = ([torch.cat(part) for part in zip(*rows[start::2], strict=True)] for start in (0, 1))
    solution = torch.linalg.lstsq(fit[0], fit[1]).solution
    unexplained = (rest[1] - rest[0] @ solution).square().mean()
    return float(1 - unexplained / (rest[1] - rest[1].mean(dim=0)).square().mean())


def _neighbours(latent: Tensor, side: int) -> Tensor:
    """`(h * w, C * side^2 + 1)`: what lies around each position, and a 1."""
    unfolded = F.unfold(latent.double(), side, padding=side // 2)[0].T
    return torch.cat([unfolded, torch.ones_like(unfolded[:, :1])], dim=1)


def _columns(latent: Tensor) -> Tensor:
    """`(h * w, C)`."""
    return latent[0].double().flatten(start_dim=1).T
