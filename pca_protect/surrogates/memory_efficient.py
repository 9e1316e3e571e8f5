"""Frozen encoders that save fewer activations for the backward pass.

PyTorch's convolutions save their input for the weight gradient even if the weight is frozen; a group normalisation and
the activation after it save one tensor each. Here a convolution saves nothing; a normalisation and its activation
together save only their input. The same kernels are called with the same values: outputs and gradients are bit-identical,
except for wide convolutions on the CPU, see `winograd`.
If memory is short, checkpointing (Chen et al., 2016, arXiv 1604.06174) saves only the inputs of blocks and recomputes each
block in the backward pass, with the same result.
"""

from __future__ import annotations

import copy
import importlib
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
"""Class names of the blocks of our own encoder and of those of diffusers."""

_NORMS_BEFORE_SILU = {
    "ResnetBlock2D": (("norm1", "norm2"), "nonlinearity"),
    "HunyuanImageResnetBlock": (("norm1", "norm2"), "nonlinearity"),
    "KVAEResnetBlock2D": (("norm1", "norm2"), "nonlinearity"),
    "Encoder": (("conv_norm_out",), "conv_act"),
    "HunyuanImageEncoder2D": (("norm_out",), "nonlinearity"),
    "KVAEEncoder2D": (("norm_out",), "nonlinearity"),
}
"""Classes that apply one activation after each of their group normalisations and nowhere else -> attribute names of the
normalisations and of the activation."""

_PADDING_MODES = ("zeros", "replicate", "reflect")


def reduce_saved_activations(encoder: nn.Module) -> None:
    """Replace, in place, the 2-D and 3-D convolutions of a frozen encoder, and the group normalisations before a SiLU in the
    classes above. Tensor names and weights do not change."""
    for module in list(encoder.modules()):
        if isinstance(module, (nn.Conv2d, nn.Conv3d)) and module.padding_mode in _PADDING_MODES:
            _keep_no_input(module)
        elif type(module).__name__ in _NORMS_BEFORE_SILU:
            _fuse(module, *_NORMS_BEFORE_SILU[type(module).__name__])


def blocks_of(encoder: nn.Module) -> list[nn.Module]:
    """The blocks that `checkpointed` recomputes, in the order of `modules()`."""
    return [module for module in encoder.modules() if type(module).__name__ in _BLOCKS]


def checkpointed(encoder: nn.Module) -> nn.Module:
    """A copy that shares the weights and saves only the inputs of its blocks. After `reduce_saved_activations`, a block of a
    KL encoder is recomputed only up to its last normalisation, half of the block."""
    twin = copy.deepcopy(encoder, {id(parameter): parameter for parameter in encoder.parameters()})
    for block in blocks_of(twin):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    return twin


def _keep_no_input(module: nn.Conv2d | nn.Conv3d) -> None:
    """Replace `_conv_forward`, which subclasses with their own padding call too."""
    if isinstance(module.padding, str):
        return
    convolved = partial(_convolved, stride=module.stride, dilation=module.dilation, groups=module.groups)
    if winograd.suits(module):
        forward = partial(_winograd_or, convolved=partial(convolved, padding=module.padding))
    elif module.padding_mode == "zeros":
        forward = partial(convolved, padding=module.padding)
    else:
        widths = [width for side in reversed(module.padding) for width in (side, side)]
        forward = partial(_padded, widths=widths, mode=module.padding_mode, convolved=convolved)
    module._conv_forward = forward  # type: ignore[method-assign]


