"""One arm on one picture: the same optimiser, budget, steps and precision for every method."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pca_protect.attack.pgd import Objective
from pca_protect.config import ProtectConfig
from pca_protect.engine import latent_objective, run_recipe
from pca_protect.engine import perturb as perturb_batch
from pca_protect.errors import UsageError
from pca_protect.eval.arms.denoiser import Denoiser, denoising_error, score_distillation
from pca_protect.eval.arms.encoder import mean_away, mean_to_target, mean_to_zero, moments_away, pattern
from pca_protect.eval.arms.noise import uniform_noise
from pca_protect.eval.arms.registry import NOISE_LINF, NOISE_VISIBLE, Arm
from pca_protect.eval.pictures import Rgb, to_pixels, with_pixels
from pca_protect.image.batch import Batch
from pca_protect.initialisation import init_for
from pca_protect.io.picture import Picture
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate

METHOD_PRESET = "paper"
"""Optimiser of every method, including the published posterior collapse: 40 sign steps of an eighth of the budget; the last
iterate is kept."""


@dataclass(frozen=True)
class Target:
    """Models that a method attacks.

    Attributes:
        surrogate: an encoder.
        denoiser: the UNet behind it; None if no arm needs one.
    """

    surrogate: Surrogate
    denoiser: Denoiser | None = None


def perturb(arm: Arm, picture: Rgb, target: Target, *, budget_levels: int, seed: int) -> Rgb:
    """The picture `(H, W, 3)` after an arm, rounded to 8 bits and within the budget.

    Args:
        arm: any but `noise-visible`, which depends on the other arms.
        seed: determines every random draw, together with the picture.
    """
    assert arm.name != NOISE_VISIBLE
    if arm.name == NOISE_LINF:
        return uniform_noise(picture, budget_levels, generator_for(picture, seed))
    config = request_for(arm, budget_levels=budget_levels, seed=seed)
    if arm.mode:
        return protected(picture, config, target.surrogate)
    original = Picture(picture)
    clean = to_pixels(original).to(target.surrogate.device)
    objective, start = objective_and_start(arm, clean, target, config=config, generator=generator_for(picture, seed))
    optimized = run_recipe(clean, objective, config, init=start)
    return with_pixels(original, optimized.pixels).rgb


def refusal(arm: Arm, surrogate: Surrogate) -> str:
    """Reason why an encoder cannot have an arm that needs no denoiser; empty if it can."""
    if arm.name in _NEEDS_VARIANCE and not surrogate.has_variance:
        return f"{surrogate.name} has no variance"
    if not arm.mode:
        return ""
    try:
        init_for(surrogate, request_for(arm))
    except UsageError as error:
        return str(error)
    return ""


def protected(picture: Rgb, config: ProtectConfig, surrogate: AnySurrogate) -> Rgb:
    """A picture `(H, W, 3)` as protected by the program, without the measurements of its effect."""
    return perturb_batch(Batch([picture], [None], [False]), config, surrogate=surrogate, tile_px=config.tile_px).levels[
        0
    ]


def request_for(
    arm: Arm,
    *,
    budget_levels: int = ProtectConfig.budget_levels,
    steps: int | None = None,
    seed: int = ProtectConfig.seed,
) -> ProtectConfig:
    """Configuration of the optimiser for an arm other than noise.

    Args:
        steps: None for the preset's number.
    """
    return ProtectConfig(
        mode=arm.mode or ProtectConfig.mode,
        preset=arm.preset or METHOD_PRESET,
        budget_levels=budget_levels,
        max_visibility=arm.max_visibility,
        survive=arm.survive,
        steps=steps,
        seed=seed,
    )


def objective_and_start(
    arm: Arm, clean: Tensor, target: Target, *, config: ProtectConfig, generator: torch.Generator
) -> tuple[Objective, Tensor | None]:
    """Objective of an arm other than noise, and its initial perturbation; None starts at the clean picture.

    Args:
        clean: pixels `(1, 3, H, W)` in [0, 1], on the target's device.
        target: has a denoiser if the arm needs one.
        config: see `request_for`.
        generator: source of all random draws, including those of the objective's later calls.
    """
    if arm.mode:
        objective: Objective = latent_objective(target.surrogate, config, clean)
    else:
        objective = _METHODS[arm.name](target, clean, generator)
    if arm.name not in _RANDOM_START:
        return objective, None
    noise = torch.rand(clean.shape, generator=generator) * 2 - 1
    return objective, noise.to(clean.device) * config.budget_levels / 255


def generator_for(picture: Rgb, seed: int) -> torch.Generator:
    """A random generator seeded from a picture and a seed."""
    key = hashlib.sha256(np.ascontiguousarray(picture).tobytes() + str(seed).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))


def _denoiser(target: Target) -> Denoiser:
    assert target.denoiser is not None
    return target.denoiser


_METHODS: dict[str, Callable[[Target, Tensor, torch.Generator], Objective]] = {
    "photoguard": lambda target, clean, _: mean_to_zero(target.surrogate),
    "latent-distance": lambda target, clean, _: mean_away(target.surrogate, clean),
    "pid": lambda target, clean, _: moments_away(target.surrogate, clean),
    "mist": lambda target, clean, _: mean_to_target(target.surrogate, pattern(clean.shape[-1]).to(clean.device)),
    "advdm": lambda target, clean, generator: denoising_error(_denoiser(target), [generator]),
    "sds-plus": lambda target, clean, generator: score_distillation(_denoiser(target), [generator], "up"),
    "sds-minus": lambda target, clean, generator: score_distillation(_denoiser(target), [generator], "down"),
}

_NEEDS_VARIANCE = ("pid",)

_RANDOM_START = ("latent-distance", "pid")
"""Methods with zero gradient at the clean picture. They start from uniform noise inside the budget."""
