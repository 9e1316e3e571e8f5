"""Projected gradient descent (Madry et al., arXiv 1706.06083) on tensors: the loop, and its exchangeable parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pca_protect.attack.stopping import Stop
from pca_protect.errors import not_finite

Objective = Callable[[Tensor], Tensor]
"""Pixels `(B, 3, H, W)` in [0, 1] -> one value per image `(B,)` to be minimised, differentiable in the pixels."""

OnStep = Callable[[int, int, Tensor], None]
"""Called with (steps done, steps in all, objective per image `(B,)`). Raising from it, `Cancelled` say, ends the loop."""


class Constraint(Protocol):
    """Maps a perturbation `(B, 3, H, W)`, in units of the [0, 1] pixel range, to the nearest allowed one."""

    def project(self, perturbation: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LinfBall:
    """No channel of any pixel changes by more than `radius` (in [0, 1] units; 16 levels are 16/255)."""

    radius: float

    def project(self, perturbation: Tensor) -> Tensor:
        return perturbation.clamp(-self.radius, self.radius)


@dataclass(frozen=True)
class Masked:
    """Another constraint, and no change outside a mask.

    Attributes:
        mask: `(B, 1, H, W)` of zeros and ones, in the precision of the perturbation: one where it may be.
    """

    inside: Constraint
    mask: Tensor

    def project(self, perturbation: Tensor) -> Tensor:
        return self.inside.project(perturbation) * self.mask


class StepRule(Protocol):
    def direction(self, gradient: Tensor) -> Tensor: ...


class MomentumStep:
    """The sign of a running sum of gradients, each scaled to a mean magnitude of one per image.

    Dong et al., "Boosting Adversarial Attacks with Momentum", arXiv 1710.06081, equations 6 and 7. The sum runs over
    raw gradients: summing signs would let pixels that hardly matter vote as loudly as those that decide.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._sum: Tensor | None = None

    def direction(self, gradient: Tensor) -> Tensor:
        scale = gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
        scaled = gradient / scale
        self._sum = scaled if self._sum is None else self.decay * self._sum + scaled
        return self._sum.sign()


Schedule = Callable[[int, int], float]
"""(step counted from 0, number of steps) -> factor in (0, 1]."""


def constant(step: int, steps: int) -> float:
    """Every step as long as the first, as published for the attack (arXiv 2408.10901)."""
    return 1.0


def linear(step: int, steps: int) -> float:
    """Straight down from 1 towards 0; the last step is short but never empty."""
    return 1.0 - step / steps


def cosine(step: int, steps: int) -> float:
    """Half a cosine from 1 towards 0; the last step is short but never empty."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


SCHEDULES: dict[str, Schedule] = {"constant": constant, "linear": linear, "cosine": cosine}


@dataclass(frozen=True)
class Optimized:
    """What the loop found.

    Attributes:
        pixels: perturbed pixels, `(B, 3, H, W)` in [0, 1].
        values: the objective at `pixels`, `(B,)`; None if the last iterate was kept, which is not evaluated.
        steps: gradient steps that each image took, `(B,)`.
    """

    pixels: Tensor
    values: Tensor | None
    steps: Tensor


_STEPS_BETWEEN_STOPS = 4


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
    init: Tensor | None = None,
    stop: Stop | None = None,
    on_step: OnStep | None = None,
) -> Optimized:
    """Minimise an objective over perturbations inside a constraint.

    With `MomentumStep(0.0)`, which takes sign steps, `constant` and `keep_best=False` this is the published loop (Guo et al.,
    arXiv 2408.10901): the perturbation is clamped to the budget, the picture it is added to is clamped to [0, 1] for the
    encoder, and that second clamp is not written back into the perturbation.

    Args:
        pixels: clean pixels `(B, 3, H, W)` in [0, 1], on the device and in the precision to work in.
        objective: see `Objective`. Values of one image must not depend on the others.
        constraint: projects the perturbation after every step.
        step_rule: fresh, not used before.
        schedule: factor on `step_size` per step.
        step_size: length of the first step per channel, in [0, 1] units.
        steps: gradient evaluations; 0 returns the initial perturbation.
        keep_best: return the best iterate of each image, at the price of one more forward pass; otherwise the last.
        init: initial perturbation, shape as `pixels`, projected first; for objectives whose gradient vanishes at the clean
            pixels. None is zero.
        stop: ends the steps of images that it calls finished; asked before every fourth step.
        on_step: progress and cancellation; never called where there are no steps.

    Raises:
        ModelError: the objective or its gradient is not finite.
    """
    perturbation = torch.zeros_like(pixels) if init is None else constraint.project(init)
    best_values: Tensor | None = None
    best_perturbation = perturbation
    values = pixels.new_zeros(len(pixels))
    finished = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
    taken = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)

    def remember(values: Tensor) -> None:
        nonlocal best_values, best_perturbation
        if not keep_best:
            return
        if best_values is None:
            best_values, best_perturbation = values, perturbation
            return
        better = values < best_values
        best_values = torch.where(better, values, best_values)
        best_perturbation = torch.where(better.view(-1, 1, 1, 1), perturbation, best_perturbation)

    for step in range(steps):
        if stop is not None and step % _STEPS_BETWEEN_STOPS == 0:
            with torch.no_grad():
                finished = finished | stop((pixels + perturbation).clamp(0.0, 1.0))
            if bool(finished.all()):
                break
        iterate = (pixels + perturbation).clamp_(0.0, 1.0).requires_grad_()
        values = objective(iterate)
        (gradient,) = torch.autograd.grad(values.sum(), iterate)
        values = values.detach()
        _require_finite(values, gradient, step)
        remember(values)
        if on_step is not None:
            on_step(step, steps, values)
        length = step_size * schedule(step, steps)
        moved = constraint.project(perturbation - length * step_rule.direction(gradient))
        perturbation = moved if stop is None else torch.where(finished.view(-1, 1, 1, 1), perturbation, moved)
        taken += ~finished

    if keep_best:
        with torch.no_grad():
            values = objective((pixels + perturbation).clamp(0.0, 1.0))
        remember(values)
        perturbation = best_perturbation
    if on_step is not None and steps:
        on_step(steps, steps, values)
    return Optimized((pixels + perturbation).clamp_(0.0, 1.0), best_values, taken)


def _require_finite(values: Tensor, gradient: Tensor, step: int) -> None:
    if not (bool(values.isfinite().all()) and bool(gradient.isfinite().all())):
        raise not_finite(f"at step {step}")
