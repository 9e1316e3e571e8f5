"""The moments that an encoder returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """Moments of the encoder's diagonal Gaussian.

    Attributes:
        mean: `(B, C, h, w)`, before any latent scaling factor.
        logvar: same shape, clamped to [-30, 20] as diffusers does; None for encoders that return a point.
    """

    mean: Tensor
    logvar: Tensor | None

    def each(self) -> list[Posterior]:
        """One posterior per image, `(1, C, h, w)`."""
        logvars = [None] * len(self.mean) if self.logvar is None else torch.split(self.logvar, 1)
        return [Posterior(mean, logvar) for mean, logvar in zip(torch.split(self.mean, 1), logvars, strict=True)]


def concatenate(posteriors: Sequence[Posterior], *, dim: int = 0) -> Posterior:
    """Concatenates posteriors of one encoder along a dimension: images, or parts of one latent."""
    logvars = [posterior.logvar for posterior in posteriors if posterior.logvar is not None]
    return Posterior(
        torch.cat([posterior.mean for posterior in posteriors], dim), torch.cat(logvars, dim) if logvars else None
    )
