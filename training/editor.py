"""Train an embedded editor: a UNet and a text encoder on cached latents; `--export` writes the pipeline.

    python -m training pocket-editor --data DATA/train --schedule cpu
    python -m training pocket-editor --data DATA/train --export

A stopped run resumes. Export the editor's VAE first; see `vae.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionImg2ImgPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pca_protect.eval.styles import STYLES
from training.loop import optimise
from training.pictures import EVERY, latent_crops, load_latents, load_styled_pictures, load_training_pictures
from training.pipelines import add_editor_options, export_pipeline
from training.prompts import LONGEST, load_captions, make_tokenizer, prompt_for
from training.recipes import EDITOR_SCHEDULES, EDITORS, EditorRecipe, Schedule, Stage
from training.vae import MODELS

PIPELINES = Path(__file__).parents[1] / "eval" / "pocket"
PHRASES = [style.prompt for style in STYLES.values()]
"""In the order of the cached latents: the unchanged photograph, then its renderings."""


def build_unet(recipe: EditorRecipe, latent_channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=recipe.widths,
        layers_per_block=recipe.layers_per_block,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=recipe.text_width,
        attention_head_dim=8,
        norm_num_groups=16,
    )


def build_text_encoder(recipe: EditorRecipe, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.text_width,
            intermediate_size=2 * recipe.text_width,
            num_hidden_layers=recipe.text_layers,
            num_attention_heads=4,
            max_position_embeddings=LONGEST,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_scheduler(recipe: EditorRecipe) -> DDIMScheduler:
    """Stable Diffusion's noise schedule with scaled betas."""
    return DDIMScheduler(
        beta_start=0.00085 * recipe.noise,
        beta_end=0.012 * recipe.noise,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def loss(
    model: nn.ModuleDict,
    scheduler: DDIMScheduler,
    recipe: EditorRecipe,
    latents: Tensor,
    tokens: Tensor,
    generator: torch.Generator,
    precision: torch.dtype,
) -> Tensor:
    """Mean squared error of v under min-SNR weights."""
    count, channels = latents.shape[:2]
    noise = torch.randn(latents.shape, generator=generator)
    noise += recipe.offset * torch.randn(count, channels, 1, 1, generator=generator)
    noise = noise.to(latents.device)
    steps = torch.randint(0, scheduler.config.num_train_timesteps, (count,), generator=generator).to(latents.device)
    noisy = scheduler.add_noise(latents, noise, steps)
    wanted = scheduler.get_velocity(latents, noise, steps)
    with torch.autocast(latents.device.type, precision, enabled=precision != torch.float32):
        words = model["text_encoder"](tokens).last_hidden_state
        velocity = model["unet"](noisy, steps, words).sample.float()
    signal = scheduler.alphas_cumprod.to(latents.device)[steps]
    snr = signal / (1 - signal)
    weights = snr.clamp(max=recipe.largest_snr) / (snr + 1)
    return (weights * (velocity - wanted).square().mean(dim=(1, 2, 3))).mean()


def train(
    recipe: EditorRecipe,
    schedule: Schedule,
    model: nn.ModuleDict,
    tokenizer: CLIPTokenizer,
    latents: NDArray[np.float16],
    captions: list[str],
    run: Path,
    device: torch.device,
    precision: torch.dtype,
) -> None:
    scheduler = build_scheduler(recipe)

    def loss_at(step: int, stage: Stage) -> Tensor:
        draws = np.random.default_rng((recipe.seed, step))
        crops, rows, styles = latent_crops(latents, stage.batch, stage.crop_px // 8, draws)
        prompts = [
            prompt_for(captions[EVERY * row], PHRASES[style], recipe.without_prompt, draws)
            for row, style in zip(rows, styles, strict=True)
        ]
        tokens = tokenizer(prompts, padding="max_length", max_length=LONGEST, truncation=True, return_tensors="pt")
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        return loss(model, scheduler, recipe, crops.to(device), tokens.input_ids.to(device), generator, precision)

    optimise(model, schedule, loss_at, run, device)


def start_from(model: nn.ModuleDict, checkpoint: Path) -> None:
    """Load all tensors of matching shape from another editor: without the first and last layer if latent channels differ."""
    own = model.state_dict()
    theirs = torch.load(checkpoint, weights_only=True, map_location="cpu")["average"]
    model.load_state_dict({name: theirs[name] if theirs[name].shape == own[name].shape else own[name] for name in own})


def add_options(parser: argparse.ArgumentParser) -> None:
    add_editor_options(parser, EDITOR_SCHEDULES)
    parser.add_argument(
        "--start-from", type=Path, help="last.pt of another editor; layers of other shapes are reinitialised"
    )


def run(name: str, options: argparse.Namespace) -> None:
    """Train or export the editor of a recipe, with options of `add_options`."""
    folder = options.runs / name
    folder.mkdir(parents=True, exist_ok=True)
    recipe = EDITORS[name]
    torch.manual_seed(recipe.seed)
    captions = load_captions(options.data)
    tokenizer = make_tokenizer([*sorted(set(captions)), "a photo of a", *PHRASES])
    vae = AutoencoderKL.from_pretrained(MODELS / recipe.vae, torch_dtype=torch.float32).requires_grad_(False)
    unet = build_unet(recipe, vae.config.latent_channels)
    model = nn.ModuleDict({"unet": unet, "text_encoder": build_text_encoder(recipe, tokenizer)})
    if options.export:
        vae.register_to_config(_name_or_path=recipe.vae)  # replaces a local path
        export_pipeline(
            StableDiffusionImg2ImgPipeline,
            model,
            vae,
            tokenizer,
            build_scheduler(recipe),
            run=folder,
            folder=PIPELINES / name,
        )
        return
    if options.start_from:
        start_from(model, options.start_from)
    device = torch.device(options.device)
    pictures = load_training_pictures(options.data, options.runs / "pictures.npy")
    styled = load_styled_pictures(pictures, options.runs / "styled.npy")
    latents = load_latents(vae, pictures, styled, options.runs / f"{recipe.vae}-latents.npy", device)
    precision = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    train(recipe, EDITOR_SCHEDULES[options.schedule], model, tokenizer, latents, captions, folder, device, precision)
