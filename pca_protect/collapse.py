"""The attack as a callable on tensors, as in torchattacks and foolbox: images in, perturbed images out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from pca_protect.attack.ensemble import maximin_of
from pca_protect.attack.pgd import SCHEDULES, LinfBall, Masked, MomentumStep, Objective, optimize
from pca_protect.attack.transforms import Transform
from pca_protect.attack.visibility import VisibilityPenalty
from pca_protect.engine import mode_objective
from pca_protect.errors import UsageError
from pca_protect.modes import MODES, RENAMED_MODES, Direction, present_name
from pca_protect.presets import ScheduleName
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate, as_surrogate


class PosteriorCollapse:
    """Posterior Collapse Attack (Guo et al., arXiv 2408.10901) on a batch of tensors. With the default settings, in
    modes `diffusion` and `concentration`, it equals the published loop step for step.

    >>> import torch
    >>> from pca_protect import PosteriorCollapse, load_surrogate
    >>> attack = PosteriorCollapse(load_surrogate("pocket", device="cpu"), eps=8 / 255, steps=2)
    >>> images = torch.rand(2, 3, 64, 48)
    >>> bool((attack(images) - images).abs().max() <= 8 / 255 + 1e-6)
    True

    Does not round to 8 bits and does not divide large images into windows; `protect` does both.

    Args:
        surrogate: one encoder, or several on one device.
        mode: `diffusion`, `concentration`, `subtle`, or one added by `register_mode`; see `ProtectConfig`.
        eps: L-inf budget in units of the [0, 1] range.
        steps: gradient steps.
        rel_stepsize: length of the first step as a fraction of `eps`; 1/8 is the published 2/255 at 16/255.
        momentum: decay factor of the gradient sum (arXiv 1710.06081); 0 takes the sign of each gradient.
        schedule: decay of the step length: `constant`, `linear` or `cosine`.
        keep_best: return each image's best iterate, which takes one more forward pass; otherwise the last. Ignored with `eot`
            or several encoders, whose iterates cannot be compared by value.
        target_variance, direction: override the mode's, see `ProtectConfig`.
        eot: random transform of the pixels before every gradient, `(pixels, generator) -> pixels`; see `attack.transforms`.
        seed: seed of the generator for `eot`.

    Raises:
        UsageError: a setting is unknown or out of range.
    """

    def __init__(
        self,
        surrogate: AnySurrogate | Sequence[Surrogate],
        *,
        mode: str = "diffusion",
        eps: float = 16 / 255,
        steps: int = 40,
        rel_stepsize: float = 1 / 8,
        momentum: float = 0.0,
        schedule: ScheduleName = "constant",
        keep_best: bool = False,
        target_variance: float | Literal["posterior"] | None = None,
        direction: Direction | None = None,
        eot: Transform | None = None,
        seed: int = 0,
    ) -> None:
        mode = present_name("mode", mode, RENAMED_MODES)
        if mode not in MODES:
            raise UsageError(f"unknown mode {mode!r}; choose {', '.join(MODES)}")
        if schedule not in SCHEDULES:
            raise UsageError(f"unknown schedule {schedule!r}; choose {', '.join(SCHEDULES)}")
        if not 0 < eps <= 1:
            raise UsageError(f"eps {eps} is not in (0, 1]; 16/255 is the published budget")
        if steps < 1 or not rel_stepsize > 0 or not momentum >= 0:
            raise UsageError(
                f"steps {steps}, rel_stepsize {rel_stepsize} and momentum {momentum} are out of range; give steps of at "
                "least 1, a rel_stepsize above 0 and a momentum of at least 0"
            )
        if MODES[mode].loss is not None and (target_variance is not None or direction is not None):
            raise UsageError(f"mode {mode} takes no target variance and no direction; leave them out")
        self._surrogate = as_surrogate(surrogate)
        self._mode = MODES[mode]
        if self._mode.loss is None:
            variance = self._mode.variance if target_variance is None else target_variance
            self._mode = replace(self._mode, target_variance=variance, direction=direction or self._mode.direction)
        self._eps, self._steps = eps, steps
        self._rel_stepsize, self._momentum, self._schedule = rel_stepsize, momentum, schedule
        self._keep_best, self._eot, self._seed = keep_best, eot, seed

    def __call__(self, images: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Perturb images. An image's result is independent of its batch: bit-identical on the CPU, up to floating-point
        summation order elsewhere.

        Args:
            images: `(B, 3, H, W)` in [0, 1], on any device, of any floating-point type.
            mask: `(H, W)`, `(1, H, W)` or `(B, 1, H, W)`, true or 1 where images may change; None is everywhere.

        Returns:
            Perturbed images, of the shape, device and type of `images`.

        Raises:
            UsageError: `images` or `mask` has the wrong shape, type or range.
            ModelError: the loss or its gradient is not finite.
        """
        _require_images(images)
        clean = images.detach().to(self._surrogate.device, torch.float32)
        ball = LinfBall(self._eps)
        editable = None if mask is None else _editable(mask, clean)
        optimized = optimize(
            clean,
            self._objective(clean, editable),
            constraint=ball if editable is None else Masked(ball, editable),
            step_rule=MomentumStep(self._momentum),
            schedule=SCHEDULES[self._schedule],
            step_size=self._rel_stepsize * self._eps,
            steps=self._steps,
            keep_best=self._keep_best and self._eot is None and len(self._surrogate.members) == 1,
        )
        return optimized.pixels.to(images.device, images.dtype)

    def _objective(self, clean: Tensor, editable: Tensor | None) -> Objective:
        weight, generator = self._mode.visibility_weight, torch.Generator().manual_seed(self._seed)
        members = [
            _transformed(mode_objective(member, self._mode, clean, logarithmic=weight > 0), self._eot, generator)
            for member in self._surrogate.members
        ]
        goal = members[0] if len(members) == 1 else maximin_of(members, mask=editable)
        return VisibilityPenalty(goal, clean, weight=weight) if weight > 0 else goal


def _transformed(objective: Objective, eot: Transform | None, generator: torch.Generator) -> Objective:
    """An objective of transformed pixels where it is differentiated."""
    if eot is None:
        return objective
    return lambda pixels: objective(eot(pixels, generator) if pixels.requires_grad else pixels)


def _require_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UsageError(
            f"images of shape {tuple(images.shape)} and type {images.dtype} are not a batch; give floats (B, 3, H, W) in [0, 1]"
        )
    low, high = (float(value) for value in images.detach().aminmax())
    if not 0 <= low <= high <= 1:
        raise UsageError(f"images range from {low:g} to {high:g}; scale them to [0, 1]")


def _editable(mask: Tensor, clean: Tensor) -> Tensor:
    editable = mask.to(clean.device, torch.float32)
    try:
        return editable.expand(len(clean), 1, *clean.shape[-2:])
    except RuntimeError as error:
        raise UsageError(
            f"a mask of shape {tuple(mask.shape)} does not fit images of shape {tuple(clean.shape)}; give (H, W) or (B, 1, H, W)"
        ) from error
