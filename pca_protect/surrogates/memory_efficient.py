"""Frozen encoders keep less for the backward pass: not what only gradients of weights would need, and not what is quickly
computed again; and where memory is short, no more than what goes into each block.

PyTorch's convolutions keep their input for the gradient of their weight even where the weight is frozen; a group
normalisation and the activation behind it keep one more each. Here a convolution keeps nothing, and the two others
together what comes in. The same kernels are called with the same numbers: values and gradients stay the same to the bit,
apart from wide convolutions on the CPU, see `winograd`.
Checkpointing (Chen et al., 2016, arXiv 1604.06174) computes a block again in the backward pass, with the same result.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from pca_protect.surrogates import winograd

_BLOCKS = (
    "KlResidualBlock",
    "ResnetBlock2D",
    "AutoencoderTinyBlock",
    "ResBlock",
    "EfficientViTBlock",
    "QwenImageResidualBlock",
    "QwenImage21ResidualBlock",
    "WanResidualBlock",
    "HunyuanImageResnetBlock",
    "HunyuanImageRefinerResnetBlock",
    "HunyuanVideoResnetBlockCausal3D",
    "HunyuanVideo15ResnetBlock",
    "LTXVideoResnetBlock3d",
    "KVAEResnetBlock2D",
)
"""What encoders, ours and those of diffusers, are made of, by the names of the classes."""

_NORMS_BEFORE_SILU = {
    "ResnetBlock2D": (("norm1", "norm2"), "nonlinearity"),
    "HunyuanImageResnetBlock": (("norm1", "norm2"), "nonlinearity"),
    "KVAEResnetBlock2D": (("norm1", "norm2"), "nonlinearity"),
    "Encoder": (("conv_norm_out",), "conv_act"),
    "HunyuanImageEncoder2D": (("norm_out",), "nonlinearity"),
    "KVAEEncoder2D": (("norm_out",), "nonlinearity"),
}
"""Classes that apply one activation behind each of their group normalisations and to nothing else: names of their
normalisations and of the activation."""

_PADDING_MODES = ("zeros", "replicate", "reflect")


def reduce_saved_activations(encoder: nn.Module) -> None:
    """Change a frozen encoder in place, its names and weights apart: convolutions of two and three dimensions, and group
    normalisations in front of a SiLU in the classes above. Everything else stays as it is."""
    for module in list(encoder.modules()):
        if isinstance(module, (nn.Conv2d, nn.Conv3d)) and module.padding_mode in _PADDING_MODES:
            _keep_no_input(module)
        elif type(module).__name__ in _NORMS_BEFORE_SILU:
            _fuse(module, *_NORMS_BEFORE_SILU[type(module).__name__])


def blocks_of(encoder: nn.Module) -> list[nn.Module]:
    """What `checkpointed` computes again, in the order in which it is gone through."""
    return [module for module in encoder.modules() if type(module).__name__ in _BLOCKS]


def checkpointed(encoder: nn.Module) -> nn.Module:
    """A copy that shares the weights, and keeps what goes into its blocks instead of what they keep. Behind
    `reduce_saved_activations` a block of a KL encoder is computed again only up to its last normalisation, half of
    the block."""
    twin = copy.deepcopy(encoder, {id(parameter): parameter for parameter in encoder.parameters()})
    for block in blocks_of(twin):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    return twin


def _keep_no_input(module: nn.Conv2d | nn.Conv3d) -> None:
    """`_conv_forward` is what subclasses come to as well, those that pad by themselves."""
    if isinstance(module.padding, str):
        return
    convolved = partial(_convolved, stride=module.stride, dilation=module.dilation, groups=module.groups)
    if winograd.suits(module):
        found = partial(_winograd_or, convolved=partial(convolved, padding=module.padding))
    elif module.padding_mode == "zeros":
        found = partial(convolved, padding=module.padding)
    else:
        widths = [width for one in reversed(module.padding) for width in (one, one)]
        found = partial(_padded, widths=widths, mode=module.padding_mode, convolved=convolved)
    module._conv_forward = found  # type: ignore[method-assign]


def _fuse(block: nn.Module, norms: tuple[str, ...], activation: str) -> None:
    """Unless the block's activation or normalisations are others, or the activation is applied to a time embedding too."""
    if not isinstance(getattr(block, activation, None), nn.SiLU):
        return
    if any(getattr(block, name, None) is not None for name in ("time_emb_proj", "temb_proj")):
        return
    if not all(isinstance(getattr(block, name, None), nn.GroupNorm) for name in norms):
        return
    for name in norms:
        setattr(block, name, NormSiLU(getattr(block, name)).train(block.training))
    setattr(block, activation, nn.Identity().train(block.training))


