"""Turns a request into an attack: perturbs pictures of any size window by window, at every scale. 8-bit levels in and out.

Below `protection`, only this module reads `ProtectConfig`; the functions it calls take plain arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
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
from pca_protect.attack.stopping import LatentView, Stop, moved_enough
from pca_protect.attack.transforms import Transform, eot_transform
from pca_protect.attack.universal import UniversalPerturbation, universal_perturbations
from pca_protect.attack.visibility import STEP_PER_VISIBLE_LEVEL, VisibilityPenalty, scale_to_visibility
from pca_protect.config import PRESETS, ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.evaluation import Criteria
from pca_protect.image.resize import sizes
from pca_protect.image.scales import SmallerPart, SmallerPictures
from pca_protect.image.tensors import Mask, Uint8Image, to_tensor, to_uint8
from pca_protect.image.tiling import Window, window_grid, windows
from pca_protect.memory import Demand
from pca_protect.modes import Mode
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate

Progress = Callable[[int, int, float], None]
"""Called with (steps done, total steps, loss of the first encoder at the first scale, in its own unit). An exception from it
ends the run; no file is left behind."""


@dataclass(frozen=True)
class Perturbed:
    """Attributes:
    levels: the perturbed pictures, `(H, W, 3)` each.
    steps: gradient steps that each took, in the window that took most.
    """

    levels: list[Uint8Image]
    steps: list[int]


@dataclass(frozen=True)
class Batch:
    """Pictures of one size.

    Attributes:
        clean: per picture, `(H, W, 3)`.
        masks: per picture, `(H, W)`, true where it may change; None is everywhere.
        gray: per picture, whether its channels must stay equal.
    """

    clean: list[Uint8Image]
    masks: list[Mask | None]
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
    for number, window in enumerate(tiles):
        mask = _open_mask(batch, window)
        if mask is not None and not bool(mask.any()):
            continue
        clean, before = (
            to_tensor([levels[window.seen] for levels in pictures]).to(surrogate.device)
            for pictures in (batch.clean, changed)
        )
        parts = [(pictures.part(window), pictures.factor) for pictures in smaller]
        terms = [
            _scale_terms(clean, parts, config, member, native=(height, width) in seen) for member in surrogate.members
        ]
        generator = torch.Generator().manual_seed(config.seed + number)  # the same for all pictures of a batch
        goals = [_mean_over_scales(member_terms, before, transform, generator) for member_terms in terms]
        goal = _ensemble(goals, None if mask is None else mask.to(surrogate.device), for_unknown=config.for_unknown)
        if _penalises_visibility(config):
            editable = _editable(batch, window)
            goal = VisibilityPenalty(
                goal,
                clean,
                weight=config.visibility_weight,
                most_levels=config.max_visibility,
                editable=None if editable is None else editable.to(surrogate.device),
            )
        views = [*([None] if (height, width) in seen else []), *(part for part, _ in parts)]
        init = None
        if universal is not None:
            radius = config.recipe.init_scale * _step_unit(config)
            init = universal.over(*window.seen, radius=radius, gray=batch.gray).to(surrogate.device)
        optimized = run_recipe(
            before,
            with_equal_channels(goal, batch.gray),
            config,
            mask=None if mask is None else mask.to(surrogate.device),
            init=init,
            stop=_stop(batch, window, clean, before, views, config, surrogate),
            comparable=transform is None and len(goals) == 1 and config.max_visibility is None and config.until is None,
            on_step=_total_progress(on_step, number, len(tiles), terms[0][0].objective),
        )
        pixels, steps = optimized.pixels, steps.maximum(optimized.steps.cpu())
        if config.for_unknown and config.saturates and config.until is None:
            pixels = fill_budget(pixels, clean, radius=config.budget_levels / 255)
        after = to_uint8(pixels)
        for levels, result in zip(changed, after, strict=True):
            levels[window.kept] = result[window.kept_of_seen]
        if smaller:
            kept = torch.zeros_like(before, device="cpu")
            place = (..., *window.kept_of_seen)
            kept[place] = to_tensor(after)[place] - before.cpu()[place]
            for pictures in smaller:
                pictures.change(window, kept)
    if config.max_visibility is not None:
        changed = [
            scale_to_visibility(clean_levels, levels, config.max_visibility, mask=mask)
            for clean_levels, levels, mask in zip(batch.clean, changed, batch.masks, strict=True)
        ]
    return Perturbed(changed, steps.tolist())


def _ensemble(goals: Sequence[Objective], mask: Tensor | None, *, for_unknown: bool) -> Objective:
    """One objective for several encoders; the only one as it is."""
    if len(goals) == 1:
        return goals[0]
    return mean_of(goals) if for_unknown else maximin_of(goals, mask=mask)


def _penalises_visibility(config: ProtectConfig) -> bool:
    return config.visibility_weight > 0 or config.max_visibility is not None


_UNTIL_MARGIN = 1.15
"""Windows go beyond the wanted gain by this factor: the gain of the whole, rounded picture is a little lower, and the change is
scaled down afterwards."""


def _stop(
    batch: Batch,
    window: Window,
    clean: Tensor,
    before: Tensor,
    parts: Sequence[SmallerPart | None],
    config: ProtectConfig,
    surrogate: AnySurrogate,
) -> Stop | None:
    """Stops at the wanted gain over noise at every encoder and scale; None if none is wanted.

    Args:
        parts: scales at which the window is seen; None is the picture's own.
    """
    if config.until is None:
        return None
    noise = _noise_like(clean, batch, window, config).to(clean.device)
    factor = _UNTIL_MARGIN * float(config.until)
    with torch.no_grad():
        return moved_enough(
            [_view(member, part, clean, before, noise, factor=factor) for member in surrogate.members for part in parts]
        )


def _view(
    member: Surrogate, part: SmallerPart | None, clean: Tensor, before: Tensor, noise: Tensor, *, factor: float
) -> LatentView:
    if part is None:
        noisy = (clean + noise).clamp(0.0, 1.0)
        return LatentView.beyond_noise(_means(member), _means(member)(clean), _means(member)(noisy), factor)
    shown, at_rest = part, replace(part, now=part.clean)
    return LatentView.beyond_noise(
        lambda pixels: _means(member)(shown.with_change(pixels - before)),
        _means(member)(part.clean),
        _means(member)(at_rest.with_change(noise)),
        factor,
    )


def _means(member: Surrogate) -> Callable[[Tensor], Tensor]:
    return lambda pixels: member.posterior(pixels).mean


def _noise_like(clean: Tensor, batch: Batch, window: Window, config: ProtectConfig) -> Tensor:
    """Uniform noise of the budget, the same for all pictures of a batch, where they may change."""
    generator = torch.Generator().manual_seed(config.seed)
    budget = config.budget_levels
    noise = torch.randint(-budget, budget + 1, (1, *clean.shape[1:]), generator=generator).float() / 255
    noise = torch.cat([noise[:, :1].expand_as(noise) if gray else noise for gray in batch.gray])
    editable = _editable(batch, window)
    return noise if editable is None else noise * editable


@dataclass(frozen=True)
class _ScaleTerm:
    """Loss of one encoder at one scale: on the window, or on its surroundings in a smaller picture."""

    objective: LatentObjective
    part: SmallerPart | None = None
    factor: float = 1.0


def _scale_terms(
    clean: Tensor,
    parts: Sequence[tuple[SmallerPart, float]],
    config: ProtectConfig,
    surrogate: Surrogate,
    *,
    native: bool,
) -> list[_ScaleTerm]:
    logarithmic = _penalises_visibility(config)
    terms = [_ScaleTerm(latent_objective(surrogate, config, clean, logarithmic=logarithmic))] if native else []
    for part, factor in parts:
        objective = latent_objective(surrogate, config, part.clean, logarithmic=logarithmic)
        # Sums over the latent grow with the number of pixels; logarithms need no such factor.
        terms.append(_ScaleTerm(objective, part, 1.0 if logarithmic else factor))
    return terms


def _mean_over_scales(
    terms: Sequence[_ScaleTerm], before: Tensor, transform: Transform | None, generator: torch.Generator
) -> Objective:
    """Mean over scales of the loss per pixel, times the window's number of pixels. The transform is applied only where
    gradients are computed."""

    def objective(pixels: Tensor) -> Tensor:
        values = []
        for term in terms:
            scaled = pixels if term.part is None else term.part.with_change(pixels - before)
            if transform is not None and pixels.requires_grad:
                scaled = transform(scaled, generator)
            values.append(term.factor * term.objective(scaled))
        return torch.stack(values).mean(dim=0) if len(values) > 1 else values[0]

    return objective


def _total_progress(on_step: Progress | None, window: int, of: int, objective: LatentObjective) -> OnStep | None:
    if on_step is None:
        return None
    return lambda done, steps, _: on_step(window * steps + done, of * steps, float(objective.latest.mean()))


def _editable(batch: Batch, window: Window) -> Tensor | None:
    """Mask of a window, `(B, 1, h, w)`: 1 where the pictures may change, else 0; None is everywhere."""
    if all(mask is None for mask in batch.masks):
        return None
    everywhere = np.ones(batch.size, dtype=bool)
    masks = [(everywhere if mask is None else mask)[window.seen] for mask in batch.masks]
    return torch.from_numpy(np.stack(masks)[:, None].astype(np.float32))


def _open_mask(batch: Batch, window: Window) -> Tensor | None:
    """`_editable`, with zeros where earlier windows are final."""
    editable, (rows, columns) = _editable(batch, window), window.open_of_seen
    if (rows.start, columns.start) == (0, 0):
        return editable
    (top, bottom), (left, right) = ((side.start, side.stop) for side in window.seen)
    mask = torch.zeros(len(batch.clean), 1, bottom - top, right - left)
    mask[..., rows, columns] = 1.0 if editable is None else editable[..., rows, columns]
    return mask


def init_for(surrogate: AnySurrogate, config: ProtectConfig) -> UniversalPerturbation | None:
    """The universal perturbation to initialise with; None initialises with zero.

    Universal perturbations are trained for single encoders, modes without overrides, and the picture's own size.

    Raises:
        UsageError: no universal perturbation fits the request, and the preset takes no steps.
        ModelError: the file of universal perturbations is damaged.
    """
    if config.recipe.init == "zero":
        return None
    reason = _why_no_universal(surrogate, config)
    if reason is None:
        return universal_perturbations()[_key(surrogate, config)]
    if PRESETS[config.preset].steps == 0:
        raise UsageError(f"preset {config.preset} is a universal perturbation, and {reason}; use `preset=fast`")
    return None


def _why_no_universal(surrogate: AnySurrogate, config: ProtectConfig) -> str | None:
    """Reason why no universal perturbation fits, for messages; None if one fits."""
    if len(surrogate.members) > 1:
        return "it supports one encoder at a time"
    if config.mode_label == "custom":
        return "none is trained for another target variance or direction than the mode's"
    if set(config.scales) - {"native"}:
        return "it supports only the picture's own size"
    if config.survive is not None:
        return f"`survive={config.survive}` needs gradient steps"
    if _key(surrogate, config) not in universal_perturbations():
        return f"none is trained for {surrogate.name} in mode {config.mode} (python -m training universal trains them)"
    return None


def _key(surrogate: AnySurrogate, config: ProtectConfig) -> str:
    return f"{surrogate.digest}/{config.mode}"
