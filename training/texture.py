"""Texture features: amplitudes of detail in a patch by scale and direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 8
"""Side, in pixels, of the patches: one latent pixel of an 8x encoder."""

BANDS = 9
"""Three scales times three directions."""

_SPREAD = (90, 84, 43, 29, 26, 15, 9.5, 9, 5.7)
"""Standard deviation of each band's amplitude over the training photographs, in 8-bit levels."""
_LUMA = (0.299, 0.587, 0.114)


def amplitudes(pixels: Tensor) -> Tensor:
    """Root mean square DCT coefficient in each band of each 8x8 patch, divided by the band's standard deviation:
    `(B, BANDS, H/8, W/8)`.

    Bands are narrow and linear on purpose. Noise spreads over all bands, while an adversarial pattern fills one; photographs have
    so little energy in the fine bands that a weak pattern is an outlier. The latent of an encoder that resolves these amplitudes
    therefore shifts much more under attack than under noise, as in real models. Log energies were tried: they saturate, and the
    shift under attack was only about four times that under noise.
    """
    cosines, membership = (table.to(pixels) for table in _tables())
    luma = (pixels * pixels.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    coefficients = F.conv2d(luma, cosines, stride=PATCH)
    spread = pixels.new_tensor(_SPREAD).view(1, BANDS, 1, 1) / 255
    return F.conv2d(coefficients.square(), membership).sqrt() / spread


def fine_error(read: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of amplitudes. The finest third of the bands has weight 2, the coarsest 0, since the reconstruction
    loss already covers it."""
    _, middle, fine = (read - wanted).abs().mean(dim=(0, 2, 3)).split(BANDS // 3)
    return (middle + 2 * fine).mean() / 3


def laplacian(x: Tensor, bands: int) -> list[Tensor]:
    """The finest bands of a Laplacian pyramid, each at its own resolution."""
    result = []
    for _ in range(bands):
        coarser = F.avg_pool2d(x, 2)
        result.append(x - F.interpolate(coarser, scale_factor=2.0, mode="bilinear", align_corners=False))
        x = coarser
    return result


class TextureHead(nn.Sequential):
    """Auxiliary head that predicts the texture of each patch from the latent, discarded after training. It makes the latent
    encode texture, as in real VAEs, without forcing the decoder to synthesise it."""

    def __init__(self, latent_channels: int) -> None:
        super().__init__(nn.Conv2d(latent_channels, 48, 3, padding=1), nn.SiLU(), nn.Conv2d(48, BANDS, 1))


def _tables() -> tuple[Tensor, Tensor]:
    """The orthonormal 8x8 DCT-II as kernels `(64, 1, 8, 8)`, and the means over bands as `(BANDS, 64, 1, 1)`."""
    index = torch.arange(PATCH, dtype=torch.float64)
    cosine = torch.cos((2 * index[None] + 1) * index[:, None] * math.pi / (2 * PATCH)) * math.sqrt(2 / PATCH)
    cosine[0] /= math.sqrt(2)
    kernels = torch.einsum("uy,vx->uvyx", cosine, cosine).reshape(PATCH**2, 1, PATCH, PATCH)
    membership = torch.zeros(BANDS, PATCH, PATCH, dtype=torch.float64)
    for down in range(PATCH):
        for across in range(PATCH):
            if down or across:
                size = (max(down, across) + 1) // 3
                direction = 0 if down >= 2 * across else 1 if across >= 2 * down else 2
                membership[3 * min(size, 2) + direction, down, across] = 1
    membership /= membership.sum(dim=(1, 2), keepdim=True)
    return kernels, membership.reshape(BANDS, PATCH**2, 1, 1)