class NormSiLU(nn.Module):
    """A group normalisation and a SiLU behind it, with the normalisation's weights under their names."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.groups, self.epsilon = norm.num_groups, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _NormSiLU.apply(x, self.weight, self.bias, self.groups, self.epsilon)  # type: ignore[no-untyped-call]
        return found


def _winograd_or(x: Tensor, weight: Tensor, bias: Tensor | None, *, convolved: Callable[..., Tensor]) -> Tensor:
    return winograd.convolve(x, weight, bias) if winograd.takes(x, weight) else convolved(x, weight, bias)


def _padded(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, widths: list[int], mode: str, convolved: Callable[..., Tensor]
) -> Tensor:
    """Edges repeated or reflected by `widths` in the order of `F.pad`, then convolved."""
    return convolved(F.pad(x, widths, mode), weight, bias, padding=(0,) * (x.ndim - 2))


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    found: Tensor = _Convolution.apply(x, weight, bias, stride, padding, dilation, groups)  # type: ignore[no-untyped-call]
    return found


class _Convolution(torch.autograd.Function):
    """A convolution with a frozen weight. The weight is held as it is and not saved: it never changes, and a checkpointed
    block that is computed again may then stop before its last convolution."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - PyTorch's own, without a type
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
        groups: int,
    ) -> Tensor:
        ctx.weight, ctx.shape, ctx.strides = weight, x.shape, x.stride()
        ctx.how = (stride, padding, dilation, False, (0,) * len(stride), groups)
        return torch.convolution(x, weight, bias, *ctx.how)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        # Of the input only size and layout are looked at; memory that nobody writes to costs nothing on the CPU.
        like_input = gradient.new_empty_strided(ctx.shape, ctx.strides)
        mask = (True, False, False)
        found = torch.ops.aten.convolution_backward(gradient, like_input, ctx.weight, None, *ctx.how, mask)
        return found[0], None, None, None, None, None, None


class _NormSiLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - PyTorch's own, without a type
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        groups: int,
        epsilon: float,
    ) -> Tensor:
        x = _as_kernels_read(x)  # and with it everything that the backward pass hands to a kernel
        normal, mean, rstd = _normalised(x, weight, bias, groups, epsilon)
        ctx.save_for_backward(x, mean, rstd)
        ctx.weight, ctx.bias, ctx.groups, ctx.epsilon = weight, bias, groups, epsilon
        return F.silu(normal, inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, mean, rstd = ctx.saved_tensors
        normal, _, _ = _normalised(x, ctx.weight, ctx.bias, ctx.groups, ctx.epsilon)
        of_normal = torch.ops.aten.silu_backward.grad_input(gradient, normal, grad_input=normal)
        size = (x.shape[0], x.shape[1], x[0, 0].numel(), ctx.groups)
        mask = (True, False, False)
        found = torch.ops.aten.native_group_norm_backward(of_normal, x, mean, rstd, ctx.weight, *size, mask)
        return found[0], None, None, None, None


def _normalised(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What comes out, and the mean and the inverse deviation of every group."""
    size = (x.shape[0], x.shape[1], x[0, 0].numel(), groups)
    normal, mean, rstd = torch.native_group_norm(x, weight, bias, *size, epsilon)
    return normal, mean, rstd


def _as_kernels_read(x: Tensor) -> Tensor:
    """In a memory format that group normalisation reads: channels-last on the CPU only. Elsewhere PyTorch up to 2.13 refuses it
    in the forward pass, and reads it as contiguous in the backward pass without a check (`group_norm.cpp`)."""
    if x.is_contiguous() or (x.device.type == "cpu" and _has_channels_last(x)):
        return x
    return x.contiguous()


def _has_channels_last(x: Tensor) -> bool:
    """Whether PyTorch's kernels see a picture's channels in the innermost place. A single picture's stride is asked, too:
    where it came from a transposition it is any number, and the kernels then refuse what `is_contiguous` calls so."""
    return x.is_contiguous(memory_format=torch.channels_last) and x.stride(0) >= x.stride(2) * x.shape[2]
