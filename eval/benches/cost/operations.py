"""How much an arm computes, and how fast its device multiplies matrices: the share of the one that the other reaches says
how much there is left to gain."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry

from pca_protect.eval.benches.cost.arms import Run

_SIDES = {"cpu": 1024, "cuda": 8192, "mps": 4096}
"""Of the matrices: large enough that larger ones are no faster."""
_REPETITIONS = 10


def operations_of_step(run: Run) -> int:
    """Floating-point operations of the second step of a run, those of matrix products and convolutions, an addition and a
    multiplication being two (the formulas are those of PyTorch's `FlopCounterMode`, and Winograd convolutions count as direct
    ones). What a run finds out before its first
    step is not part of it; what is computed again in the backward pass is."""
    counter = _Counter()
    totals: list[int] = []

    def on_step() -> None:
        totals.append(counter.total)
        if len(totals) == 2:
            raise _CountedError

    try:
        with counter:
            run(2, on_step)
    except _CountedError:
        pass
    return totals[1] - totals[0]


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the best of ten products of large square matrices, in the threads that are set."""
    side = _SIDES[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(1 + _REPETITIONS):  # the first one may choose an algorithm
        _synchronize(device)
        started = time.perf_counter()
        left @ right
        _synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _direct_convolution(x: Tensor, weight: Tensor, *_: object, out_val: Tensor, **__: object) -> int:
    """Of a convolution that NNPACK computes with fewer operations."""
    counted: int = conv_flop_count(list(x.shape), list(weight.shape), list(out_val.shape))
    return counted


_FORMULAS = {**flop_registry, torch.ops.aten._nnpack_spatial_convolution: _direct_convolution}


class _CountedError(Exception):
    """Ends a run whose rest need not be computed."""


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """`FlopCounterMode` without its table by modules, for which it cannot follow `torch.autograd.grad` to the pixels."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator of PyTorch's, without a type
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        given: Callable[..., object] = func
        found = given(*args, **(kwargs or {}))
        if func.overloadpacket in _FORMULAS:
            self.total += _FORMULAS[func.overloadpacket](*args, **(kwargs or {}), out_val=found)
        return found


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
