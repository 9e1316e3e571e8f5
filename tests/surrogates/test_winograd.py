"""Winograd convolutions: values and gradients against direct ones, strips, what is convolved directly, and what they need."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pca_protect import memory
from pca_protect.attack.posterior import Posterior
from pca_protect.eval.benches.cost.operations import operations_of_step
from pca_protect.surrogates import winograd
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import surrogate_of_module
from pca_protect.surrogates.memory_efficient import reduce_saved_activations

needs_nnpack = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not torch.backends.nnpack.is_available(),
    reason="needs NNPACK on an x86 processor with AVX2",
)

TOLERANCE = 1e-5
"""Relative, in norms: measured are 2e-6 to 4e-6 for a layer. A wrong tap or edge is 1e-2 or more."""


@pytest.fixture
def without_nnpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "is_available", lambda: False)


@pytest.fixture
def fresh_check() -> Iterator[None]:
    winograd.is_available.cache_clear()
    yield
    winograd.is_available.cache_clear()


def layer(channels: int = 64, out: int = 64, **options: object) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, out, **{"kernel_size": 3, "padding": 1, **options}).requires_grad_(False)


def features(channels: int, height: int, width: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(1)).requires_grad_()


def value_and_gradient(convolution: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    value = convolution(x)
    return value.detach(), torch.autograd.grad((value * value.detach()).sum(), x)[0]


def is_close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).norm() <= TOLERANCE * other.norm())


@needs_nnpack
@pytest.mark.parametrize(
    ("channels", "out", "height", "width"), [(64, 64, 32, 32), (64, 96, 37, 45), (128, 64, 36, 31)]
)
def test_value_and_gradient_are_those_of_a_direct_convolution(channels: int, out: int, height: int, width: int):
    direct, fast = layer(channels, out), layer(channels, out)
    reduce_saved_activations(fast)
    x = features(channels, height, width)
    results = [value_and_gradient(one, x) for one in (fast, direct)]
    for found, expected in zip(*results, strict=True):
        assert is_close(found, expected)
        assert not torch.equal(found, expected), "the direct convolution was taken"


@needs_nnpack
@pytest.mark.parametrize("rows", [6, 12, 36])
def test_strips_change_no_bit(rows: int, monkeypatch: pytest.MonkeyPatch):
    convolution, x = layer(), features(64, 43, 50)
    whole = value_and_gradient(lambda x: winograd.convolve(x, convolution.weight, convolution.bias), x)
    row_bytes = winograd.SCRATCH_SHARE * 4 * 128 * 54
    monkeypatch.setattr(winograd, "SCRATCH_BYTES", rows * row_bytes)
    called = []
    original = torch._nnpack_spatial_convolution
    monkeypatch.setattr(torch, "_nnpack_spatial_convolution", lambda *a, **k: called.append(a) or original(*a, **k))
    strips = value_and_gradient(lambda x: winograd.convolve(x, convolution.weight, convolution.bias), x)
    assert len(called) == 2 * -(-43 // rows)
    for one, other in zip(whole, strips, strict=True):
        assert torch.equal(one, other)


@needs_nnpack
def test_any_memory_layout(monkeypatch: pytest.MonkeyPatch):
    convolution, x = layer(), features(64, 40, 33)
    expected = winograd.convolve(x, convolution.weight, None)
    laid_out = x.to(memory_format=torch.channels_last), convolution.weight.to(memory_format=torch.channels_last)
    assert torch.equal(winograd.convolve(*laid_out, None), expected)


@needs_nnpack
@pytest.mark.parametrize(
    ("options", "height", "batch", "dtype"),
    [
        ({"channels": 63}, 32, 1, torch.float32),
        ({"out": 63}, 32, 1, torch.float32),
        ({"kernel_size": 1, "padding": 0}, 32, 1, torch.float32),
        ({"stride": 2}, 32, 1, torch.float32),
        ({"padding": 0}, 34, 1, torch.float32),
        ({"dilation": 2}, 32, 1, torch.float32),
        ({"groups": 2}, 32, 1, torch.float32),
        ({"padding_mode": "reflect"}, 32, 1, torch.float32),
        ({}, 31, 1, torch.float32),
        ({}, 32, 2, torch.float32),
        ({}, 32, 1, torch.float64),
    ],
    ids=str,
)
def test_everything_else_is_convolved_directly(options: dict[str, object], height: int, batch: int, dtype: torch.dtype):
    direct, other = layer(**options).to(dtype), layer(**options).to(dtype)
    reduce_saved_activations(other)
    x = features(direct.in_channels, height, 32, batch).detach().to(dtype).requires_grad_()
    for one, expected in zip(value_and_gradient(other, x), value_and_gradient(direct, x), strict=True):
        assert torch.equal(one, expected)


def test_without_nnpack_everything_is_convolved_directly(without_nnpack: None):
    direct, other = layer(), layer()
    reduce_saved_activations(other)
    x = features(64, 32, 32)
    for one, expected in zip(value_and_gradient(other, x), value_and_gradient(direct, x), strict=True):
        assert torch.equal(one, expected)


@needs_nnpack
@pytest.mark.parametrize("broken", ["no NNPACK", "another processor", "wrong values", "wrong gradient", "not a number"])
def test_is_available_only_where_it_is_right(broken: str, monkeypatch: pytest.MonkeyPatch, fresh_check: None):
    original = winograd._in_strips
    if broken == "no NNPACK":
        monkeypatch.setattr(torch.backends.nnpack, "is_available", lambda: False)
    elif broken == "another processor":
        monkeypatch.setattr(winograd.platform, "machine", lambda: "arm64")
    elif broken == "wrong gradient":
        monkeypatch.setattr(winograd, "transposed", lambda weight: weight.transpose(0, 1).contiguous())
    else:
        factor = 1.001 if broken == "wrong values" else float("nan")
        monkeypatch.setattr(winograd, "_in_strips", lambda *given: factor * original(*given))
    assert not winograd.is_available()


@needs_nnpack
def test_is_available_whatever_the_default_device(fresh_check: None):
    with torch.device("meta"):
        assert winograd.is_available()


@needs_nnpack
def test_nothing_is_kept_for_the_backward_pass():
    convolution, kept = layer(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        winograd.convolve(features(64, 32, 32), convolution.weight, convolution.bias)
    assert not kept


@pytest.fixture(scope="module")
def wide() -> Surrogate:
    """A surrogate of wide layers."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 4, 1)
    )
    return surrogate_of_module(module, multiple=8, has_variance=False, name="wide")


