"""Downscaling and latent channels of an encoder, measured on a blank picture."""

from __future__ import annotations

import torch
from torch import Tensor

from pca_protect.device import is_out_of_memory
from pca_protect.surrogates.encoder import Encoder

_PROBE_SIDES_PX = (64, 256)
"""Sides of the blank picture: small, and large enough for a factor of 128."""


def downscaling_and_channels(encoder: Encoder, device: torch.device) -> tuple[int, int]:
    """Downscaling factor and number of latent channels. An output of one latent per side does not determine
    the factor, since strided convolutions never return fewer."""
    small, large = _PROBE_SIDES_PX
    try:
        side, mean = small, blank_mean(encoder, small, device)
    except (RuntimeError, ValueError) as error:  # ValueError: a normalisation got a single value
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        side, mean = large, blank_mean(encoder, large, device)
    if mean.shape[-1] < 2:
        side, mean = large, blank_mean(encoder, large, device)
    return side // mean.shape[-1], mean.shape[1]


@torch.no_grad()
def blank_mean(encoder: Encoder, side_px: int, device: torch.device) -> Tensor:
    """Mean of the posterior of a blank picture, `(1, C, h, w)`."""
    return encoder(torch.zeros(1, 3, side_px, side_px, device=device)).mean  # type: ignore[no-any-return]
