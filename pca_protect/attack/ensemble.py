"""One perturbation against several encoders, one after the other, so that memory holds the graph of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pca_protect.attack.pgd import Objective


def mean_of(objectives: Sequence[Objective]) -> Objective:
    """Mean of objectives, per image, to be minimised. Its gradient rescales each member's gradient to the mean L1 norm so that no
    member dominates. Values and gradients no longer correspond: do not compare iterates by value.

    Normalising the gradients of an ensemble's members is usual for classifiers; see Dong et al., arXiv 1710.06081,
    section 3.3, for the alternatives.

    Args:
        objectives: on different encoders, of the same pictures.
    """

    def objective(pixels: Tensor) -> Tensor:
        if torch.is_grad_enabled() and pixels.requires_grad:
            values: Tensor = _Mean.apply(pixels, objectives)  # type: ignore[no-untyped-call]
            return values
        return torch.stack([one(pixels) for one in objectives]).mean(dim=0)

    return objective


def fill_budget(pixels: Tensor, clean: Tensor, *, radius: float) -> Tensor:
    """Moves every changed channel to the vertex of the L-inf ball. For losses that are ascended: encoders outside the ensemble
    gain more from it than its members.

    Args:
        pixels, clean: `(B, 3, H, W)` in [0, 1].
        radius: of the budget, in the same units.
    """
    change = pixels - clean
    return (clean + radius * change.sign() * (change.abs() > _UNUSED)).clamp(0, 1)


_UNUSED = 0.5 / 255
"""A change that would be rounded away is none."""


class _Mean(torch.autograd.Function):
    """Differentiates every objective in the forward pass already and keeps one gradient, the mean."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - what autograd passes has no type
        pixels: Tensor,
        objectives: Sequence[Objective],
    ) -> Tensor:
        values, gradients = [], []
        for objective in objectives:
            with torch.enable_grad():
                leaf = pixels.detach().requires_grad_()
                value = objective(leaf)
                (gradient,) = torch.autograd.grad(value.sum(), leaf)
            values.append(value.detach())
            gradients.append(gradient)
        lengths = [gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30) for gradient in gradients]
        common = torch.stack(lengths).mean(dim=0)
        ctx.save_for_backward(
            torch.stack(
                [gradient * (common / length) for gradient, length in zip(gradients, lengths, strict=True)]
            ).mean(dim=0)
        )
        return torch.stack(values).mean(dim=0)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return outer[0].view(-1, 1, 1, 1) * gradient, None