def _fuse(block: nn.Module, norms: tuple[str, ...], activation: str) -> None:
    """Fuse normalisations and activation, unless their types differ or the activation also applies to a time embedding."""
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
    """A group normalisation followed by a SiLU. The tensors keep the names of the normalisation.

    Attributes:
        fused: use the kernels of `norm_silu`, see `use_kernels`.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.groups, self.epsilon = norm.num_groups, norm.eps
        self.fused = False

    def forward(self, x: Tensor) -> Tensor:
        return self.with_skip(x)[0]

    def with_skip(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and `x` for a skip connection around the layer: the kernels add its gradient without another pass."""
        if self.fused:
            from pca_protect.surrogates import norm_silu  # noqa: PLC0415 - needs Triton

            if norm_silu.takes(x):
                return norm_silu.norm_silu(x, self.weight, self.bias, groups=self.groups, epsilon=self.epsilon)
        output: Tensor = _NormSiLU.apply(x, self.weight, self.bias, self.groups, self.epsilon)  # type: ignore[no-untyped-call]
        return output, x


def use_kernels(encoder: nn.Module, use: bool) -> bool:
    """Switch the fused normalisations of `norm_silu` on or off. Returns whether they are on, which needs Triton and an encoder
    with such layers."""
    layers = [module for module in encoder.modules() if isinstance(module, NormSiLU)]
    use = use and bool(layers) and _has_triton()
    for layer in layers:
        layer.fused = use
    return use


def _has_triton() -> bool:
    try:
        importlib.import_module("pca_protect.surrogates.norm_silu")
    except ImportError:
        return False
    return True


def _winograd_or(x: Tensor, weight: Tensor, bias: Tensor | None, *, convolved: Callable[..., Tensor]) -> Tensor:
    return winograd.convolve(x, weight, bias) if winograd.takes(x, weight) else convolved(x, weight, bias)


def _padded(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, widths: list[int], mode: str, convolved: Callable[..., Tensor]
) -> Tensor:
    """Pad by `widths`, in the order of `F.pad`, then convolve."""
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
    output: Tensor = _Convolution.apply(x, weight, bias, stride, padding, dilation, groups)  # type: ignore[no-untyped-call]
    return output


class _Convolution(torch.autograd.Function):
    """A convolution with a frozen weight. The weight is an attribute of the context, not a saved tensor: it never changes, and
    the recomputation of a checkpointed block can then stop before its last convolution."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - untyped in PyTorch
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
        # Only the size and layout of the input are read; memory that is never written costs nothing on the CPU.
        like_input = gradient.new_empty_strided(ctx.shape, ctx.strides)
        mask = (True, False, False)
        gradients = torch.ops.aten.convolution_backward(gradient, like_input, ctx.weight, None, *ctx.how, mask)
        return gradients[0], None, None, None, None, None, None


class _NormSiLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - untyped in PyTorch
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        groups: int,
        epsilon: float,
    ) -> Tensor:
        x = _supported_layout(x)  # fixes the layout of all kernel inputs in the backward pass too
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
        size = (x.shape[0], x.shape[1], x.shape[2:].numel(), ctx.groups)
        mask = (True, False, False)
        gradients = torch.ops.aten.native_group_norm_backward(of_normal, x, mean, rstd, ctx.weight, *size, mask)
        return gradients[0], None, None, None, None


def _normalised(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and the mean and inverse standard deviation of every group."""
    size = (x.shape[0], x.shape[1], x.shape[2:].numel(), groups)
    normal, mean, rstd = torch.native_group_norm(x, weight, bias, *size, epsilon)
    return normal, mean, rstd


def _supported_layout(x: Tensor) -> Tensor:
    """Convert to a memory format that group normalisation supports: channels-last on the CPU only. Elsewhere PyTorch up to 2.13
    rejects it in the forward pass, and treats it as contiguous in the backward pass without a check (`group_norm.cpp`)."""
    if x.is_contiguous() or (x.device.type == "cpu" and _has_channels_last(x)):
        return x
    return x.contiguous()


def _has_channels_last(x: Tensor) -> bool:
    """Whether PyTorch's kernels treat pictures as channels-last. The batch stride is checked even for a single picture: after a
    transposition it is arbitrary, and kernels can reject a tensor that `is_contiguous` accepts."""
    return x.is_contiguous(memory_format=torch.channels_last) and x.stride(0) >= x.stride(2) * x.shape[2]
