"""Fine detail as numbers: a Laplacian pyramid, and the local energy of its finest bands."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BANDS = 2
PATCH = 8
"""Side, in pixels, of the patches whose energy is taken: one latent pixel of an 8x encoder."""

_FLOOR = (8 / 255) ** 2
"""Energy below what eight levels of noise carry counts as little: with a floor of two levels, noise of 16/255 moved the
latents of smooth pictures by a third, and the attack only four times as far as noise."""
_LUMA = (0.299, 0.587, 0.114)


def laplacian(x: Tensor, bands: int) -> list[Tensor]:
    """The finest bands of a Laplacian pyramid, each at its own resolution."""
    result = []
    for _ in range(bands):
        coarser = F.avg_pool2d(x, 2)
        result.append(x - F.interpolate(coarser, scale_factor=2.0, mode="bilinear", align_corners=False))
        x = coarser
    return result


def log_energy(pixels: Tensor) -> Tensor:
    """Log of the mean squared luma detail of every 8x8 patch, `(B, BANDS, H/8, W/8)`, finest band first."""
    weights = torch.tensor(_LUMA, device=pixels.device, dtype=pixels.dtype).view(1, 3, 1, 1)
    luma = (pixels * weights).sum(dim=1, keepdim=True)
    energies = [F.avg_pool2d(band.square(), PATCH >> level) for level, band in enumerate(laplacian(luma, BANDS))]
    return torch.log(torch.cat(energies, dim=1) + _FLOOR)


class TextureHead(nn.Sequential):
    """Reads the texture energy of each patch off the latent. Trained along and thrown away: it makes the latent carry
    texture, as the latents of real VAEs do, without forcing the decoder to invent any."""

    def __init__(self, latent_channels: int) -> None:
        super().__init__(nn.Conv2d(latent_channels, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, BANDS, 1))
