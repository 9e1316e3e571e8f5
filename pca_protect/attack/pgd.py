"""Projected gradient descent (Madry et al., arXiv 1706.06083) on tensors: the loop and its interchangeable parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pca_protect.attack.readback import Readback
from pca_protect.attack.stopping import Stop
from pca_protect.errors import not_finite

Objective = Callable[[Tensor], Tensor]
"""Pixels `(B, 3, H, W)` in [0, 1] -> one value per image `(B,)` to be minimised, differentiable in the pixels."""

OnStep = Callable[[int, int, Tensor], None]
"""Called with (steps done, total steps, objective per image `(B,)` on the device, whose queue is not waited for). An exception,
such as `Cancelled`, ends the loop."""


class Constraint(Protocol):
    """Maps a perturbation `(B, 3, H, W)`, in units of the [0, 1] pixel range, to the nearest allowed one."""

    def project(self, perturbation: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LinfBall:
    """A change of at most `radius` per channel, in [0, 1] units (16 levels are 16/255)."""

    radius: float

    def project(self, perturbation: Tensor) -> Tensor:
        return perturbation.clamp(-self.radius, self.radius)


@dataclass(frozen=True)
class Masked:
    """Another constraint, with no change outside a mask.

    Attributes:
        inside: constraint inside the mask.
        mask: `(B, 1, H, W)` in the precision of the perturbation: 1 where pixels may change, 0 elsewhere.
    """

    inside: Constraint
    mask: Tensor

    def project(self, perturbation: Tensor) -> Tensor:
        return self.inside.project(perturbation) * self.mask


class StepRule(Protocol):
    def direction(self, gradient: Tensor) -> Tensor: ...


class MomentumStep:
    """The sign of a running sum of gradients, each scaled to a mean magnitude of one per image.

    Dong et al., "Boosting Adversarial Attacks with Momentum", arXiv 1710.06081, equations 6 and 7. Gradients are
    summed before taking the sign; a sum of signs would weight all pixels equally.
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
    """Constant step size, as published for the attack (arXiv 2408.10901)."""
    return 1.0


def linear(step: int, steps: int) -> float:
    """Linear decay from 1 towards 0; the last factor is positive."""
    return 1.0 - step / steps


def cosine(step: int, steps: int) -> float:
    """Cosine decay from 1 towards 0; the last factor is positive."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


SCHEDULES: dict[str, Schedule] = {"constant": constant, "linear": linear, "cosine": cosine}


@dataclass(frozen=True)
class Optimized:
    """Result of the loop.

    Attributes:
        pixels: perturbed pixels, `(B, 3, H, W)` in [0, 1].
        values: the objective at `pixels`, `(B,)`; None with `keep_best=False`: the last iterate is not evaluated.
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

    With `MomentumStep(0.0)` (sign steps), `constant` and `keep_best=False` this is the published loop (Guo et al., arXiv
    2408.10901): the perturbation is clamped to the budget; the perturbed pixels are clamped to [0, 1] for the encoder, which
    does not change the perturbation.

    On CUDA no step waits for the device: a non-finite value is noticed a few steps later, and finished images end the loop a few
    steps later. Neither changes the result.

    Args:
        pixels: clean pixels `(B, 3, H, W)` in [0, 1], on the device and in the precision of the computation.
        objective: see `Objective`. The value of an image must be independent of its batch.
        constraint: projects the perturbation after every step.
        step_rule: a new instance, since it has state.
        schedule: factor on `step_size` per step.
        step_size: length of the first step per channel, in [0, 1] units.
        steps: gradient evaluations; 0 returns the initial perturbation.
        keep_best: return the best iterate of each image, at the cost of one more forward pass; otherwise the last.
        init: initial perturbation, shape as `pixels`, projected first; needed if the gradient vanishes at the
            clean pixels. None is zero.
        stop: reports which images are finished, which ends their steps; evaluated before every fourth step.
        on_step: progress and cancellation; not called if `steps` is 0.

    Raises:
        ModelError: the objective or its gradient is not finite.
    """
    perturbation = torch.zeros_like(pixels) if init is None else constraint.project(init)
    best_values: Tensor | None = None
    best_perturbation = perturbation
    values = pixels.new_zeros(len(pixels))
    finished = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
    taken = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
    finite = torch.ones((), dtype=torch.bool, device=pixels.device)
    finite_steps = torch.zeros((), dtype=torch.long, device=pixels.device)
    done, finite_read, finished_read = 0, Readback(), Readback()

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
            if any(bool(all_finished) for _, all_finished in finished_read.send(step, finished.all())):
                break
        iterate = (pixels + perturbation).clamp_(0.0, 1.0).requires_grad_()
        values = objective(iterate)
        (gradient,) = torch.autograd.grad(values.sum(), iterate)
        values = values.detach()
        finite = finite & values.isfinite().all() & gradient.isfinite().all()
        finite_steps, done = finite_steps + finite, step + 1
        _require_finite(finite_read.send(done, finite_steps))
        remember(values)
        if on_step is not None:
            on_step(step, steps, values)
        length = step_size * schedule(step, steps)
        stepped = constraint.project(perturbation - length * step_rule.direction(gradient))
        perturbation = stepped if stop is None else torch.where(finished.view(-1, 1, 1, 1), perturbation, stepped)
        taken += ~finished

    if keep_best:
        with torch.no_grad():
            values = objective((pixels + perturbation).clamp(0.0, 1.0))
        remember(values)
        perturbation = best_perturbation
    _require_finite(finite_read.send(done, finite_steps, wait=True))
    if on_step is not None and steps:
        on_step(steps, steps, values)
    return Optimized((pixels + perturbation).clamp_(0.0, 1.0), best_values, taken)


def _require_finite(arrived: Sequence[tuple[int, Tensor]]) -> None:
    """Raise if the number of finite steps, of those that were read back, is below the number of steps."""
    for steps, finite_steps in arrived:
        if int(finite_steps) < steps:
            raise not_finite(f"at step {int(finite_steps)}")
