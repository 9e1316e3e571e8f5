"""Winograd convolutions on the CPU: 3x3, stride 1, float32, for pictures that are encoded one by one.

Winograd's F(6x6, 3x3) takes 64 multiplications for 36 outputs of one channel instead of 324 (Lavin and Gray, 2016,
arXiv 1509.09308). PyTorch's wheels contain NNPACK's implementation; oneDNN, which convolves on the CPU otherwise, has none for
training. Values differ from a direct convolution by rounding.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEAST_CHANNELS = 64
"""Of input and output. With fewer the transforms of pictures take as long as a direct convolution."""
LEAST_PIXELS = 32 * 32
"""Of a feature map. With fewer the transform of the weight does."""
SCRATCH_BYTES = 2**27
"""NNPACK holds transformed inputs and outputs, and keeps the memory for as long as the thread lives. Pictures for which that
would be more are convolved in strips, with the same result to the bit: 467 MB otherwise for 128 channels at 512 px."""
SCRATCH_SHARE = 64 / 36
"""Values of a transformed tile, 8x8, for each of the 6x6 outputs."""

_TILE_PX = 6
_PROCESSORS = ("x86_64", "AMD64")
"""Where it was measured to be faster, with AVX2 and with AVX-512. NNPACK itself asks for AVX2."""
_CHECKED_PX = 14
_TOLERANCE = 1e-4
"""Accepted difference from a direct convolution, of the largest value. Rounding leaves 1e-6; a wrong transform, 1."""


@cache
def is_available() -> bool:
    """Whether NNPACK is there, on a processor that gains by it, and computes a small picture and its gradient right."""
    if platform.machine() not in _PROCESSORS or not _has_nnpack():
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, LEAST_CHANNELS, _CHECKED_PX, _CHECKED_PX + 1, generator=generator, device="cpu")
    weight = torch.randn(LEAST_CHANNELS, LEAST_CHANNELS, 3, 3, generator=generator, device="cpu")
    bias = torch.randn(LEAST_CHANNELS, generator=generator, device="cpu")
    pairs = (
        (_in_strips(x, weight, bias), F.conv2d(x, weight, bias, padding=1)),
        (_in_strips(x, transposed(weight), None), F.conv_transpose2d(x, weight, padding=1)),
    )
    return all(
        bool((found - direct).abs().max() <= _TOLERANCE * direct.abs().max())  # False for NaN
        for found, direct in pairs
    )


def _has_nnpack() -> bool:
    """Initialises NNPACK too, which fails otherwise. It has as many threads as PyTorch has at its first convolution."""
    there: bool = torch.backends.nnpack.is_available()  # type: ignore[no-untyped-call]
    return there


def suits(convolution: nn.Module) -> bool:
    """Whether single pictures in float32 on the CPU are convolved by `convolve` on this machine."""
    return (
        isinstance(convolution, nn.Conv2d)
        and convolution.kernel_size == (3, 3)
        and convolution.stride == convolution.dilation == convolution.padding == (1, 1)
        and convolution.padding_mode == "zeros"
        and convolution.groups == 1
        and min(convolution.in_channels, convolution.out_channels) >= LEAST_CHANNELS
        and is_available()
    )


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether `convolve` takes this feature map: of one picture, large, float32, on the CPU."""
    large = len(x) == 1 and x.shape[-2] * x.shape[-1] >= LEAST_PIXELS
    return large and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32


def scratch_bytes(encoder: nn.Module, largest: float) -> float:
    """Memory for transformed tiles, at most, where the largest feature map has this number of bytes."""
    if not any(suits(module) for module in encoder.modules()):
        return 0.0
    return min(SCRATCH_BYTES, 2 * SCRATCH_SHARE * largest)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A picture `(1, C, H, W)` with a frozen weight `(C', C, 3, 3)` over zeros at its edges: `(1, C', H, W)`, contiguous.
    Differentiable once with respect to `x`; nothing is kept for it."""
    found: Tensor = _Winograd.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return found


def transposed(weight: Tensor) -> Tensor:
    """The weight `(C, C', 3, 3)` whose convolution is the gradient of that with `weight` `(C', C, 3, 3)`."""
    return weight.transpose(0, 1).flip(2, 3).contiguous()


class _Winograd(torch.autograd.Function):
    """The weight is held as it is and not saved, see `memory_efficient`."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - PyTorch's own, without a type
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        ctx.weight = weight
        return _in_strips(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return _in_strips(gradient, transposed(ctx.weight), None), None, None


def _in_strips(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Strips are whole rows of tiles, so that every value is computed as it is in the whole picture."""
    x, weight = x.contiguous(), weight.contiguous()
    _, channels, height, width = x.shape
    tiles = -(-width // _TILE_PX) * _TILE_PX
    bytes_a_row = SCRATCH_SHARE * 4 * (channels + len(weight)) * tiles
    strip = max(1, int(SCRATCH_BYTES / (bytes_a_row * _TILE_PX))) * _TILE_PX
    if strip >= height:
        return torch._nnpack_spatial_convolution(x, weight, bias, padding=(1, 1))
    found = x.new_empty(1, len(weight), height, width)
    for top in range(0, height, strip):
        bottom = min(top + strip, height)
        above, below = int(top == 0), int(bottom == height)  # rows of zeros at the picture's edges
        seen = F.pad(x[:, :, top - 1 + above : bottom + 1 - below], (0, 0, above, below))
        found[:, :, top:bottom] = torch._nnpack_spatial_convolution(seen, weight, bias, padding=(0, 1))
    return found
