"""One perturbation against several encoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pca_protect.optimize import Objective


def mean_of(objectives: Sequence[Objective], clean: Tensor) -> Objective:
    """The mean of objectives, each divided by its size at the clean pixels, so that an encoder with a larger latent counts no
    more than another. Per image, to be minimised."""
    with torch.no_grad():
        sizes = [objective(clean).abs().clamp_min(1e-12) for objective in objectives]

    def objective(pixels: Tensor) -> Tensor:
        values = [one(pixels) / size for one, size in zip(objectives, sizes, strict=True)]
        return torch.stack(values).mean(dim=0)

    return objective
