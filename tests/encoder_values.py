"""Encoders as diffusers makes them, and values to compare others with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pca_protect.surrogates.build import encoder_of
from pca_protect.surrogates.kinds import KINDS
from pca_protect.surrogates.one_frame import over_one_frame


def plain_encoder(make: Callable[[], nn.Module]) -> nn.Module:
    """As diffusers makes it, frozen; with its convolutions over one frame, where it takes videos."""
    vae = make()
    encoder = encoder_of(vae, type(vae).__name__).eval().requires_grad_(False)
    over_one_frame(encoder, KINDS[type(vae).__name__])
    return encoder


def moments_and_gradient(encoder: nn.Module, *, pictures: slice = slice(2)) -> tuple[Tensor, Tensor]:
    """Mean and gradient for these of two pictures of 64 x 96 px."""
    dtype = next(encoder.parameters()).dtype
    pixels = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))[pictures].to(dtype).requires_grad_()
    found = encoder(1.0 * pixels)  # FlopCounterMode cannot follow a gradient to the very input of a module
    loss = found.mean.float().square().sum()
    if found.logvar is not None:
        loss = loss + found.logvar.float().exp().sum()
    (gradient,) = torch.autograd.grad(loss, pixels)
    return found.mean.detach(), gradient
