"""Single-head attention as matrix products, for heads that flash attention does not support.

Flash attention kernels are limited to 256 channels per head; an autoencoder has one head of 512. PyTorch then takes a kernel
with a slow backward pass, or computes in float32. Here the products stay in half precision, on the matrix units. Scores are
computed for blocks of queries and again in the backward pass, so that memory does not grow with the square of the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

FLASH_CHANNELS = 256
_MOST_SCORES = 2**25
"""Per image and block: all scores of 512x512 pixels."""


def suits(query: Tensor) -> bool:
    """Whether `attend` is preferable to PyTorch's attention for queries `(B, N, C)`."""
    is_half = query.dtype in (torch.bfloat16, torch.float16)
    return query.device.type == "cuda" and is_half and query.shape[-1] > FLASH_CHANNELS


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`softmax(query key^T / sqrt(C)) value`, for `(B, N, C)` each."""
    attended: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return attended


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # noqa: ANN401 - untyped in PyTorch
        ctx.save_for_backward(query, key, value)
        return torch.cat([_weights(scaled, key) @ value for _, scaled in _blocks(query)], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        query, key, value = ctx.saved_tensors
        of_queries = []
        of_key, of_value = (torch.zeros_like(one, dtype=_sum_dtype(one)) for one in (key, value))
        for rows, scaled in _blocks(query):
            weights, above = _weights(scaled, key), outer[:, rows]
            of_value += weights.mT @ above
            of_scores = torch._softmax_backward_data(above @ value.mT, weights, -1, weights.dtype)
            of_key += of_scores.mT @ scaled
            of_queries.append(of_scores @ key * query.shape[-1] ** -0.5)
        return torch.cat(of_queries, dim=1), of_key.to(key.dtype), of_value.to(value.dtype)


def _blocks(query: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of queries, and the queries there divided by the square root of their channels."""
    count = query.shape[1]
    step = max(1, _MOST_SCORES // count)
    for start in range(0, count, step):
        rows = slice(start, start + step)
        yield rows, query[:, rows] * query.shape[-1] ** -0.5


def _weights(scaled: Tensor, key: Tensor) -> Tensor:
    return torch.softmax(scaled @ key.mT, dim=-1)  # PyTorch computes it in float32


def _sum_dtype(x: Tensor) -> torch.dtype:
    return x.dtype if x.dtype == torch.float64 else torch.float32
