"""The published loop once more, independent of the program."""

from __future__ import annotations

import torch
from torch import Tensor

from pca_protect.modes import MODES
from pca_protect.surrogates.encoder import Surrogate


def pictures(batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(batch, 3, 24, 40, generator=generator)
    return (pixels * 1.4 - 0.2).clamp(0, 1)  # some at both ends of the range, where the second clamp bites


def published_loop(surrogate: Surrogate, x: Tensor, mode: str) -> Tensor:
    """The algorithm of arXiv 2408.10901 written down once more, on the encoder itself."""
    epsilon, alpha, variance = 16 / 255, 2 / 255, MODES[mode].target_variance
    delta = torch.zeros_like(x)
    for _ in range(40):
        adversarial = (x + delta).clamp(0, 1).requires_grad_(True)
        moments = surrogate.encoder.quant_conv(surrogate.encoder.encoder(2 * adversarial - 1))
        mean, logvar = moments.chunk(2, dim=1)
        loss = 0.5 * (variance * (-logvar - 1) + mean**2 + logvar.exp()).sum()
        gradient = torch.autograd.grad(loss, adversarial)[0]
        delta = delta + (alpha if mode == "diffusion" else -alpha) * gradient.sign()
        delta = delta.clamp(-epsilon, epsilon)
    return (x + delta).clamp(0, 1)
