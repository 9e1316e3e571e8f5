"""Architectures, losses and schedules of the embedded models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KlRecipe:
    """One VAE of the Stable Diffusion kind and the weights of its loss.

    The loss is  l1 * L1 + mse * MSE + detail * L1 of the two finest Laplacian bands + texture * L1 of the texture head
    + kl * KL to N(0, 1) per latent element.

    Attributes:
        texture_power: exponent of the texture amplitudes before the head learns them. A smaller exponent raises the latent shift
            under noise and lowers it under attack.
        half: the half of the training pictures to use, 0 or 1; None for all.
    """

    widths: tuple[int, ...]
    layers_per_block: int
    latent_channels: int
    groups: int
    l1: float
    mse: float
    detail: float
    texture: float
    texture_power: float
    kl: float
    seed: int
    half: int | None = None


@dataclass(frozen=True)
class TinyRecipe:
    """An `AutoencoderTiny` distilled from another embedded VAE: its encoder learns the teacher's latent, its decoder the
    picture. A further term reconstructs the picture from its latent with the teacher's decoder."""

    teacher: str
    width: int
    blocks: int
    through_teacher: float
    seed: int


@dataclass(frozen=True)
class Stage:
    """A number of optimiser steps on crops of one size."""

    steps: int
    batch: int
    crop_px: int


@dataclass(frozen=True)
class Schedule:
    """Stages in order; the learning rate warms up, then follows one cosine over all stages."""

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


VAES: dict[str, KlRecipe | TinyRecipe] = {
    "pocket": KlRecipe(
        widths=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=4,
        groups=8,
        l1=1.0,
        mse=2.0,
        detail=0.5,
        texture=0.3,
        texture_power=1.0,
        kl=2e-4,
        seed=0,
        half=0,
    ),
    "pocket-b": KlRecipe(
        widths=(16, 32, 48, 96),
        layers_per_block=1,
        latent_channels=4,
        groups=8,
        l1=1.0,
        mse=6.0,
        detail=0.3,
        texture=0.12,
        texture_power=0.75,
        kl=4e-4,
        seed=1,
        half=1,
    ),
    "pocket-16": KlRecipe(
        widths=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=16,
        groups=8,
        l1=1.0,
        mse=2.0,
        detail=0.5,
        texture=0.12,
        texture_power=0.5,
        kl=2e-4,
        seed=2,
    ),
    "pocket-tiny": TinyRecipe(teacher="pocket", width=32, blocks=2, through_teacher=1.0, seed=3),
}

VAE_SCHEDULES = {
    # From scratch; half an hour on one CPU core.
    "cpu": Schedule((Stage(5000, 16, 64),), 2e-3),
    # To continue from earlier weights after a change of the loss.
    "cpu-refine": Schedule((Stage(5500, 16, 64),), 1e-3),
    # For pocket-tiny.
    "cpu-tiny": Schedule((Stage(2000, 16, 64),), 2e-3),
    # With --decoder-only, to improve the decoder.
    "cpu-decoder": Schedule((Stage(1500, 16, 64),), 1e-3),
    # Minutes on a data-centre GPU; not run yet.
    "gpu": Schedule((Stage(12000, 64, 96), Stage(4000, 32, 192)), 1.5e-3),
}


@dataclass(frozen=True)
class EditorRecipe:
    """One text-guided editor: a UNet and a text encoder trained together on the latents of an embedded VAE.

    It predicts v (Salimans and Ho, arXiv 2202.00512) under min-SNR weights (Hang et al., arXiv 2303.09556).

    Attributes:
        vae: the VAE of the edited latents.
        largest_snr: gamma of the min-SNR weights.
        noise: factor on Stable Diffusion's betas. The same noise destroys more of a 32x32 latent than of Stable Diffusion's
            64x64, which has four times the positions (Hoogeboom et al., arXiv 2301.11093, section 3.1), and fewer channels carry
            less information per position: at factor 1 nothing was recognisable at strength 0.6.
        offset: standard deviation of noise that is constant over a channel. It teaches the model to change the mean colour, so
            that a prompt can turn day into night.
        without_prompt: share of samples without a prompt, for classifier-free guidance.
    """

    vae: str
    widths: tuple[int, ...]
    layers_per_block: int
    text_width: int
    text_layers: int
    seed: int
    noise: float
    offset: float
    largest_snr: float = 5.0
    without_prompt: float = 0.12


EDITORS = {
    "pocket-editor": EditorRecipe("pocket", (64, 96, 112), 1, 128, 2, seed=10, noise=0.15, offset=0.5),
    "pocket-editor-16": EditorRecipe("pocket-16", (64, 96, 112), 1, 128, 2, seed=11, noise=0.456, offset=0.3),
}

EDITOR_SCHEDULES = {
    # An hour or less on one CPU core.
    "cpu": Schedule((Stage(5200, 32, 128), Stage(300, 8, 256)), 8e-4),
    # With --start-from another editor.
    "cpu-start-from": Schedule((Stage(2900, 32, 128), Stage(200, 8, 256)), 8e-4),
    # With --start-from the same editor, after a change of the noise.
    "cpu-refine": Schedule((Stage(620, 32, 128), Stage(80, 8, 256)), 5e-4),
    # Minutes on a data-centre GPU; not run yet.
    "gpu": Schedule((Stage(16000, 256, 128), Stage(4000, 64, 256)), 6e-4),
}


@dataclass(frozen=True)
class InstructRecipe:
    """One instruction editor, which continues the training of another embedded editor with the picture's latent as further
    input.

    Attributes:
        vae: the VAE of the latents.
        start: the editor whose UNet, text encoder and tokenizer it starts from.
        dropout: share of samples without the instruction, without the picture, and without both (each), for
            classifier-free guidance; the value of InstructPix2Pix.
    """

    vae: str
    start: str
    seed: int
    dropout: float = 0.05


INSTRUCT_EDITORS = {"pocket-instruct": InstructRecipe("pocket", "pocket-editor", seed=12)}

INSTRUCT_SCHEDULES = {
    # Ten minutes on one CPU core. Always whole pictures: some edits depend on the position.
    "cpu": Schedule((Stage(4500, 4, 256),), 8e-4),
    # Minutes on a data-centre GPU; not run yet.
    "gpu": Schedule((Stage(12000, 64, 256),), 5e-4),
}
