"""Train an embedded VAE; `--export` writes what the package ships.

    python -m training pocket --data DATA/train --probe DATA/eval/natural --schedule cpu
    python -m training pocket --data DATA/train --export

A stopped run resumes. `pocket-tiny` is distilled from the exported `pocket`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from pca_protect.eval.vae_quality import Vae, measure_vulnerability, psnr_db
from pca_protect.pocket.format import DESCRIPTION, FORMAT
from pca_protect.surrogates.encoder import Encoder, Surrogate
from training.checkpoints import SAVE_EVERY, follow, resume, save
from training.kl_vae import KlTraining
from training.pictures import folder_pictures, load_styled_pictures, load_training_pictures, random_crops
from training.recipes import VAE_SCHEDULES, VAES, KlRecipe, Schedule, TinyRecipe
from training.tiny_vae import TinyTraining

MODELS = Path(__file__).parents[1] / "pca_protect" / "pocket"
WARM_UP_STEPS = 100
PROBE_EVERY = 500
STYLED_SHARE = 4
"""One crop in so many is of a rendered style, so that edits decode as well as photographs."""

Training = KlTraining | TinyTraining


def training_for(
    recipe: KlRecipe | TinyRecipe, device: torch.device, precision: torch.dtype, *, decoder_only: bool = False
) -> Training:
    if isinstance(recipe, TinyRecipe):
        return TinyTraining(recipe, device, precision, MODELS)
    return KlTraining(recipe, device, precision, decoder_only=decoder_only)


def learning_rate(schedule: Schedule, step: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / schedule.steps))
    return schedule.learning_rate * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.02 + 0.98 * cosine)


def train(
    training: Training,
    seed: int,
    schedule: Schedule,
    pictures: NDArray[np.uint8],
    styled: NDArray[np.uint8],
    probe: Tensor | None,
    run: Path,
    device: torch.device,
    start_from: Path | None = None,
) -> None:
    if start_from is not None:
        training.vae.load_state_dict({name: value.float() for name, value in load_file(start_from).items()})
    average = copy.deepcopy(training.vae)
    parameters = [*training.vae.parameters(), *training.others.parameters()]
    optimizer = torch.optim.AdamW(
        [one for one in parameters if one.requires_grad], betas=(0.9, 0.99), weight_decay=1e-4
    )
    state = {"vae": training.vae, "others": training.others, "average": average, "optimizer": optimizer}
    step, seconds = resume(state, run, device)
    started = time.time() - seconds

    while step < schedule.steps:
        stage = schedule.stage(step)
        few = stage.batch // STYLED_SHARE
        photographs = random_crops(pictures, stage.batch - few, stage.crop_px, (seed, step, 0))
        renderings = random_crops(styled, few, stage.crop_px, (seed, step, 1))
        pixels = torch.cat([photographs, renderings]).to(device)
        total, parts = training.losses(pixels, torch.Generator().manual_seed(seed * 1_000_003 + step))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(training.vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        follow(average, training.vae, step)
        if step % 100 == 0:
            shown = " ".join(f"{name} {float(value.detach()):.4f}" for name, value in parts.items())
            print(f"{step}/{schedule.steps} {time.time() - started:.0f} s {shown}", flush=True)
        if step % SAVE_EVERY == 0 or step == schedule.steps:
            save(state, run, step, time.time() - started)
        if probe is not None and (step % PROBE_EVERY == 0 or step == schedule.steps):
            print(f"{step} {measure(finished(training, average, pictures, device), probe)}", flush=True)


def finished(training: Training, average: Vae, pictures: NDArray[np.uint8], device: torch.device) -> Vae:
    """A copy of the averaged weights as they would be exported."""
    vae = copy.deepcopy(average).eval().requires_grad_(False)
    sample = random_crops(pictures, 64, 256, (12345,)).to(device)
    training.finish(vae, list(sample.split(8)))
    return vae


def measure(vae: Vae, probe: Tensor) -> str:
    """Reconstruction and, after half the published steps, vulnerability."""
    mean_psnr_db = sum(psnr_db(vae, one[None]) for one in probe) / len(probe)
    encoder = Encoder(
        vae.encoder,
        getattr(vae, "quant_conv", None),
        has_variance=isinstance(vae, AutoencoderKL),
        takes_video=False,
    )
    surrogate = Surrogate("in training", "", "", encoder, 8, vae.config.latent_channels)
    return f"PSNR {mean_psnr_db:.2f} dB, {measure_vulnerability(surrogate, probe, steps=20)}"


def export(training: Training, run: Path, pictures: NDArray[np.uint8], folder: Path, *, further: bool) -> None:
    """Write the averaged weights as fp16 safetensors with their configuration and how they came to be.

    Args:
        further: the training went on from what is there, so that steps and seconds add up.
    """
    before = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")) if further else {"steps": 0, "seconds": 0}
    saved = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
    training.vae.load_state_dict(saved["average"])
    vae = finished(training, training.vae, pictures, torch.device("cpu"))
    vae.half().save_pretrained(folder)
    if isinstance(vae, AutoencoderTiny):  # it writes a setting that it warns of when it reads it
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        del config["block_out_channels"]
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    describe(folder, before["steps"] + saved["step"], before["seconds"] + saved["seconds"])


def describe(folder: Path, steps: int, seconds: float) -> None:
    """Write the format version and how the weights came to be."""
    description = {"format": FORMAT, "steps": steps, "seconds": round(seconds)}
    (folder / DESCRIPTION).write_text(json.dumps(description) + "\n", encoding="utf-8")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder with pack-*.tar")
    parser.add_argument("--probe", type=Path, help="folder of PNGs to measure on while training")
    parser.add_argument("--schedule", choices=VAE_SCHEDULES, default="cpu")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and the decoded pictures")
    parser.add_argument("--start-from", type=Path, help="a safetensors file of the same VAE to start from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument(
        "--decoder-only", action="store_true", help="go on from the exported weights, latents as they are"
    )
    parser.add_argument("--export", action="store_true", help="write the checkpoint reached so far and stop")


def run(name: str, options: argparse.Namespace) -> None:
    """Train or export the VAE of a recipe as `add_options` describes."""
    folder = options.runs / (f"{name}-decoder" if options.decoder_only else name)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = VAES[name]
    pictures = load_training_pictures(options.data, options.runs / "pictures.npy")
    styled = load_styled_pictures(pictures, options.runs / "styled.npy")
    if isinstance(recipe, KlRecipe) and recipe.half is not None:
        pictures, styled = (np.array_split(array, 2)[recipe.half] for array in (pictures, styled))
    styled = styled.reshape(-1, *styled.shape[2:])
    device = torch.device("cpu" if options.export else options.device)
    precision = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    torch.manual_seed(recipe.seed)
    training = training_for(recipe, device, precision, decoder_only=options.decoder_only)
    if options.export:
        export(training, folder, pictures, MODELS / name, further=options.decoder_only)
        return
    exported = MODELS / name / "diffusion_pytorch_model.safetensors"
    start_from = exported if options.decoder_only else options.start_from
    probe = folder_pictures(options.probe, 256, 8).to(device) if options.probe else None
    schedule = VAE_SCHEDULES[options.schedule]
    train(training, recipe.seed, schedule, pictures, styled, probe, folder, device, start_from)
