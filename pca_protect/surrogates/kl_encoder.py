"""The encoder of Stable Diffusion, SDXL, FLUX and their relatives, without importing diffusers.

A convolutional encoder of residual blocks with one attention layer (Rombach et al., 2022, arXiv 2112.10752). Tensors have the
names of diffusers' `AutoencoderKL`; moments and gradients are bit-identical to its.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pca_protect.surrogates import attention, winograd
from pca_protect.surrogates.memory_efficient import NormSiLU

_EPSILON = 1e-6
"""Added to the variance in every normalisation."""

_STRUCTURE = {
    "down_block_types",
    "block_out_channels",
    "layers_per_block",
    "latent_channels",
    "in_channels",
    "norm_num_groups",
    "act_fn",
    "use_quant_conv",
    "mid_block_add_attention",
}
"""Configuration entries that the encoder depends on."""
_WITHOUT_EFFECT = {
    *("out_channels", "up_block_types", "decoder_block_out_channels", "use_post_quant_conv"),  # of the decoder
    *("sample_size", "force_upcast"),  # of diffusers' tiling and its pipelines
    *("scaling_factor", "shift_factor", "latents_mean", "latents_std"),  # applied to sampled latents
    *("batch_norm_eps", "batch_norm_momentum", "patch_size"),  # the same, in FLUX.2
}
"""Configuration entries that the encoder does not depend on."""

_CLASSES = ("AutoencoderKL", "AutoencoderKLFlux2")


@dataclass(frozen=True)
class KlShape:
    """The structure of an encoder.

    Attributes:
        in_channels: colour channels.
        widths: channels of each stage; every stage but the last halves the sides.
        layers: residual blocks a stage.
        latent_channels: channels of the mean, and of the log-variance.
        groups: number of groups of every normalisation.
        attention: whether an attention layer is between the last two residual blocks.
        quant_conv: whether a 1x1 convolution of the moments follows.
    """

    in_channels: int
    widths: tuple[int, ...]
    layers: int
    latent_channels: int
    groups: int
    attention: bool
    quant_conv: bool


def kl_shape(config: Mapping[str, object], class_name: str) -> KlShape | None:
    """The structure in a diffusers configuration; None if this module may not support it: another class, an unknown entry or
    value, or a number of channels that diffusers rejects."""
    named = {key for key in config if not key.startswith("_")}
    if class_name not in _CLASSES or not named <= _STRUCTURE | _WITHOUT_EFFECT:
        return None
    widths, stages = config.get("block_out_channels"), config.get("down_block_types")
    layers, latent_channels = config.get("layers_per_block"), config.get("latent_channels")
    in_channels, groups = config.get("in_channels", 3), config.get("norm_num_groups", 32)
    attention, quant_conv = config.get("mid_block_add_attention", True), config.get("use_quant_conv", True)
    if not isinstance(widths, (list, tuple)) or not isinstance(stages, (list, tuple)) or not widths:
        return None
    if not (_is_count(layers) and _is_count(latent_channels) and _is_count(in_channels) and _is_count(groups)):
        return None
    if not (isinstance(attention, bool) and isinstance(quant_conv, bool)):
        return None
    if not all(_is_count(width) and width % groups == 0 for width in widths):
        return None
    if tuple(stages) != ("DownEncoderBlock2D",) * len(widths) or config.get("act_fn", "silu") != "silu":
        return None
    return KlShape(in_channels, tuple(widths), layers, latent_channels, groups, attention, quant_conv)


def empty_kl_encoder(shape: KlShape) -> tuple[KlEncoder, nn.Conv2d | None]:
    """Encoder, and the convolution of its moments or None, on the meta device; assign the weights to them."""
    moments = 2 * shape.latent_channels
    with torch.device("meta"):
        return KlEncoder(shape), nn.Conv2d(moments, moments, 1) if shape.quant_conv else None


class KlEncoder(nn.Module):
    """Pixels `(B, in_channels, H, W)` in [-1, 1] to moments `(B, 2 * latent_channels, h, w)`, frozen: its normalisations
    compute no weight gradients."""

    def __init__(self, shape: KlShape) -> None:
        super().__init__()
        widths, last = shape.widths, shape.widths[-1]
        self.conv_in = nn.Conv2d(shape.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            KlStage(
                widths[max(stage - 1, 0)],
                width,
                layers=shape.layers,
                groups=shape.groups,
                halves=stage < len(widths) - 1,
            )
            for stage, width in enumerate(widths)
        )
        self.mid_block = KlMiddle(last, groups=shape.groups, attention=shape.attention)
        self.conv_norm_out = _norm(last, shape.groups)
        self.conv_out = nn.Conv2d(last, 2 * shape.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        is_wide = self.conv_in.out_channels >= winograd.LEAST_CHANNELS and winograd.is_available()
        if is_wide and winograd.takes(x, self.conv_in.weight):
            x = x.contiguous()  # NNPACK takes no other layout
        x = self.conv_in(x)
        for stage in self.down_blocks:
            x = stage(x)
        return self.conv_out(self.conv_norm_out(self.mid_block(x)))  # type: ignore[no-any-return]


class KlStage(nn.Module):
    """Residual blocks at one size. Output `(B, width, H, W)`, or `(B, width, H // 2, W // 2)` if `halves`."""

    def __init__(self, width_in: int, width: int, *, layers: int, groups: int, halves: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            KlResidualBlock(width if layer else width_in, width, groups=groups) for layer in range(layers)
        )
        self.downsamplers = nn.ModuleList([KlDownsampling(width)] if halves else [])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        for block in self.downsamplers:
            x = block(x)
        return x


class KlMiddle(nn.Module):
    """Two residual blocks with an optional attention layer between them."""

    def __init__(self, width: int, *, groups: int, attention: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(KlResidualBlock(width, width, groups=groups) for _ in range(2))
        self.attentions = nn.ModuleList([KlAttention(width, groups=groups)] if attention else [])

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for layer in self.attentions:
            x = layer(x)
        return self.resnets[1](x)  # type: ignore[no-any-return]


class KlResidualBlock(nn.Module):
    """Two layers of normalisation, SiLU and convolution, with a skip connection; a 1x1 convolution if the width changes."""

    def __init__(self, width_in: int, width: int, *, groups: int) -> None:
        super().__init__()
        self.norm1 = _norm(width_in, groups)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm2 = _norm(width, groups)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        activated, x = self.norm1.with_skip(x)
        hidden = self.conv2(self.norm2(self.conv1(activated)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + hidden  # type: ignore[no-any-return]


class KlDownsampling(nn.Module):
    """A convolution of stride 2, zero-padded by one pixel at the right and bottom."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]


class KlAttention(nn.Module):
    """Single-head self-attention over all positions, with a skip connection."""

    def __init__(self, width: int, *, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, eps=_EPSILON)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        positions = self.group_norm(x.flatten(2)).transpose(1, 2)  # (B, H * W, C)
        query, key, value = (to(positions) for to in (self.to_q, self.to_k, self.to_v))
        if attention.suits(query):
            values = attention.attend(query, key, value)
        else:
            values = F.scaled_dot_product_attention(*(one.unsqueeze(1) for one in (query, key, value))).squeeze(1)
        attended = self.to_out[0](values)
        return attended.transpose(1, 2).reshape(x.shape) + x  # type: ignore[no-any-return]


def _norm(width: int, groups: int) -> NormSiLU:
    return NormSiLU(nn.GroupNorm(groups, width, eps=_EPSILON))


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value > 0
