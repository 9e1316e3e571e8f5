"""The loop: objective x constraint x step rule x schedule, all exchangeable, none of them known by name here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pca_protect.constraints import Constraint
from pca_protect.errors import not_finite
from pca_protect.schedules import Schedule
from pca_protect.steps import StepRule

Objective = Callable[[Tensor], Tensor]
"""Pixels `(B, 3, H, W)` in [0, 1] -> one value per image `(B,)` to be minimised, differentiable in the pixels."""

OnStep = Callable[[int, int, Tensor], None]
"""Called with (steps done, steps in all, objective per image `(B,)`). Raising from it, `Cancelled` say, ends the loop."""


@dataclass(frozen=True)
class Optimized:
    """What the loop found.

    Attributes:
        pixels: perturbed pixels, `(B, 3, H, W)` in [0, 1].
        values: the objective at `pixels`, `(B,)`.
        history: the objective of every iterate from the first on, `(B, steps + 1)`; without the last column
            where the last iterate was kept unseen.
    """

    pixels: Tensor
    values: Tensor | None
    history: Tensor


def optimize(
    pixels: Tensor,
    objective: Objective,
    *,
    constraint: Constraint,
    step_rule: StepRule,
    schedule: Schedule,
    step_size: float,
    steps: int,
    keep_best: bool = True,
    start: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Optimized:
    """Minimise an objective over perturbations inside a constraint, starting from none unless told otherwise.

    With `SignStep`, `constant` and `keep_best=False` this is the published loop (Guo et al., arXiv 2408.10901): the
    perturbation is clamped to the budget, the picture it is added to is clamped to [0, 1] for the encoder, and that
    second clamp is not written back into the perturbation.

    Args:
        pixels: clean pixels `(B, 3, H, W)` in [0, 1], on the device and in the precision to work in.
        objective: see `Objective`. Values of one image must not depend on the others.
        constraint: projects the perturbation after every step.
        step_rule: fresh, not used before.
        schedule: factor on `step_size` per step.
        step_size: length of the first step per channel, in [0, 1] units.
        steps: gradient evaluations; 0 returns the start.
        keep_best: return the best iterate of each image, at the price of one more forward pass; otherwise the last.
        start: perturbation to begin with, shape as `pixels`, projected first; for objectives whose gradient vanishes at
            the clean pixels.
        on_step: progress and cancellation; never called where there are no steps.

    Raises:
        ModelError: the objective or its gradient is not finite.
    """
    perturbation = torch.zeros_like(pixels) if start is None else constraint.project(start)
    history: list[Tensor] = []
    best_values: Tensor | None = None
    best_perturbation = perturbation

    def remember(values: Tensor) -> None:
        nonlocal best_values, best_perturbation
        history.append(values)
        if not keep_best:
            return
        if best_values is None:
            best_values, best_perturbation = values, perturbation
            return
        better = values < best_values
        best_values = torch.where(better, values, best_values)
        best_perturbation = torch.where(better.view(-1, 1, 1, 1), perturbation, best_perturbation)

    for step in range(steps):
        iterate = (pixels + perturbation).clamp_(0.0, 1.0).requires_grad_()
        values = objective(iterate)
        (gradient,) = torch.autograd.grad(values.sum(), iterate)
        values = values.detach()
        _require_finite(values, gradient, step)
        remember(values)
        if on_step is not None:
            on_step(step, steps, values)
        length = step_size * schedule(step, steps)
        perturbation = constraint.project(perturbation - length * step_rule.direction(gradient))

    if keep_best:
        with torch.no_grad():
            values = objective((pixels + perturbation).clamp(0.0, 1.0))
        remember(values)
        perturbation = best_perturbation
    if on_step is not None and steps:
        on_step(steps, steps, history[-1])
    seen = torch.stack(history, dim=1) if history else pixels.new_empty(len(pixels), 0)
    return Optimized((pixels + perturbation).clamp_(0.0, 1.0), best_values, seen)


def _require_finite(values: Tensor, gradient: Tensor, step: int) -> None:
    if not (bool(values.isfinite().all()) and bool(gradient.isfinite().all())):
        raise not_finite(f"at step {step}")