@needs_nnpack
def test_a_picture_does_not_depend_on_its_batch(wide: Surrogate):
    pixels = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(2)).requires_grad_()
    together = value_and_gradient(lambda x: wide.posterior(x).mean, pixels)
    for index in range(2):
        alone = value_and_gradient(lambda x: wide.posterior(x).mean, pixels[index : index + 1])
        for one, other in zip(alone, together, strict=True):
            assert torch.equal(one[0], other[index])


@needs_nnpack
def test_checkpoints_change_no_bit(wide: Surrogate):
    pixels = torch.rand(1, 3, 40, 48).requires_grad_()
    results = [value_and_gradient(lambda x, s=one: s.posterior(x).mean, pixels) for one in (wide, wide.checkpointed)]
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@needs_nnpack
def test_memory_for_transformed_tiles_is_planned(wide: Surrogate, monkeypatch: pytest.MonkeyPatch):
    demands = [memory.Demand(side, side, [(side, side)], side) for side in (64, 768)]
    plan = memory.MemoryPlan(768, checkpointed=False)
    needed = [memory._needed(wide, demand, plan) for demand in demands]
    monkeypatch.setattr(winograd, "is_available", lambda: False)
    less = [memory._needed(wide, demand, plan) for demand in demands]
    small, large = (one - other for one, other in zip(needed, less, strict=True))
    assert small == pytest.approx(2 * winograd.SCRATCH_SHARE * 64 * 4 * 64**2)
    assert large == winograd.SCRATCH_BYTES


@needs_nnpack
def test_operations_are_counted_as_those_of_a_direct_convolution(wide: Surrogate):
    """So that the work of two arms compares whatever computes it."""
    pixels = torch.rand(1, 3, 40, 48)

    def step(found: Posterior, x: Tensor) -> None:
        torch.autograd.grad(found.mean.square().sum(), x)

    def run(steps: int, on_step: object) -> None:
        for _ in range(steps):
            x = pixels.clone().requires_grad_()
            step(wide.posterior(x), x)
            on_step()

    counted = operations_of_step(run)
    with pytest.MonkeyPatch.context() as patch, FlopCounterMode(display=False) as counter:
        patch.setattr(winograd, "takes", lambda x, weight: False)
        x = (1.0 * pixels.clone().requires_grad_()) * 1.0
        step(wide.posterior(x), x)
    assert counted == counter.get_total_flops()
