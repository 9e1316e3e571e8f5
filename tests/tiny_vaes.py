"""Every diffusers VAE that can be a surrogate, at a size that encodes in milliseconds. Weights are random."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import ModelMixin, models
from torch import Tensor

from pca_protect.surrogates.kinds import KINDS

STABLE_DIFFUSION = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (8, 16, 16, 16),
    "norm_num_groups": 8,
}
_WAN = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1}
_WAN_22 = {**_WAN, "decoder_base_dim": 8, "is_residual": True}
_DC = {
    "latent_channels": 8,
    "encoder_block_types": "ResBlock",
    "decoder_block_types": "ResBlock",
    "downsample_block_type": "pixel_unshuffle",
}
_HUNYUAN = {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 1}
_LTX = {
    "latent_channels": 8,
    "block_out_channels": (8, 8, 16, 16),
    "decoder_block_out_channels": (8, 8, 16, 16),
    "layers_per_block": (1, 1, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1, 1),
}


def _dc(stages: int) -> dict[str, object]:
    """With a factor of 2 ** (stages - 1)."""
    widths = (8,) * (stages - 1) + (16,)
    return {
        **_DC,
        "encoder_block_out_channels": widths,
        "decoder_block_out_channels": widths,
        "encoder_layers_per_block": (1,) * stages,
        "decoder_layers_per_block": (1,) * stages,
        "encoder_qkv_multiscales": ((),) * stages,
        "decoder_qkv_multiscales": ((),) * stages,
    }


_SETTINGS: dict[str, dict[str, object]] = {
    "AutoencoderKL": STABLE_DIFFUSION,
    "AutoencoderKL RGBA": {**STABLE_DIFFUSION, "in_channels": 4, "out_channels": 4},
    "AutoencoderKLFlux2": {**STABLE_DIFFUSION, "latent_channels": 32},
    "AutoencoderKLQwenImage": _WAN,
    "AutoencoderKLQwenImage RGBA": {**_WAN, "input_channels": 4},
    "AutoencoderKLQwenImage21": {
        **_WAN_22,
        "dim_mult": [1, 2, 2, 2, 2],
        "temperal_downsample": [False, True, True, True],
    },
    "AutoencoderKLWan": _WAN,
    "AutoencoderKLWan 2.2": {
        **_WAN_22,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
    },
    "AutoencoderKLHunyuanImage": {
        **_HUNYUAN,
        "block_out_channels": (32, 32, 32, 32, 32, 32),
        "spatial_compression_ratio": 32,
        "sample_size": 384,
    },
    "AutoencoderKLHunyuanImageRefiner": {**_HUNYUAN, "block_out_channels": (8, 16, 16, 16, 16)},
    "AutoencoderKLHunyuanVideo": {
        **_HUNYUAN,
        "block_out_channels": (8, 8, 16, 16),
        "norm_num_groups": 4,
    },
    "AutoencoderKLHunyuanVideo15": {**_HUNYUAN, "block_out_channels": (8, 16, 16, 16, 16)},
    "AutoencoderKLLTXVideo": _LTX,
    "AutoencoderKLLTXVideo 0.9.5": {
        **_LTX,
        "block_out_channels": (8, 8, 16, 16, 32),
        "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
        "spatio_temporal_scaling": (True, True, True, True),
        "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    },
    "AutoencoderKLKVAE": {
        "channels": 32,
        "ch_mult": (1, 1, 1, 1),
        "num_enc_blocks": 1,
        "num_dec_blocks": 1,
        "z_channels": 4,
    },
    "AutoencoderKLTemporalDecoder": {
        key: value for key, value in STABLE_DIFFUSION.items() if key not in ("norm_num_groups", "up_block_types")
    }
    | {"block_out_channels": (32, 32, 32, 32)},
    "AsymmetricAutoencoderKL": {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "down_block_out_channels": (8, 16, 16, 16),
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "up_block_out_channels": (8, 16, 16, 16),
        "norm_num_groups": 8,
    },
    "ConsistencyDecoderVAE": {
        "encoder_block_out_channels": (8, 16, 16, 16),
        "encoder_layers_per_block": 1,
        "encoder_norm_num_groups": 8,
        "decoder_block_out_channels": (32, 32),
        "decoder_down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "decoder_up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        "decoder_layers_per_block": 1,
    },
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8, 8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8, 8),
        "num_encoder_blocks": (1, 1, 1, 1),
        "num_decoder_blocks": (1, 1, 1, 1),
    },
    "AutoencoderDC": _dc(3),
    "AutoencoderDC f128": _dc(8),
}


def _made(name: str) -> Callable[[], ModelMixin]:
    def make() -> ModelMixin:
        torch.manual_seed(0)
        vae: ModelMixin = getattr(models, name.split()[0])(**_SETTINGS[name])
        return vae.eval()

    return make


TINY: dict[str, Callable[[], ModelMixin]] = {name: _made(name) for name in _SETTINGS}
"""Makes a VAE, in eval mode, with the same weights every time. Keys are class names; a variant has a word behind it."""

assert {name.split()[0] for name in TINY} == KINDS.keys()


def class_of(name: str) -> str:
    """The diffusers class of a key of `TINY`."""
    return name.split()[0]


def moments(vae: ModelMixin, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Mean and log-variance as the pipelines of diffusers get them: [-1, 1], opaque, one frame."""
    x = 2 * pixels - 1
    first = next(parameter for name, parameter in vae.encoder.named_parameters() if name.endswith("weight"))
    if "4" in str(vae.config.get("in_channels")) or vae.config.get("input_channels") == 4:
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    is_video = first.ndim == 5 or "QwenImage21" in type(vae).__name__
    with torch.no_grad():
        encoded = vae.encode(x.unsqueeze(2) if is_video else x)
    if not hasattr(encoded, "latent_dist"):
        return encoded[0], None
    return encoded.latent_dist.mean.flatten(1, -3), encoded.latent_dist.logvar.flatten(1, -3)


def is_close(one: Tensor, other: Tensor) -> bool:
    """To rounding: sums in another order than diffusers' 3-D convolutions add in."""
    return one.shape == other.shape and bool((one - other).abs().max() <= 1e-5 * other.abs().max())
