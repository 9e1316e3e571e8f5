"""What a VAE makes of a picture: how well it comes back, and how much the posterior says about it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from pca_protect.losses import posterior_collapse


@dataclass(frozen=True)
class Reconstruction:
    """Of one picture.

    Attributes:
        psnr_db: of the decoded posterior mean, rounded to 8 bits, against the picture; higher is better.
        nats_per_element: KL of the posterior to N(0, 1), per latent element; 0 is a posterior that says nothing.
    """

    psnr_db: float
    nats_per_element: float


def reconstruct(vae: AutoencoderKL, pixels: Tensor) -> Reconstruction:
    """Encode and decode one picture `(1, 3, H, W)` in [0, 1] with sides that the VAE's downscaling divides."""
    with torch.no_grad():
        posterior = vae.encode(pixels * 2 - 1).latent_dist
        decoded = (vae.decode(posterior.mean).sample / 2 + 0.5).clamp(0, 1)
    levels = (decoded * 255).round() / 255
    divergence = posterior_collapse(posterior.mean, posterior.logvar, 1.0)
    return Reconstruction(
        psnr_db=float(-10 * (levels - pixels).square().mean().log10()),
        nats_per_element=float(divergence[0]) / posterior.mean.numel(),
    )
