"""Arms of the cost benchmark: this program, the published loop, and methods from the literature (as in `pca-protect bench
editing`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from pca_protect.attack.losses import posterior_collapse
from pca_protect.attack.objectives import CollapseObjective
from pca_protect.attack.pgd import Optimized
from pca_protect.config import ProtectConfig
from pca_protect.device import cuda_arithmetic
from pca_protect.engine import run_recipe
from pca_protect.eval.arms.denoiser import denoiser_of
from pca_protect.eval.arms.perturb import Target, generator_for, objective_and_start, request_for
from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.benches.cost.arms import MODE, Arm, Prepared
from pca_protect.eval.benches.cost.published_loop import published_loop
from pca_protect.eval.benches.cost.random_models import random_denoiser
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.pictures import to_pixels
from pca_protect.protection import protect
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate


def method(arm: Arm) -> Prepared:
    """A method of `eval/arms/registry.py`, one picture at a time."""
    what = ARMS[arm.name]
    target = target_of(arm)
    clean = to_pixels(arm.picture).to(target.surrogate.device)

    def run(steps: int, on_step: Callable[[], None]) -> Optimized:
        config = request_for(what, steps=steps)
        generator = generator_for(arm.picture.rgb, seed=0)  # random draws do not affect the cost
        objective, start = objective_and_start(what, clean, target, config=config, generator=generator)
        return run_recipe(clean, objective, config, init=start, on_step=lambda done, of, values: on_step())

    return run, target.surrogate.name, target.surrogate.dtype


def target_of(arm: Arm) -> Target:
    """The models used by a method: the encoder, and a UNet only if needed. Releases all other parts of an editor before the
    first step."""
    if isinstance(arm.unet, str):
        denoiser = denoiser_of(load_editor(arm.unet, device=arm.device, precision=arm.precision))
        return Target(denoiser.surrogate, denoiser)
    surrogate = load_surrogate(arm.vae, device=arm.device, precision=arm.precision)
    return Target(surrogate, None if arm.unet is None else random_denoiser(arm.unet, surrogate))


def _bare(arm: Arm) -> Prepared:
    surrogate, clean = _surrogate_and_pixels(arm)

    def run(steps: int, on_step: Callable[[], None]) -> None:
        for _ in range(steps):
            pixels = clean.clone().requires_grad_()
            posterior = surrogate.posterior(pixels)
            torch.autograd.grad(posterior_collapse(posterior.mean, posterior.logvar).sum(), pixels)
            on_step()

    return run, surrogate.name, surrogate.dtype


def _diffusers(arm: Arm) -> Prepared:
    """`bare` with the encoder of diffusers; weights are frozen in both."""
    vae: AutoencoderKL = AutoencoderKL.from_pretrained(arm.vae).to(arm.device).eval()
    vae.requires_grad_(False)
    clean = to_pixels(arm.picture).to(arm.device)

    def run(steps: int, on_step: Callable[[], None]) -> None:
        for _ in range(steps):
            pixels = clean.clone().requires_grad_()
            posterior = vae.encode(pixels * 2 - 1).latent_dist
            torch.autograd.grad(posterior_collapse(posterior.mean, posterior.logvar).sum(), pixels)
            on_step()

    return run, arm.vae, vae.dtype


def _protect(arm: Arm) -> Prepared:
    surrogate = load_surrogate(arm.vae, device=arm.device, precision=arm.precision)

    def run(steps: int, on_step: Callable[[], None]) -> None:
        config = ProtectConfig(mode=MODE, preset=arm.name, steps=steps)
        protect(arm.picture, config, surrogate=surrogate, on_step=lambda done, of, loss: on_step())

    return run, surrogate.name, surrogate.dtype


def _ours(arm: Arm) -> Prepared:
    surrogate, clean = _surrogate_and_pixels(arm)
    if arm.name == "ours-little-memory":
        surrogate = surrogate.checkpointed

    def run(steps: int, on_step: Callable[[], None]) -> None:
        config = ProtectConfig(mode=MODE, preset="paper", steps=steps)
        with cuda_arithmetic(clean.device, benchmark=True):
            objective = CollapseObjective(surrogate.posterior, *config.objective, clean)
            run_recipe(clean, objective, config, on_step=lambda done, of, values: on_step())

    return run, surrogate.name, surrogate.dtype


def _published(arm: Arm) -> Prepared:
    vae: AutoencoderKL = AutoencoderKL.from_pretrained(arm.vae).to(arm.device).eval()
    clean = to_pixels(arm.picture).to(arm.device)
    variance, direction = ProtectConfig(mode=MODE).objective
    assert not isinstance(variance, str)
    for parameter in vae.encoder.parameters():
        parameter.detach().sum()  # reads memory-mapped weights, so that they count as resident memory

    def run(steps: int, on_step: Callable[[], None]) -> None:
        ascend = direction == "up"
        published_loop(vae, clean, target_variance=variance, ascend=ascend, steps=steps, on_step=on_step)

    return run, arm.vae, vae.dtype


PROGRAMS: dict[str, Callable[[Arm], Prepared]] = {
    "bare": _bare,
    "diffusers": _diffusers,
    "paper": _protect,
    "balanced": _protect,
    "fast": _protect,
    "published": _published,
    "ours": _ours,
    "ours-little-memory": _ours,
    "ours-compiled": _ours,
    "ours-fast": _ours,
}
"""Arm name -> the function that loads and prepares it."""


def _surrogate_and_pixels(arm: Arm) -> tuple[Surrogate, Tensor]:
    compiled = arm.name == "ours-compiled"
    surrogate = load_surrogate(arm.vae, device=arm.device, precision=arm.precision, compiled=compiled)
    return surrogate, to_pixels(arm.picture).to(arm.device).repeat(arm.batch, 1, 1, 1)
