"""Group normalisation and SiLU as one channels-last operation, with the gradient of a skip connection, in Triton.

PyTorch's CUDA kernels for these layers take contiguous tensors only (up to 2.13), which costs two copies per layer beside
channels-last convolutions, and read and write memory once per operation. Here the forward pass reads the input twice and writes
once; the backward pass reads input and gradient twice, and adds the gradient of the skip connection as it writes. Sums are in
float32, on two levels, in a fixed order: results are reproducible.

Imported on CUDA only: Triton comes with PyTorch's CUDA builds for Linux.
"""

from __future__ import annotations

import subprocess
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from pca_protect.surrogates import norm_silu_kernels as kernels

FAILURES = (RuntimeError, OSError, ImportError, subprocess.SubprocessError, triton.TritonError)
"""What Triton raises where it cannot compile or launch a kernel; without a C compiler, for instance."""

_TILE = 4096
"""Values that a program holds at a time."""
_MOST_PARTIAL_SUMS = 512
"""Per image and channel: enough programs for every multiprocessor, few enough to be summed in microseconds."""


def takes(x: Tensor) -> bool:
    """Whether the kernels support a tensor: channels-last pictures, with 32-bit offsets within one."""
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and x.shape[1:].numel() < 2**31


def norm_silu(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, groups: int, epsilon: float
) -> tuple[Tensor, Tensor]:
    """SiLU of the group normalisation of `x`, and `x` itself for the skip connection around it.

    Args:
        x: `(B, C, H, W)`, see `takes`.
        weight, bias: `(C,)`, frozen; None is ones and zeros.
    """
    weight = x.new_ones(x.shape[1]) if weight is None else weight
    bias = x.new_zeros(x.shape[1]) if bias is None else bias
    activated, skip = _NormSiLUWithSkip.apply(x, weight, bias, groups, epsilon)  # type: ignore[no-untyped-call]
    return activated, skip


class _NormSiLUWithSkip(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - untyped in PyTorch
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        groups: int,
        epsilon: float,
    ) -> tuple[Tensor, Tensor]:
        how, activated = _Launch(x, groups, epsilon), torch.empty_like(x)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call] # Triton launches on the current device
            sums = how.summed(kernels.moments, x)
            kernels.activate[how.tiles](x, sums, weight, bias, activated, **how.sizes)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, sums)
        ctx.weight, ctx.bias, ctx.groups, ctx.epsilon = weight, bias, groups, epsilon
        return activated, x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor, of_skip: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, sums = ctx.saved_tensors
        outer = outer.contiguous(memory_format=torch.channels_last)
        skip = x if of_skip is None else of_skip.contiguous(memory_format=torch.channels_last)
        how, gradient = _Launch(x, ctx.groups, ctx.epsilon), torch.empty_like(x)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            gradient_sums = how.summed(kernels.gradient_sums, x, sums, ctx.weight, ctx.bias, outer)
            kernels.gradient[how.tiles](
                *(x, sums, ctx.weight, ctx.bias, outer, gradient_sums, skip, gradient),
                **how.sizes,
                has_skip=of_skip is not None,
            )
        return gradient, None, None, None, None


class _Launch:
    """Sizes of the kernels for one tensor.

    Attributes:
        sizes: arguments that all kernels share.
        tiles: grid of the kernels that work on a tile.
    """

    def __init__(self, x: Tensor, groups: int, epsilon: float) -> None:
        batch, channels, height, width = x.shape
        padded = triton.next_power_of_2(channels)
        rows = max(1, _TILE // padded)
        tiles = triton.cdiv(height * width, rows)
        self._tiles_per_sum = triton.cdiv(tiles, _MOST_PARTIAL_SUMS)
        self._sums = triton.cdiv(tiles, self._tiles_per_sum)
        self._groups = groups
        self.sizes: dict[str, int | float] = {
            "pixels": height * width,
            "epsilon": epsilon,
            "channels": channels,
            "groups": groups,
            "rows": rows,
            "padded": padded,
        }
        self.tiles = (tiles, batch)

    def summed(self, kernel: Any, x: Tensor, *others: Tensor) -> Tensor:  # noqa: ANN401 - untyped in Triton
        """The two sums per group of a kernel, `(B, 2, groups)`."""
        batch, channels = x.shape[:2]
        partial = x.new_empty(batch, self._sums, 2, channels, dtype=torch.float32)
        kernel[(self._sums, batch)](x, *others, partial, self._tiles_per_sum, **self.sizes)
        return partial.view(batch, self._sums, 2, self._groups, -1).sum(dim=(1, 4))
