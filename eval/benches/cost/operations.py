"""Operations of an arm, and the matrix rate of its device. Their ratio bounds the speed-up still possible."""

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
"""Side of the matrices; larger ones are no faster."""
_REPETITIONS = 10


def operations_of_step(run: Run) -> int:
    """Floating-point operations of matrix products and convolutions in the last step of a run of two.

    An addition and a multiplication count as two (formulas of PyTorch's `FlopCounterMode`; Winograd convolutions count as direct
    ones). Excludes computations before the first step, includes recomputation in the backward pass.
    """
    return _operations(run, 2) - _operations(run, 1)


def _operations(run: Run, steps: int) -> int:
    """Operations up to the report that follows the last step, or of the whole run if there is none. Reports in between do not
    tell which step is computed: on CUDA they are late."""
    counter, reports = _Counter(), 0

    def on_step() -> None:
        nonlocal reports
        reports += 1
        if reports > steps:
            raise _CountedError

    try:
        with counter:
            run(steps, on_step)
    except _CountedError:
        pass
    return counter.total


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second in the best of ten products of large square matrices, at the current thread count.
    On CUDA, float32 is measured in TF32, as an encoder's convolutions compute it, see `device.cuda_arithmetic`.
    """
    side = _SIDES[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best, tf32 = float("inf"), torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    for _ in range(1 + _REPETITIONS):  # the first one may choose an algorithm
        _synchronize(device)
        started = time.perf_counter()
        left @ right
        _synchronize(device)
        best = min(best, time.perf_counter() - started)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    return 2 * side**3 / best


def _direct_convolution(x: Tensor, weight: Tensor, *_: object, out_val: Tensor, **__: object) -> int:
    """Operations of a direct convolution, for one that NNPACK computes with fewer."""
    counted: int = conv_flop_count(list(x.shape), list(weight.shape), list(out_val.shape))
    return counted


_FORMULAS = {**flop_registry, torch.ops.aten._nnpack_spatial_convolution: _direct_convolution}


class _CountedError(Exception):
    """Stops a run once its operations are counted."""


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """`FlopCounterMode` without its table by modules, which fails under `torch.autograd.grad` with respect to the pixels."""

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
