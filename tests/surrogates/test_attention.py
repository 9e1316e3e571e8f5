"""Attention as matrix products equals PyTorch's, in blocks too, and replaces it where flash attention does not apply."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pretended_device import pretending
from tiny_vaes import TINY
from torch import Tensor

from pca_protect import load_surrogate
from pca_protect.surrogates import attention, self_test

BLOCKS = pytest.mark.parametrize("most_scores", [2**25, 40], ids=["one block", "several blocks"])


@BLOCKS
def test_the_gradient_is_that_of_the_output(monkeypatch: pytest.MonkeyPatch, most_scores: int):
    monkeypatch.setattr(attention, "_MOST_SCORES", most_scores)
    torch.manual_seed(0)
    given = [torch.randn(2, 11, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(attention.attend, given)
    with torch.no_grad():
        assert torch.allclose(attention.attend(*given), F.scaled_dot_product_attention(*given))


@BLOCKS
def test_half_precision_only_rounds(monkeypatch: pytest.MonkeyPatch, most_scores: int):
    """By about the unit roundoff, relative to the norm: no sum is computed in half precision."""
    monkeypatch.setattr(attention, "_MOST_SCORES", 50 * most_scores)
    torch.manual_seed(0)
    exact = [torch.randn(1, 200, 16, dtype=torch.float64).requires_grad_() for _ in range(3)]
    outer = torch.randn(1, 200, 16, dtype=torch.float64)

    def errors(half: torch.dtype) -> list[float]:
        rounded = [one.detach().to(half).requires_grad_() for one in exact]
        found, expected = attention.attend(*rounded), F.scaled_dot_product_attention(*exact)
        pairs = zip(
            (found, *torch.autograd.grad(found, rounded, outer.to(half))),
            (expected, *torch.autograd.grad(expected, exact, outer)),
            strict=True,
        )
        return [float((one.double() - other).detach().norm() / other.norm().detach()) for one, other in pairs]

    assert max(errors(torch.bfloat16)) < 0.01
    assert max(errors(torch.float16)) < 0.00125


def test_wide_heads_in_half_precision_on_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(self_test, "LARGE_PX", 64)
    torch.manual_seed(0)
    TINY["AutoencoderKL"]().save_pretrained(tmp_path)
    attend, seen = attention.attend, []

    def recorded(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen.append(query.shape)
        return attend(query, key, value)

    monkeypatch.setattr(attention, "attend", recorded)
    with pretending("cuda"):
        for channels, precision in ((256, "bf16"), (8, "fp32")):
            monkeypatch.setattr(attention, "FLASH_CHANNELS", channels)
            load_surrogate(str(tmp_path), device="cuda", precision=precision)
        assert not seen
        load_surrogate(str(tmp_path), device="cuda", precision="bf16")  # compares posterior and gradient with the CPU's
    assert seen
