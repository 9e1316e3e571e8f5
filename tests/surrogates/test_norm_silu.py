"""The fused kernels, in Triton's interpreter: they equal PyTorch's operations, and an encoder that they fail in does without."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import smooth_picture
from pretended_device import pretending
from tiny_vaes import TINY
from torch import Tensor

from pca_protect import load_surrogate
from pca_protect.image.tensors import to_tensor
from pca_protect.surrogates import memory_efficient, self_test
from pca_protect.surrogates.memory_efficient import use_kernels

if not os.environ.get("TRITON_INTERPRET"):
    pytest.skip("needs Triton, which reads TRITON_INTERPRET=1 when it is imported", allow_module_level=True)
norm_silu = pytest.importorskip("pca_protect.surrogates.norm_silu", reason="Triton is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("vae")
    TINY["AutoencoderKL"]().save_pretrained(where)
    return where


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize(("shape", "groups"), [((2, 12, 5, 7), 3), ((1, 64, 17, 9), 32), ((2, 6, 41, 37), 2)])
def test_outputs_and_gradients_are_those_of_pytorch(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], groups: int, skips: bool
):
    """In float32, around a large mean; over several tiles per sum and channels that are no power of two."""
    monkeypatch.setattr(norm_silu, "_MOST_PARTIAL_SUMS", 2)
    monkeypatch.setattr(norm_silu, "_TILE", 512)
    torch.manual_seed(0)
    x = (3 * torch.randn(shape) + 50).contiguous(memory_format=torch.channels_last)
    weight, bias, outer, of_skip = torch.randn(shape[1]), torch.randn(shape[1]), torch.randn(shape), torch.randn(shape)

    def gradient(leaf: Tensor, activated: Tensor, skip: Tensor) -> Tensor:
        outputs, above = ([activated, skip], [outer, of_skip]) if skips else ([activated], [outer])
        return torch.autograd.grad(outputs, leaf, [one.to(leaf.dtype) for one in above])[0]

    exact = x.double().requires_grad_()
    expected = F.silu(F.group_norm(exact, groups, weight.double(), bias.double(), 1e-6))
    leaf = x.clone().requires_grad_()
    activated, skip = norm_silu.norm_silu(leaf, weight, bias, groups=groups, epsilon=1e-6)
    assert activated.stride() == x.stride()
    assert torch.equal(skip, x)
    assert torch.allclose(activated.double(), expected, atol=2e-5)
    found = gradient(leaf, activated, skip)
    assert found.stride() == x.stride()
    assert torch.allclose(found.double(), gradient(exact, expected, exact * 1), atol=2e-5)


def test_bfloat16_is_rounded_once():
    """The interpreter truncates instead, which is one unit in the last place."""
    torch.manual_seed(0)
    x = torch.randn(1, 8, 6, 5).bfloat16().contiguous(memory_format=torch.channels_last)
    activated, _ = norm_silu.norm_silu(x, None, None, groups=2, epsilon=1e-6)
    expected = F.silu(F.group_norm(x.double(), 2, eps=1e-6))
    assert activated.dtype == torch.bfloat16
    assert torch.allclose(activated.double(), expected, rtol=2**-7, atol=1e-6)


def test_an_encoder_has_the_same_posterior_and_gradient(folder: Path):
    surrogate = load_surrogate(str(folder), device="cpu")
    pixels = to_tensor([np.asarray(smooth_picture(32, 24))]).contiguous(memory_format=torch.channels_last)

    def results() -> tuple[Tensor, Tensor]:
        leaf = pixels.clone().requires_grad_()
        mean = surrogate.posterior(leaf).mean
        return mean.detach(), torch.autograd.grad(mean.square().sum(), leaf)[0]

    expected = results()
    assert use_kernels(surrogate.encoder, True)
    found = results()
    assert not use_kernels(surrogate.encoder, False)
    for one, other in zip(found, expected, strict=True):
        assert not torch.equal(one, other)
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_kernels_that_fail_are_replaced_with_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(self_test, "LARGE_PX", 64)
    shapes = []

    def works(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, epsilon: float) -> object:
        shapes.append(x.shape)
        return F.silu(F.group_norm(x.contiguous(), groups, weight, bias, epsilon)), x

    def is_wrong(x: Tensor, *given: object, **how: object) -> object:
        return x * 2, x

    def has_no_compiler(x: Tensor, *given: object, **how: object) -> object:
        raise RuntimeError("Failed to find C compiler")

    with pretending("cuda"):
        monkeypatch.setattr(memory_efficient, "_has_triton", lambda: True)
        for kernel, said in ((works, None), (is_wrong, "computes .* wrongly"), (has_no_compiler, "find C compiler")):
            monkeypatch.setattr(norm_silu, "norm_silu", kernel)
            warnings = load_surrogate(str(folder), device="cuda", precision="fp32").warnings
            assert len(warnings) == (said is not None)
            assert said is None or re.search(f"normalisation fails on cuda.*{said}", warnings[0])
    assert shapes
