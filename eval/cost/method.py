"""Methods from the literature as arms of the cost benchmark: the same runs as in `pca-protect bench edit`."""

from __future__ import annotations

from collections.abc import Callable

from pca_protect.attack.pgd import Optimized
from pca_protect.engine import run_recipe
from pca_protect.eval.arms.denoiser import denoiser_of
from pca_protect.eval.arms.perturb import Target, generator_for, objective_and_start, request_for
from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.cost.arm import Arm, Prepared
from pca_protect.eval.cost.random_unet import random_denoiser
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.pictures import to_pixels
from pca_protect.surrogates.load import load_surrogate


def method(arm: Arm) -> Prepared:
    """A method of `eval/arms/registry.py`, one picture at a time."""
    what = ARMS[arm.name]
    target = target_of(arm)
    clean = to_pixels(arm.picture).to(target.surrogate.device)

    def run(steps: int, on_step: Callable[[], None]) -> Optimized:
        config = request_for(what, steps=steps)
        generator = generator_for(arm.picture.rgb, seed=0)  # draws do not change what a method costs
        objective, start = objective_and_start(what, clean, target, config=config, generator=generator)
        return run_recipe(clean, objective, config, init=start, on_step=lambda done, of, values: on_step())

    return run, target.surrogate.name, target.surrogate.dtype


def target_of(arm: Arm) -> Target:
    """What a method looks into, and nothing else: whoever needs the encoder alone does not pay for a UNet. What else an
    editor consists of is let go before the first step."""
    if isinstance(arm.unet, str):
        denoiser = denoiser_of(load_editor(arm.unet, device=arm.device, precision=arm.precision))
        return Target(denoiser.surrogate, denoiser)
    surrogate = load_surrogate(arm.vae, device=arm.device, precision=arm.precision)
    return Target(surrogate, None if arm.unet is None else random_denoiser(arm.unet, surrogate))
