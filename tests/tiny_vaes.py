"""A tiny diffusers VAE of every kind that can be a surrogate, with random weights."""

from __future__ import annotations

from collections.abc import Callable

from conftest import tiny_kl
from diffusers import AutoencoderDC, AutoencoderKLFlux2, AutoencoderKLQwenImage, AutoencoderTiny
from torch import nn


def _flux2() -> nn.Module:
    return AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 16, 16),
        latent_channels=32,
        norm_num_groups=8,
    )


def _qwen_image() -> nn.Module:
    return AutoencoderKLQwenImage(base_dim=8, z_dim=4, dim_mult=[1, 2, 2, 2], num_res_blocks=1)


def _tiny() -> nn.Module:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )


def _dc() -> nn.Module:
    return AutoencoderDC(
        latent_channels=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 16),
        decoder_block_out_channels=(8, 8, 16),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
    )


TINY: dict[str, Callable[[], nn.Module]] = {
    "AutoencoderKL": tiny_kl,
    "AutoencoderKLFlux2": _flux2,
    "AutoencoderKLQwenImage": _qwen_image,
    "AutoencoderTiny": _tiny,
    "AutoencoderDC": _dc,
}
"""By the name of the diffusers class."""
