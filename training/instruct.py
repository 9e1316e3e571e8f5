"""Train an embedded instruction editor on pairs of a photograph and its rendering; `--export` writes the pipeline.

    python -m training pocket-instruct --data DATA/train
    python -m training pocket-instruct --data DATA/train --export

The method is InstructPix2Pix (Brooks et al., arXiv 2211.09800, section 3.2): the photograph's latent enters the UNet as further
channels with weights that start at zero. A stopped run resumes. Export the editor that it starts from first; see `editor.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from pca_protect.eval.local_edits import LOCAL_EDITS
from pca_protect.eval.styles import STYLES
from training.editor import PIPELINES
from training.loop import optimise
from training.pictures import load_latents, load_styled_pictures, load_training_pictures
from training.pipelines import add_editor_options, export_pipeline
from training.prompts import LONGEST
from training.recipes import INSTRUCT_EDITORS, INSTRUCT_SCHEDULES, InstructRecipe, Stage
from training.vae import MODELS

EDITS = (*STYLES.values(), *LOCAL_EDITS.values())
"""In the order of the cached latents. The first, no edit, teaches that an empty instruction returns the photograph."""


def build_unet(start: Path) -> UNet2DConditionModel:
    """The UNet of another editor with as many further input channels, whose weights are zero."""
    unet = UNet2DConditionModel.from_pretrained(start, subfolder="unet", torch_dtype=torch.float32)
    old = unet.conv_in
    unet.conv_in = nn.Conv2d(2 * old.in_channels, old.out_channels, old.kernel_size, padding=old.padding)
    with torch.no_grad():
        unet.conv_in.weight.zero_()
        unet.conv_in.weight[:, : old.in_channels] = old.weight
        unet.conv_in.bias.copy_(old.bias)
    unet.register_to_config(in_channels=unet.conv_in.in_channels)
    return unet


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's betas, rescaled so that the last step has no signal (Lin et al., arXiv 2305.08891): sampling starts from
    the same pure noise as training, and colours are free to change."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def pairs(
    latents: NDArray[np.float16], recipe: InstructRecipe, count: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor, list[str]]:
    """Random training samples: wanted latents and conditioning latents, both `(count, C, h, w)`, and instructions.

    For guidance, some samples lose the instruction, some the conditioning latent (zeros), and some both.

    Args:
        latents: `(N, edits, C, h, w)`, see `EDITS`.
    """
    rows = generator.integers(0, latents.shape[0], count)
    edits = generator.integers(0, latents.shape[1], count)
    dropped = generator.random(count)
    wanted = torch.from_numpy(latents[rows, edits]).float()
    given = torch.from_numpy(latents[rows, 0]).float()
    share = recipe.dropout
    without_picture = torch.from_numpy((dropped > share) & (dropped < 3 * share))
    given[without_picture] = 0
    without_prompt = (dropped < 2 * share).tolist()
    prompts = ["" if dropped else EDITS[edit].prompt for edit, dropped in zip(edits, without_prompt, strict=True)]
    return wanted, given, prompts


def loss(
    model: nn.ModuleDict,
    scheduler: DDIMScheduler,
    wanted: Tensor,
    given: Tensor,
    tokens: Tensor,
    generator: torch.Generator,
    precision: torch.dtype,
) -> Tensor:
    """Mean squared error of v. The weights are uniform: min-SNR would give the first sampling step, which has no signal, none.

    Args:
        wanted: scaled latents, `(B, C, h, w)`.
        given: unscaled latents, as the pipeline passes them.
    """
    noise = torch.randn(wanted.shape, generator=generator).to(wanted.device)
    steps = torch.randint(0, scheduler.config.num_train_timesteps, (len(wanted),), generator=generator)
    steps = steps.to(wanted.device)
    noisy = scheduler.add_noise(wanted, noise, steps)
    velocity = scheduler.get_velocity(wanted, noise, steps)
    with torch.autocast(wanted.device.type, precision, enabled=precision != torch.float32):
        words = model["text_encoder"](tokens).last_hidden_state
        predicted = model["unet"](torch.cat([noisy, given], dim=1), steps, words).sample.float()
    return (predicted - velocity).square().mean()


def add_options(parser: argparse.ArgumentParser) -> None:
    add_editor_options(parser, INSTRUCT_SCHEDULES)


def run(name: str, options: argparse.Namespace) -> None:
    """Train or export the editor of a recipe, with options of `add_options`."""
    folder = options.runs / name
    folder.mkdir(parents=True, exist_ok=True)
    recipe = INSTRUCT_EDITORS[name]
    start = PIPELINES / recipe.start
    vae = AutoencoderKL.from_pretrained(MODELS / recipe.vae, torch_dtype=torch.float32).requires_grad_(False)
    vae.register_to_config(_name_or_path=recipe.vae)  # replaces a local path
    tokenizer = CLIPTokenizer.from_pretrained(start, subfolder="tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(start, subfolder="text_encoder", torch_dtype=torch.float32)
    model = nn.ModuleDict({"unet": build_unet(start), "text_encoder": text_encoder})
    if options.export:
        export_pipeline(
            StableDiffusionInstructPix2PixPipeline,
            model,
            vae,
            tokenizer,
            build_scheduler(),
            run=folder,
            folder=PIPELINES / name,
        )
        return
    device = torch.device(options.device)
    precision = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    pictures = load_training_pictures(options.data, options.runs / "pictures.npy")
    rendered = load_styled_pictures(pictures, options.runs / "edits.npy", EDITS[1:])
    latents = load_latents(vae, pictures, rendered, options.runs / f"{recipe.vae}-edit-latents.npy", device)
    scheduler = build_scheduler()

    def loss_at(step: int, stage: Stage) -> Tensor:
        wanted, given, prompts = pairs(latents, recipe, stage.batch, np.random.default_rng((recipe.seed, step)))
        tokens = tokenizer(prompts, padding="max_length", max_length=LONGEST, truncation=True, return_tensors="pt")
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        given = given / vae.config.scaling_factor
        return loss(
            *(model, scheduler, wanted.to(device), given.to(device), tokens.input_ids.to(device), generator, precision)
        )

    optimise(model.train(), INSTRUCT_SCHEDULES[options.schedule], loss_at, folder, device)
