"""Winograd convolutions on the CPU: 3x3, stride 1, float32, for batches of one picture.

Winograd's F(6x6, 3x3) takes 64 multiplications for 36 outputs of one channel instead of 324 (Lavin and Gray, 2016,
arXiv 1509.09308). PyTorch's wheels contain NNPACK's implementation; oneDNN, PyTorch's usual library on the CPU, has none for
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
"""Minimum number of input and of output channels. With fewer, transforming feature maps takes as long as a direct convolution."""
LEAST_PIXELS = 32 * 32
"""Minimum number of pixels of a feature map. With fewer, transforming the weight takes as long as a direct convolution."""
SCRATCH_BYTES = 2**27
"""Limit for NNPACK's transformed inputs and outputs, whose memory it frees only when the thread ends. Larger pictures are
convolved in strips, with bit-identical results; 128 channels at 512 px would need 467 MB."""
SCRATCH_SHARE = 64 / 36
"""Values of a transformed tile (8x8) per output (6x6)."""

_TILE_PX = 6
_PROCESSORS = ("x86_64", "AMD64")
"""Architectures on which it was measured to be faster, with AVX2 and with AVX-512. NNPACK itself requires AVX2."""
_CHECKED_PX = 14
_TOLERANCE = 1e-4
"""Accepted difference from a direct convolution, relative to the largest value. Rounding gives 1e-6, a wrong transform 1."""


@cache
def is_available() -> bool:
    """Whether NNPACK is available, faster on this processor, and correct on a small picture and its gradient."""
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
    """Whether PyTorch has NNPACK. This call also initialises it, which its convolutions require. The first convolution sets
    its thread count to PyTorch's."""
    available: bool = torch.backends.nnpack.is_available()  # type: ignore[no-untyped-call]
    return available


def suits(convolution: nn.Module) -> bool:
    """Whether `convolve` can replace this layer on this machine, for single pictures in float32 on the CPU."""
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
    """Whether `convolve` supports this feature map: a single picture, large, float32, on the CPU."""
    large = len(x) == 1 and x.shape[-2] * x.shape[-1] >= LEAST_PIXELS
    return large and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32


def scratch_bytes(encoder: nn.Module, largest: float) -> float:
    """Upper bound of the memory for transformed tiles.

    Args:
        largest: size of the largest feature map in bytes.
    """
    if not any(suits(module) for module in encoder.modules()):
        return 0.0
    return min(SCRATCH_BYTES, 2 * SCRATCH_SHARE * largest)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve a picture `(1, C, H, W)`, zero-padded, with a frozen weight `(C', C, 3, 3)`: `(1, C', H, W)`, contiguous.
    Differentiable once with respect to `x`; saves no tensors."""
    output: Tensor = _Winograd.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return output


def transposed(weight: Tensor) -> Tensor:
    """The weight `(C, C', 3, 3)` whose convolution is the input gradient of that with `weight` `(C', C, 3, 3)`."""
    return weight.transpose(0, 1).flip(2, 3).contiguous()


class _Winograd(torch.autograd.Function):
    """The weight is an attribute of the context, not a saved tensor, see `memory_efficient`."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - untyped in PyTorch
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
    """Convolve in strips of whole rows of tiles, which makes results bit-identical to those of the whole picture."""
    x, weight = x.contiguous(), weight.contiguous()
    _, channels, height, width = x.shape
    tiles = -(-width // _TILE_PX) * _TILE_PX
    bytes_a_row = SCRATCH_SHARE * 4 * (channels + len(weight)) * tiles
    strip = max(1, int(SCRATCH_BYTES / (bytes_a_row * _TILE_PX))) * _TILE_PX
    if strip >= height:
        return torch._nnpack_spatial_convolution(x, weight, bias, padding=(1, 1))
    output = x.new_empty(1, len(weight), height, width)
    for top in range(0, height, strip):
        bottom = min(top + strip, height)
        above, below = int(top == 0), int(bottom == height)  # rows of zeros at the picture's edges
        padded = F.pad(x[:, :, top - 1 + above : bottom + 1 - below], (0, 0, above, below))
        output[:, :, top:bottom] = torch._nnpack_spatial_convolution(padded, weight, bias, padding=(0, 1))
    return output
