"""Turns a request into an attack: perturbs pictures of any size window by window, at every scale. 8-bit levels in and out.

Below `protection`, only this module and `initialisation` read `ProtectConfig`; the functions they call take plain arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pca_protect.attack.ensemble import fill_budget, maximin_of, mean_of
from pca_protect.attack.objectives import (
    CollapseObjective,
    LatentObjective,
    LossObjective,
    collapse,
    with_equal_channels,
)
from pca_protect.attack.pgd import (
    SCHEDULES,
    LinfBall,
    Masked,
    MomentumStep,
    Objective,
    OnStep,
    Optimized,
    optimize,
)
from pca_protect.attack.readback import Readback
from pca_protect.attack.stopping import LatentView, Stop, moved_enough
from pca_protect.attack.transforms import Transform, eot_transform
from pca_protect.attack.visibility import STEP_PER_VISIBLE_LEVEL, VisibilityPenalty, scale_to_visibility
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.evaluation import Criteria
from pca_protect.image.batch import Batch
from pca_protect.image.resize import sizes
from pca_protect.image.scales import SmallerPictures, WindowView
from pca_protect.image.tensors import Uint8Image, to_tensor, to_uint8
from pca_protect.image.tiling import window_grid, windows
from pca_protect.initialisation import init_for
from pca_protect.memory import Demand
from pca_protect.modes import Mode
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate

Progress = Callable[[int, int, float], None]
"""Called with (steps done, total steps, loss of the first encoder at the first scale, in its own unit): after every step, on CUDA
when the device has done it; after every window of a recipe without steps; and with all steps done and a loss of NaN before every
window of the evaluation. An exception from it ends the run; no file is left behind."""


@dataclass(frozen=True)
class Perturbed:
    """Attributes:
    levels: the perturbed pictures, `(H, W, 3)` each.
    steps: gradient steps that each took, in the window that took most.
    """

    levels: list[Uint8Image]
    steps: list[int]


def run_recipe(
    clean: Tensor,
    objective: Objective,
    config: ProtectConfig,
    *,
    mask: Tensor | None = None,
    init: Tensor | None = None,
    stop: Stop | None = None,
    comparable: bool = True,
    on_step: OnStep | None = None,
) -> Optimized:
    """Optimise clean pixels `(B, 3, H, W)` in [0, 1] with a configuration's recipe and budget.

    Args:
        mask: see `Masked`; None is everywhere.
        init, stop: see `optimize`.
        comparable: whether iterates can be compared by value. If not, as with random objectives and varying penalty weights,
            the last iterate is returned.
    """
    recipe, ball = config.recipe, LinfBall(config.budget_levels / 255)
    return optimize(
        clean,
        objective,
        constraint=ball if mask is None else Masked(ball, mask),
        step_rule=MomentumStep(recipe.momentum),
        schedule=SCHEDULES[recipe.schedule],
        step_size=recipe.rel_stepsize * _step_unit(config),
        steps=recipe.steps,
        keep_best=recipe.keep_best and comparable,
        init=init,
        stop=stop,
        on_step=on_step,
    )


def _step_unit(config: ProtectConfig) -> float:
    """Step length for a relative step size of 1, in [0, 1] units: the budget. A visibility limit shortens it, because longer
    steps add visibility and no effect."""
    unit_levels: float = config.budget_levels
    if config.max_visibility is not None:
        unit_levels = min(unit_levels, STEP_PER_VISIBLE_LEVEL * config.max_visibility)
    return unit_levels / 255


def seen_sizes(height: int, width: int, config: ProtectConfig) -> list[tuple[int, int]]:
    """Heights and widths at which editors see a picture, in ascending order."""
    return sizes(height, width, config.scales, longest_px=config.posted_px)


def demand(config: ProtectConfig, *, height: int, width: int) -> Demand:
    """Sizes that determine the memory for pictures of one size, see `Demand`."""
    return Demand(height, width, seen_sizes(height, width, config), config.tile_px, config.max_memory_megabytes)


def criteria(config: ProtectConfig, *, tile_px: int | None = None) -> Criteria:
    """Evaluation settings of a configuration.

    Args:
        tile_px: see `Criteria`; the configuration's if None.
    """
    return Criteria(
        config.budget_levels,
        config.seed,
        config.goal.resolved_loss() or collapse(config.objective[0]),
        config.scales,
        config.posted_px,
        tile_px or config.tile_px,
        config.max_memory_megabytes,
    )


def latent_objective(
    surrogate: Surrogate, config: ProtectConfig, clean: Tensor, *, logarithmic: bool = False
) -> LatentObjective:
    """The objective of a configuration's mode against one encoder.

    Args:
        clean: the clean pixels `(B, 3, H, W)`.
        logarithmic: see `CollapseObjective`.

    Raises:
        UsageError: target variance `posterior` with an encoder that has no variance.
    """
    return mode_objective(surrogate, config.goal, clean, logarithmic=logarithmic)


def mode_objective(surrogate: Surrogate, mode: Mode, clean: Tensor, *, logarithmic: bool = False) -> LatentObjective:
    """The objective of a mode against one encoder; see `latent_objective` for arguments and errors."""
    if mode.target_variance == "posterior" and not surrogate.has_variance:
        raise UsageError(
            f"target variance `posterior` needs an encoder with a variance and {surrogate.name} has none; give a number"
        )
    encode, direction, logarithmic = surrogate.posterior, mode.direction, logarithmic or mode.logarithmic
    loss = mode.resolved_loss()
    if loss is not None:
        return LossObjective(encode, loss, direction, clean, logarithmic=logarithmic)
    return CollapseObjective(encode, mode.variance, direction, clean, logarithmic=logarithmic)


def perturb(
    batch: Batch,
    config: ProtectConfig,
    *,
    surrogate: AnySurrogate,
    tile_px: int,
    on_step: Progress | None = None,
) -> Perturbed:
    """Perturb pictures of one size within the budget, window by window, against every encoder at every scale of the
    configuration.

    Each window starts from the result of the windows before it; its kept part is final. The objective is the mean over scales
    of the loss per pixel. Of a smaller scale, only the surroundings of the window are encoded: memory grows with the window
    and not with the picture.

    Args:
        tile_px: side of the largest window.
        on_step: progress over the steps of all windows.

    Raises:
        UsageError: `for_unknown` with one encoder; and as `init_for`.
    """
    height, width = batch.size
    seen = seen_sizes(height, width, config)
    grid_px = window_grid(member.multiple for member in surrogate.members)
    smaller = [
        SmallerPictures(batch.clean, size, surrogate.device, grid_px=grid_px)
        for size in seen
        if size != (height, width)
    ]
    changed = [levels.copy() for levels in batch.clean]
    steps = torch.zeros(len(changed), dtype=torch.long)
    tiles = windows(height, width, tile_px=tile_px, grid_px=grid_px)
    if config.for_unknown and len(surrogate.members) < 2:
        raise UsageError(
            f"`for_unknown` needs several encoders and {surrogate.name} is one; add another, or leave it out"
        )
    transform = eot_transform(config.survive, for_unknown=config.for_unknown)
    universal = init_for(surrogate, config)
    logarithmic = config.visibility_weight > 0 or config.max_visibility is not None
    for number, window in enumerate(tiles):
        mask = batch.undecided(window)
        if mask is not None and not bool(mask.any()):
            continue
        clean, before = (
            to_tensor([levels[window.seen] for levels in pictures], surrogate.device)
            for pictures in (batch.clean, changed)
        )
        views = [WindowView(clean, before)] if (height, width) in seen else []
        views += [pictures.view(window, before) for pictures in smaller]
        objectives = [
            [latent_objective(member, config, view.clean, logarithmic=logarithmic) for view in views]
            for member in surrogate.members
        ]
        generator = torch.Generator().manual_seed(config.seed + number)  # the same for all pictures of a batch
        goals = [_mean_over_scales(some, views, transform, generator, logarithmic=logarithmic) for some in objectives]
        goal = _ensemble(goals, None if mask is None else mask.to(surrogate.device), for_unknown=config.for_unknown)
        if logarithmic:
            editable = batch.editable(window)
            goal = VisibilityPenalty(
                goal,
                clean,
                weight=config.visibility_weight,
                most_levels=config.max_visibility,
                editable=None if editable is None else editable.to(surrogate.device),
            )
        init = stop = None
        if universal is not None:
            radius = config.recipe.init_scale * _step_unit(config)
            init = universal.perturbation.over(*window.seen, radius=radius, gray=batch.gray).to(surrogate.device)
        if config.until is not None:
            noise = batch.noise(window, budget_levels=config.budget_levels, seed=config.seed).to(surrogate.device)
            stop = _stop(views, noise, surrogate, gain=_UNTIL_MARGIN * float(config.until))
        optimized = run_recipe(
            before,
            with_equal_channels(goal, batch.gray),
            config,
            mask=None if mask is None else mask.to(surrogate.device),
            init=init,
            stop=stop,
            comparable=transform is None and len(goals) == 1 and config.max_visibility is None and stop is None,
            on_step=_total_progress(on_step, number, len(tiles), objectives[0][0]),
        )
        pixels, steps = optimized.pixels, steps.maximum(optimized.steps.cpu())
        if config.for_unknown and config.saturates and config.until is None:
            pixels = fill_budget(pixels, clean, radius=config.budget_levels / 255)
        after = to_uint8(pixels)
        for levels, result in zip(changed, after, strict=True):
            levels[window.kept] = result[window.kept_of_seen]
        if on_step is not None and config.recipe.steps == 0:
            on_step(number + 1, len(tiles), float(objectives[0][0].latest.mean()))
        if smaller:
            kept = torch.zeros_like(before, device="cpu")
            place = (..., *window.kept_of_seen)
            kept[place] = to_tensor(after)[place] - before.cpu()[place]
            for pictures in smaller:
                pictures.change(window, kept)
    if config.max_visibility is not None:
        changed = [
            scale_to_visibility(clean_levels, levels, config.max_visibility, mask=mask, device=surrogate.device)
            for clean_levels, levels, mask in zip(batch.clean, changed, batch.masks, strict=True)
        ]
    return Perturbed(changed, steps.tolist())


def _ensemble(goals: Sequence[Objective], mask: Tensor | None, *, for_unknown: bool) -> Objective:
    """One objective for several encoders; the only one as it is."""
    if len(goals) == 1:
        return goals[0]
    return mean_of(goals) if for_unknown else maximin_of(goals, mask=mask)


_UNTIL_MARGIN = 1.15
"""Windows go beyond the wanted gain by this factor: the gain of the whole, rounded picture is a little lower, and the change is
scaled down afterwards."""


def _stop(views: Sequence[WindowView], noise: Tensor, surrogate: AnySurrogate, *, gain: float) -> Stop:
    """Stops at a gain over noise at every encoder and scale.

    Args:
        noise: `(B, 3, h, w)`, added to the clean pixels of the window.
        gain: latent shift over that of the noise.
    """

    def latent_view(member: Surrogate, view: WindowView) -> LatentView:
        noisy = member.posterior(view.show_clean_with(noise)).mean
        return LatentView.beyond_noise(
            lambda pixels: member.posterior(view.show(pixels)).mean, member.posterior(view.clean).mean, noisy, gain
        )

    with torch.no_grad():
        return moved_enough([latent_view(member, view) for member in surrogate.members for view in views])


def _mean_over_scales(
    objectives: Sequence[LatentObjective],
    views: Sequence[WindowView],
    transform: Transform | None,
    generator: torch.Generator,
    *,
    logarithmic: bool,
) -> Objective:
    """Mean over scales of the loss per pixel, times the window's number of pixels. The transform is applied only where
    gradients are computed.

    Args:
        objectives: one encoder's, one per view.
        logarithmic: of the objectives. Sums over the latent grow with the number of pixels; logarithms do not.
    """

    def objective(pixels: Tensor) -> Tensor:
        values = []
        for one, view in zip(objectives, views, strict=True):
            shown = view.show(pixels)
            if transform is not None and pixels.requires_grad:
                shown = transform(shown, generator)
            values.append((1.0 if logarithmic else view.factor) * one(shown))
        return torch.stack(values).mean(dim=0) if len(values) > 1 else values[0]

    return objective


def _total_progress(on_step: Progress | None, window: int, of: int, objective: LatentObjective) -> OnStep | None:
    if on_step is None:
        return None
    losses = Readback()

    def report(done: int, steps: int, _: Tensor) -> None:
        for step, loss in losses.send(done, objective.latest.mean(), wait=done == steps):
            on_step(window * steps + step, of * steps, float(loss))

    return report
