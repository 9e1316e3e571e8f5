"""What a VAE makes of a picture: how well it comes back, and how much the posterior says about it."""

from __future__ import annotations

import math

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor

from pca_protect.attack.losses import posterior_collapse
from pca_protect.eval.whole_vae import decoded, latent_mean

Vae = AutoencoderKL | AutoencoderTiny


def psnr_db(vae: Vae, pixels: Tensor, *, decoder: Vae | None = None) -> float:
    """PSNR of one picture `(1, 3, H, W)` in [0, 1] after encoding and decoding it, rounded to 8 bits; higher is better.

    Args:
        decoder: another VAE of the same latent space to decode with.
    """
    levels = (decoded(decoder or vae, latent_mean(vae, pixels)) * 255).round() / 255
    return -10 * math.log10(float((levels - pixels).square().mean()))


def nats_per_element(vae: AutoencoderKL, pixels: Tensor) -> float:
    """KL of the posterior of one picture to N(0, 1), per latent element; 0 is a posterior that says nothing."""
    with torch.no_grad():
        posterior = vae.encode(pixels * 2 - 1).latent_dist
    divergence = posterior_collapse(posterior.mean, posterior.logvar, 1.0)[0]
    return float(divergence / posterior.mean.numel())
