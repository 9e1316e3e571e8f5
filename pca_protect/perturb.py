"""Pictures of any size, window by window and scale by scale: levels in, perturbed levels out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pca_protect.config import ProtectConfig
from pca_protect.constraints import LinfBall, Masked
from pca_protect.objective import CollapseObjective, with_equal_channels
from pca_protect.optimize import Objective, OnStep, Optimized, optimize
from pca_protect.pixels import from_levels, to_levels
from pca_protect.resize import sizes
from pca_protect.scales import SmallerPart, SmallerPictures
from pca_protect.schedules import SCHEDULES
from pca_protect.steps import MomentumStep, SignStep
from pca_protect.surrogates.adapter import Surrogate
from pca_protect.tiling import Window, windows

Levels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, the loss in nats). Raising from it ends the run and leaves no file behind."""


@dataclass(frozen=True)
class Batch:
    """Pictures of one size.

    Attributes:
        clean: per picture, `(H, W, 3)`.
        free: per picture, `(H, W)`, where it may change; None is everywhere.
        gray: per picture, whether its channels have to stay equal.
    """

    clean: list[Levels]
    free: list[Mask | None]
    gray: list[bool]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.clean[0].shape[:2]
        return height, width


def run_recipe(
    clean: Tensor,
    objective: Objective,
    config: ProtectConfig,
    *,
    free: Tensor | None = None,
    start: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Optimized:
    """Optimise clean pixels `(B, 3, H, W)` in [0, 1] the way a configuration's preset and budget say.

    Args:
        free: see `Masked`; None is everywhere.
        start: see `optimize`.
    """
    recipe, radius = config.recipe, config.budget_levels / 255
    ball = LinfBall(radius)
    return optimize(
        clean,
        objective,
        constraint=ball if free is None else Masked(ball, free),
        step_rule=SignStep() if recipe.step_rule == "sign" else MomentumStep(recipe.momentum),
        schedule=SCHEDULES[recipe.schedule],
        step_size=recipe.relative_step * radius,
        steps=recipe.steps,
        keep_best=recipe.keep_best,
        start=start,
        on_step=on_step,
    )


def perturb(
    batch: Batch, config: ProtectConfig, *, surrogate: Surrogate, tile_px: int, on_step: Progress | None = None
) -> list[Levels]:
    """Perturb pictures of one size within the budget, window by window, for every scale that the configuration names.

    A window sees what the windows before it decided, and decides what it keeps for good. What is minimised is the mean over
    the scales of the loss per pixel: of the window itself, and of the smaller pictures around where it lies, so that memory
    grows with the window and not with the picture.

    Args:
        tile_px: side of the largest window.
        on_step: counts the steps of all windows.
    """
    height, width = batch.size
    seen = sizes(height, width, config.scales)
    smaller = [SmallerPictures(batch.clean, size, surrogate.device) for size in seen if size != (height, width)]
    changed = [levels.copy() for levels in batch.clean]
    walk = windows(height, width, tile_px=tile_px)
    for number, window in enumerate(walk):
        free = _free(batch, window)
        if free is not None and not bool(free.any()):
            continue
        before = from_levels([levels[window.seen] for levels in changed]).to(surrogate.device)
        looks = _looks(batch, window, config, surrogate, smaller=smaller, close=(height, width) in seen)
        found = run_recipe(
            before,
            with_equal_channels(_mean_of(looks, before), batch.gray),
            config,
            free=None if free is None else free.to(surrogate.device),
            on_step=_counted(on_step, number, len(walk), looks[0].collapse),
        )
        after = to_levels(found.pixels)
        for levels, one in zip(changed, after, strict=True):
            levels[window.kept] = one[window.kept_of_seen]
        if smaller:
            kept = torch.zeros_like(before, device="cpu")
            place = (..., *window.kept_of_seen)
            kept[place] = from_levels(after)[place] - before.cpu()[place]
            for pictures in smaller:
                pictures.change(window, kept)
    return changed


@dataclass(frozen=True)
class _Look:
    """The loss at one scale: of the window itself, or of a smaller picture that it is a part of."""

    collapse: CollapseObjective
    part: SmallerPart | None = None
    factor: float = 1.0


def _looks(
    batch: Batch,
    window: Window,
    config: ProtectConfig,
    surrogate: Surrogate,
    *,
    smaller: Sequence[SmallerPictures],
    close: bool,
) -> list[_Look]:
    looks = []
    if close:
        clean = from_levels([levels[window.seen] for levels in batch.clean]).to(surrogate.device)
        looks.append(_Look(CollapseObjective(surrogate, *config.objective, clean)))
    for pictures in smaller:
        part = pictures.part(window)
        collapse = CollapseObjective(surrogate, *config.objective, part.clean)
        looks.append(_Look(collapse, part, pictures.factor))
    return looks


def _mean_of(looks: Sequence[_Look], before: Tensor) -> Objective:
    """The mean over scales of the loss per pixel, times the window's pixels."""

    def objective(pixels: Tensor) -> Tensor:
        values = [
            look.factor * look.collapse(pixels if look.part is None else look.part.with_change(pixels - before))
            for look in looks
        ]
        return torch.stack(values).mean(dim=0)

    return objective if len(looks) > 1 or looks[0].part is not None else looks[0].collapse


def _counted(on_step: Progress | None, window: int, of: int, collapse: CollapseObjective) -> OnStep | None:
    if on_step is None:
        return None
    return lambda done, steps, values: on_step(
        window * steps + done, of * steps, float(collapse.in_nats(values).mean())
    )


def _free(batch: Batch, window: Window) -> Tensor | None:
    """Where a window may change its pictures, `(B, 1, h, w)` of zeros and ones; None is everywhere."""
    rows, columns = window.open_of_seen
    everywhere = (rows.start, columns.start) == (0, 0)
    if everywhere and all(mask is None for mask in batch.free):
        return None
    (top, bottom), (left, right) = ((side.start, side.stop) for side in window.seen)
    free = torch.zeros(len(batch.clean), 1, bottom - top, right - left)
    for one, mask in zip(free, batch.free, strict=True):
        one[0, rows, columns] = 1.0
        if mask is not None:
            one[0] *= torch.from_numpy(mask[window.seen])
    return free
