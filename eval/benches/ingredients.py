"""`pca-protect bench ingredients`: what makes a protection against some encoders hold for one that it never saw, one ingredient
at a time.

Encoders take turns at being unseen; the others are protected against, together or each alone. Measured is how far the unseen
one's latent moves, in norms of the clean latent, on 8-bit pictures. All ingredients share budget, steps and pictures.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pca_protect.attack.ensemble import fill_budget, mean_of
from pca_protect.attack.pgd import LinfBall, MomentumStep, Objective, StepRule, cosine, optimize
from pca_protect.attack.transforms import (
    BETWEEN_ENCODERS,
    Transform,
    blur,
    compose,
    crop_and_resize,
    downscale_upscale,
    gaussian_noise,
    jpeg,
    random_choice,
    random_roll,
    scale_brightness,
)
from pca_protect.config import ProtectConfig
from pca_protect.engine import latent_objective, run_recipe
from pca_protect.eval.arms.noise import uniform_noise
from pca_protect.eval.arms.perturb import generator_for, protected
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.protection_configs import IngredientsConfig
from pca_protect.eval.latent_shift import latent_shift
from pca_protect.eval.pictures import Rgb, square_picture
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.eval.stats import ratio_of_means
from pca_protect.image.tensors import to_tensor, to_uint8
from pca_protect.surrogates.encoder import Surrogate, ensemble
from pca_protect.surrogates.load import load_surrogate

RADIUS = ProtectConfig.budget_levels / 255
RELATIVE_STEP, MOMENTUM = 0.8, 0.7
Make = Callable[[Surrogate, Tensor], Objective]
NOTHING = compose()


def power(surrogate: Surrogate, clean: Tensor) -> Objective:
    return latent_objective(surrogate, ProtectConfig(mode="subtle"), clean)


def collapse(surrogate: Surrogate, clean: Tensor) -> Objective:
    return latent_objective(surrogate, ProtectConfig(mode="diffusion"), clean, logarithmic=True)


def distance(surrogate: Surrogate, clean: Tensor) -> Objective:
    """Away from the clean latent, each channel in units of its power, logarithmic."""
    with torch.no_grad():
        mean = surrogate.posterior(clean).mean
    units = mean.square().mean(dim=(2, 3), keepdim=True)

    def objective(pixels: Tensor) -> Tensor:
        moved = (surrogate.posterior(pixels).mean - mean).square() / units
        return -moved.flatten(start_dim=1).mean(dim=1).clamp_min(1e-12).log()

    return objective


def spectrum(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Frequencies scaled at random, after noise (Long et al. 2022, arXiv 2207.05382)."""
    noisy = pixels + torch.randn(pixels.shape, generator=generator) * RADIUS / 2
    waves = torch.fft.rfft2(noisy)
    scaled: Tensor = torch.fft.irfft2(waves * (0.5 + torch.rand(waves.shape, generator=generator)), s=pixels.shape[-2:])
    return scaled


