"""The architectures of Stable Diffusion's VAE and UNet with random weights: cost what the real ones cost, need no download.

The UNet is made where it is used: its 860 million parameters would take 3.4 GB on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import nn

from pca_protect.eval.arms.denoiser import Denoiser
from pca_protect.surrogates.encoder import Surrogate

RANDOM_VAE = "SD architecture, random weights"


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


_PROMPT_TOKENS, _PROMPT_WIDTH = 77, 768
_LATENT_SCALE = 0.18215


@dataclass(frozen=True)
class RandomUnet:
    """Attributes:
    block_out_channels: widths, multiples of 8; (320, 640, 1280, 1280) are those of SD 1.x, smaller ones serve tests.
    seed: makes the weights.
    """

    block_out_channels: tuple[int, ...]
    seed: int


def random_denoiser(unet: RandomUnet, surrogate: Surrogate) -> Denoiser:
    """A UNet of SD 1.x behind an encoder, on the encoder's device, in fp32. Global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(unet.seed)
        model = architecture(unet.block_out_channels, latent_channels=surrogate.latent_channels)
        no_prompt = torch.randn(1, _PROMPT_TOKENS, _PROMPT_WIDTH)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return Denoiser(
        surrogate,
        _LATENT_SCALE,
        int(scheduler.config["num_train_timesteps"]),
        nn.Module.to(model.eval().requires_grad_(False), surrogate.device),  # diffusers' own has types that mislead
        scheduler,
        no_prompt.to(surrogate.device),
    )


def architecture(block_out_channels: Sequence[int], *, latent_channels: int = 4) -> UNet2DConditionModel:
    """The UNet of SD 1.x at any widths, with weights drawn from the global random state."""
    with_attention = len(block_out_channels) - 1
    unet: UNet2DConditionModel = UNet2DConditionModel(
        sample_size=64,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * with_attention + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * with_attention,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=2,
        norm_num_groups=min(32, *block_out_channels),
        cross_attention_dim=_PROMPT_WIDTH,
        attention_head_dim=8,
    )
    return unet
