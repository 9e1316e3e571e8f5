"""What is trained, and for how long: the one table of the embedded VAEs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VaeRecipe:
    """One VAE of the Stable Diffusion kind and the loss mix it is trained with.

    The loss is  L1 + mse * MSE + detail * L1 of the two finest Laplacian bands + texture * L1 of the texture head
    + kl * KL to N(0, 1) per latent element.
    """

    widths: tuple[int, ...]
    layers_per_block: int
    latent_channels: int
    groups: int
    mse: float
    detail: float
    texture: float
    kl: float
    seed: int


@dataclass(frozen=True)
class Stage:
    """So many optimiser steps on crops of one size."""

    steps: int
    batch: int
    crop_px: int


@dataclass(frozen=True)
class Schedule:
    """Stages in order; the learning rate warms up, then falls along one cosine over all of them."""

    stages: tuple[Stage, ...]
    learning_rate: float

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int) -> Stage:
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]


RECIPES = {
    "pocket": VaeRecipe(
        widths=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=4,
        groups=8,
        mse=2.0,
        detail=0.5,
        texture=0.06,
        kl=2e-4,
        seed=0,
    ),
}

SCHEDULES = {
    # About an hour on one CPU core.
    "cpu": Schedule((Stage(6000, 16, 64), Stage(1000, 6, 128)), 2e-3),
    # To go on from weights trained before, after a change of the loss; minutes on two CPU cores.
    "cpu-refine": Schedule((Stage(1500, 16, 64), Stage(400, 6, 128)), 1e-3),
    # Minutes on a data-centre GPU; not run yet.
    "gpu": Schedule((Stage(20000, 64, 96), Stage(10000, 32, 192)), 1.5e-3),
}