def shuffled_blocks(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Two by two blocks, cut at random on the latent grid, in another order (Wang et al. 2024, arXiv 2308.10299)."""
    for axis in (-2, -1):
        length = pixels.shape[axis]
        cut = int(torch.randint(length // 4, 3 * length // 4, (), generator=generator)) // 8 * 8
        if torch.rand((), generator=generator) < 0.5:
            pixels = torch.cat([pixels.narrow(axis, cut, length - cut), pixels.narrow(axis, 0, cut)], dim=axis)
    return pixels


def mirrored(pixels: Tensor, generator: torch.Generator) -> Tensor:
    return pixels.flip(-1) if torch.rand((), generator=generator) < 0.5 else pixels


def neighbours(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Somewhere in the budget around: averaged over, the gradient of a neighbourhood (variance tuning; Wang & He 2021, arXiv
    2103.15571)."""
    return (pixels + (torch.rand(pixels.shape, generator=generator) * 2 - 1) * RADIUS).clamp(0, 1)


class Smoothed:
    """Another rule on blurred gradients (translation invariance; Dong et al. 2019, arXiv 1904.02884)."""

    def __init__(self, inside: StepRule, sigma_px: float) -> None:
        self._inside, self._blur = inside, blur(sigma_px)

    def direction(self, gradient: Tensor) -> Tensor:
        largest = gradient.abs().amax().clamp_min(1e-30)
        shown = self._blur(gradient / (2 * largest) + 0.5, torch.Generator()) - 0.5  # blur takes pixels
        return self._inside.direction(shown)


@dataclass(frozen=True)
class Ingredient:
    name: str
    make: Make = power
    transform: Transform = NOTHING
    copies: int = 1
    momentum: float = MOMENTUM
    smooth_px: float = 0.0
    times_steps: int = 1
    flat: bool = False
    corners: bool = False


PLAIN = Ingredient("ensemble, plain")
INGREDIENTS = (
    PLAIN,
    replace(PLAIN, name="distance instead of power", make=distance),
    replace(PLAIN, name="published loss instead of power", make=collapse),
    replace(PLAIN, name="no momentum", momentum=0.0),
    replace(PLAIN, name="momentum 1", momentum=1.0),
    replace(PLAIN, name="input diversity: 0.7 to 1 of the size and back", transform=downscale_upscale((0.7, 1.0))),
    replace(PLAIN, name="input diversity: random crops of 10 %", transform=crop_and_resize((0.0, 0.1))),
    replace(PLAIN, name="spectrum", transform=spectrum),
    replace(PLAIN, name="block shuffle", transform=shuffled_blocks),
    replace(PLAIN, name="mirroring", transform=mirrored),
    replace(PLAIN, name="JPEG 60 to 90", transform=jpeg((60, 90))),
    replace(PLAIN, name="translation invariance, 1 px", smooth_px=1.0),
    replace(PLAIN, name="variance tuning, 3 neighbours", transform=neighbours, copies=3),
    replace(PLAIN, name="flat minima", flat=True),
    replace(PLAIN, name="shifts up to 7 px", transform=random_roll(7)),
    replace(PLAIN, name="dimming to 0.6", transform=scale_brightness((0.6, 1.0))),
    replace(PLAIN, name="noise 0.06", transform=gaussian_noise(0.06)),
    replace(PLAIN, name="JPEG 60 to 90 in half of the steps", transform=random_choice([NOTHING, jpeg((60, 90))])),
    replace(PLAIN, name="the whole budget in the end", corners=True),
    replace(PLAIN, name="shifts, dimming, noise, JPEG in half of the steps", transform=BETWEEN_ENCODERS),
    replace(PLAIN, name="these, and the whole budget in the end", transform=BETWEEN_ENCODERS, corners=True),
    replace(PLAIN, name="these, twice the steps", transform=BETWEEN_ENCODERS, corners=True, times_steps=2),
    replace(PLAIN, name="plain, twice the steps", times_steps=2),
)


WHOLE = ("diffusion", "subtle")
"""Modes in which protections are made as a user makes them, in the default preset's steps."""


def perturbed(picture: Rgb, against: Sequence[Surrogate], what: Ingredient, *, steps: int, seed: int) -> Rgb:
    clean = to_tensor([picture]).to(against[0].device)
    generator = generator_for(picture, seed)

    def seen(objective: Objective) -> Objective:
        def shown(pixels: Tensor) -> Tensor:
            if not pixels.requires_grad:
                return objective(pixels)
            copies = [objective(what.transform(pixels, generator)) for _ in range(what.copies)]
            value = torch.stack(copies).mean(dim=0)
            if not what.flat:
                return value
            (gradient,) = torch.autograd.grad(value.sum(), pixels)
            # A step along the gradient and back: what stays low around is flat (Ge et al. 2023, arXiv 2306.05225).
            return (value.detach() + objective((pixels + RADIUS / 4 * gradient.sign()).clamp(0, 1))) / 2

        return shown

    members = [seen(what.make(one, clean)) for one in against]
    rule: StepRule = MomentumStep(what.momentum)
    found = optimize(
        clean,
        members[0] if len(members) == 1 else mean_of(members),
        constraint=LinfBall(RADIUS),
        step_rule=Smoothed(rule, what.smooth_px) if what.smooth_px else rule,
        schedule=cosine,
        step_size=RELATIVE_STEP * RADIUS,
        steps=steps * what.times_steps,
        keep_best=False,
        init=((torch.rand(clean.shape, generator=generator) - 0.5) * RADIUS).to(clean.device),
    )
    pixels = fill_budget(found.pixels, clean, radius=RADIUS) if what.corners else found.pixels
    return to_uint8(pixels)[0]


def published(picture: Rgb, surrogate: Surrogate) -> Rgb:
    clean, config = to_tensor([picture]).to(surrogate.device), ProtectConfig(preset="paper")
    return to_uint8(run_recipe(clean, latent_objective(surrogate, config, clean), config).pixels)[0]


def measure_ingredients(config: IngredientsConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Measure what `folder` does not hold yet, and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds something else; see `Results`.
        ModelError, DeviceError: an encoder or the device cannot be had.
    """
    bench = Bench("ingredients", config, folder, on_progress)
    surrogates = {name: load_surrogate(name, device=config.device) for name in config.vaes}
    bench.open(
        budget_levels=ProtectConfig.budget_levels,
        rel_stepsize=RELATIVE_STEP,
        vae_weights={name: one.digest for name, one in surrogates.items()},
    )

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        picture = square_picture(path, config.size_px).rgb
        for unseen in missing:
            others = {name: one for name, one in surrogates.items() if name != unseen}
            yield (
                unseen,
                {
                    name: latent_shift(surrogates[unseen], picture, changed).latent
                    for name, changed in _made(picture, others, config)
                },
            )

    entries = bench.entries("unseen encoders", config.vaes, measure)
    return bench.finish(
        {"ingredients": [row for unseen in entries for row in ingredient_rows(unseen, entries[unseen])]}
    )


def _made(picture: Rgb, others: Mapping[str, Surrogate], config: IngredientsConfig) -> Iterator[tuple[str, Rgb]]:
    """Pictures by the name of what made them."""
    together = list(others.values())
    yield "noise", uniform_noise(picture, ProtectConfig.budget_levels, generator_for(picture, config.seed))
    for name, one in others.items():
        yield f"{name} alone, published loop", published(picture, one)
        yield f"{name} alone, power", perturbed(picture, [one], PLAIN, steps=config.steps, seed=config.seed)
    for what in INGREDIENTS:
        yield what.name, perturbed(picture, together, what, steps=config.steps, seed=config.seed)
    for mode in WHOLE:
        yield (
            f"whole protections, mode {mode}",
            protected(picture, ProtectConfig(mode=mode, for_unknown=True), ensemble(together)),
        )


def ingredient_rows(unseen: str, measured: Mapping[str, Json]) -> list[Row]:
    """`latent`: mean shift; `ratio`, with its 95 % interval: to the best single surrogate with the published loop.

    Args:
        measured: picture -> ingredient -> latent shift of the unseen encoder.
    """
    if not measured:
        return []
    pictures = list(measured.values())
    by_name = {name: [float(one[name]) for one in pictures] for name in pictures[0]}
    alone = [name for name in by_name if name.endswith("alone, published loop")]
    best = max(alone, key=lambda name: statistics.fmean(by_name[name]))
    rows: list[Row] = []
    for name, values in by_name.items():
        ratio = ratio_of_means(values, by_name[best])
        rows.append(
            {
                "unseen": unseen,
                "ingredient": name,
                "latent": statistics.fmean(values),
                "noise_latent": statistics.fmean(by_name["noise"]),
                "against": best,
                "ratio": ratio.value,
                "ci_low": ratio.ci_low,
                "ci_high": ratio.ci_high,
                "n": len(values),
            }
        )
    return rows
