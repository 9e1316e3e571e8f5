"""One perturbation against several encoders, one after the other, so that memory holds the graph of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pca_protect.attack.pgd import Objective

Combine = Callable[[Sequence[Tensor]], Tensor]
"""Gradients of the members, `(B, 3, H, W)` each -> the gradient to step along, of the same shape."""


def mean_of(objectives: Sequence[Objective]) -> Objective:
    """Mean of objectives, per image, to be minimised; its gradient is `equal_lengths` of theirs. Values and gradients do not
    correspond: do not compare iterates by value.

    For encoders outside the ensemble: the member that is easiest to move decides more, and what moves it carries over.

    Args:
        objectives: on different encoders, of the same pictures.
    """
    return _combined(objectives, equal_lengths)


def maximin_of(objectives: Sequence[Objective], *, mask: Tensor | None = None) -> Objective:
    """Mean of objectives, per image, to be minimised; its gradient is `equal_gains` of theirs. Values and gradients do not
    correspond: do not compare iterates by value.

    For the members: no encoder is given up for the others.

    Args:
        objectives: on different encoders, of the same pictures.
        mask: see `equal_gains`.
    """
    return _combined(objectives, lambda gradients: equal_gains(gradients, mask=mask))


def equal_lengths(gradients: Sequence[Tensor]) -> Tensor:
    """Mean of gradients, each rescaled to their mean L1 norm so that no member dominates.

    Normalising the gradients of an ensemble's members is usual for classifiers; see Dong et al., arXiv 1710.06081,
    section 3.3, for the alternatives.
    """
    lengths = [_length(gradient).clamp_min(_LEAST) for gradient in gradients]
    common = torch.stack(lengths).mean(dim=0)
    rescaled = [gradient * (common / length) for gradient, length in zip(gradients, lengths, strict=True)]
    return torch.stack(rescaled).mean(dim=0)


def equal_gains(gradients: Sequence[Tensor], *, mask: Tensor | None = None) -> Tensor:
    """The convex combination of gradients along whose sign a step improves the least improved member most.

    Improvement is to first order and relative to the step along the member's own sign. For gradients g_k of mean magnitude 1:

        max_{|d_i| <= 1} min_k <g_k, d>  =  min_{w in the simplex} |sum_k w_k g_k|_1

    by linear programming duality, and d is the sign of the sum. This is the multiple-gradient descent algorithm (Desideri,
    "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", C. R. Acad. Sci. Paris 350, 2012) in the norm
    dual to an L-inf budget; there the norm is L2. The minimum is approximated by exponentiated gradient descent (Kivinen &
    Warmuth, Information and Computation 132, 1997). Members with a gradient of zero have no weight.

    Args:
        mask: `(B, 1, H, W)` of zeros and ones: pixels outside do not change and do not count; None is everywhere.

    Returns:
        Gradients `(B, 3, H, W)`, of at most the members' mean L1 norm; zero outside the mask.
    """
    inside = [gradient if mask is None else gradient * mask for gradient in gradients]
    # One image at a time: the order of a sum may depend on the batch size, and the sign of a number near zero on that order.
    images = [_equal_gains([one[i : i + 1] for one in inside]) for i in range(len(inside[0]))]
    return torch.cat(images)


def _equal_gains(gradients: Sequence[Tensor]) -> Tensor:
    """`equal_gains` of one image."""
    rows = torch.stack([gradient.flatten() for gradient in gradients])
    lengths = rows.abs().mean(dim=1)
    rows = rows / lengths.clamp_min(_LEAST).unsqueeze(1)
    common = lengths.mean() * rows.T.mv(maximin_weights(rows))
    return common.view_as(gradients[0])


def maximin_weights(rows: Tensor) -> Tensor:
    """Weights of the convex combination of rows with the smallest L1 norm.

    Args:
        rows: `(K, N)`, of mean magnitude 1, or 0, which gets no weight.

    Returns:
        `(K,)`, non-negative; their sum is 1, or 0 if all rows are zero.
    """
    alive = (rows.abs().amax(dim=1) > 0).to(rows)
    weights = alive / alive.sum().clamp_min(1)
    best, least = weights, torch.full_like(weights[0], torch.inf)
    for iteration in range(_ITERATIONS):
        total = rows.T.mv(weights)
        norm = total.abs().mean()
        best, least = torch.where(norm < least, weights, best), torch.minimum(norm, least)
        gains = rows.mv(total.sign()) / rows.shape[1]
        weights = weights * (-_RATE / (1 + iteration) ** 0.5 * gains).exp()
        weights = weights / weights.sum().clamp_min(_LEAST)
    return best


_LEAST = 1e-30
_ITERATIONS, _RATE = 16, 0.5
"""More iterations change the latent shifts of the members by less than they differ between pictures."""


def _length(gradient: Tensor) -> Tensor:
    """Mean magnitude per image, `(B, 1, 1, 1)`."""
    return gradient.abs().mean(dim=(1, 2, 3), keepdim=True)


def _combined(objectives: Sequence[Objective], combine: Combine) -> Objective:
    def objective(pixels: Tensor) -> Tensor:
        if torch.is_grad_enabled() and pixels.requires_grad:
            values: Tensor = _Combined.apply(pixels, objectives, combine)  # type: ignore[no-untyped-call]
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


class _Combined(torch.autograd.Function):
    """Differentiates every objective in the forward pass and keeps one gradient."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - what autograd passes has no type
        pixels: Tensor,
        objectives: Sequence[Objective],
        combine: Combine,
    ) -> Tensor:
        values, gradients = [], []
        for objective in objectives:
            with torch.enable_grad():
                leaf = pixels.detach().requires_grad_()
                value = objective(leaf)
                (gradient,) = torch.autograd.grad(value.sum(), leaf)
            values.append(value.detach())
            gradients.append(gradient)
        ctx.save_for_backward(combine(gradients))
        return torch.stack(values).mean(dim=0)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return outer[0].view(-1, 1, 1, 1) * gradient, None, None
