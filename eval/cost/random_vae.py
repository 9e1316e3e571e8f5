"""The architecture of Stable Diffusion's VAE with random weights: costs what the real one costs, needs no download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


def save_random_vae(folder: Path, *, block_out_channels: Sequence[int], seed: int) -> None:
    """Write a diffusers folder. Widths (128, 256, 512, 512) are those of SD 1.x and 2.x, with 34.2 million parameters in
    the encoder; smaller ones serve tests. Global random state is left alone."""
    blocks = len(block_out_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=2,
            latent_channels=4,
            norm_num_groups=min(32, *block_out_channels),
            sample_size=512,
        )
    vae.save_pretrained(folder)
