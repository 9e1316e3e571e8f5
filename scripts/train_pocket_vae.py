"""Train an embedded VAE from scratch. Resumes by itself; `--export` writes what the package ships.

python scripts/train_pocket_vae.py pocket --data DATA/train --probe DATA/eval/natural --schedule cpu
python scripts/train_pocket_vae.py pocket --data DATA/train --export pca_protect/pocket/pocket
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from pocket_recipes import RECIPES, SCHEDULES, Schedule, VaeRecipe
from texture import BANDS, TextureHead, laplacian, log_energy
from torch import Tensor
from training_pictures import folder_pictures, load_training_pictures, random_crops

from pca_protect.eval.reconstruction import reconstruct
from pca_protect.eval.vulnerability import measure_vulnerability
from pca_protect.surrogates.adapter import Encoder, Surrogate

WARM_UP_STEPS = 100
EMA_DECAY = 0.999
SAVE_EVERY = 250
PROBE_EVERY = 5000


def build(recipe: VaeRecipe) -> AutoencoderKL:
    blocks = len(recipe.widths)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=recipe.widths,
        layers_per_block=recipe.layers_per_block,
        latent_channels=recipe.latent_channels,
        norm_num_groups=recipe.groups,
        sample_size=256,
        force_upcast=False,
        scaling_factor=1.0,
    )


def losses(
    vae: AutoencoderKL, head: TextureHead, pixels: Tensor, noise: Tensor, precision: torch.dtype
) -> dict[str, Tensor]:
    with torch.autocast(pixels.device.type, precision, enabled=precision != torch.float32):
        posterior = vae.encode(pixels * 2 - 1).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        latent = mean + torch.exp(0.5 * logvar) * noise
        decoded = vae.decode(latent).sample
    decoded = decoded.float() / 2 + 0.5
    detail = [(a - b).abs().mean() for a, b in zip(laplacian(decoded, BANDS), laplacian(pixels, BANDS), strict=True)]
    return {
        "l1": (decoded - pixels).abs().mean(),
        "mse": (decoded - pixels).square().mean(),
        "detail": torch.stack(detail).sum(),
        "texture": (head(latent) - log_energy(pixels)).abs().mean(),
        "kl": 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(),
    }


def learning_rate(schedule: Schedule, step: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / schedule.steps))
    return schedule.learning_rate * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.02 + 0.98 * cosine)


def train(
    recipe: VaeRecipe,
    schedule: Schedule,
    pictures: NDArray,
    probe: Tensor | None,
    run: Path,
    device: torch.device,
    precision: torch.dtype,
    start_from: Path | None = None,
) -> None:
    torch.manual_seed(recipe.seed)
    vae, head = build(recipe).to(device), TextureHead(recipe.latent_channels).to(device)
    average = copy.deepcopy(vae)
    optimizer = torch.optim.AdamW([*vae.parameters(), *head.parameters()], betas=(0.9, 0.99), weight_decay=1e-4)
    checkpoint = run / "last.pt"
    step, seconds = 0, 0.0
    if start_from is not None and not checkpoint.is_file():
        state = torch.load(start_from, weights_only=True, map_location=device)
        for name, module in (("vae", vae), ("head", head), ("average", average)):
            module.load_state_dict(state[name])
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        for name, module in (("vae", vae), ("head", head), ("average", average), ("optimizer", optimizer)):
            module.load_state_dict(state[name])
        step, seconds = state["step"], state["seconds"]
        print(f"resumed at step {step}", flush=True)
    started = time.time() - seconds

    while step < schedule.steps:
        stage = schedule.stage(step)
        pixels = random_crops(pictures, stage.batch, stage.crop_px, (recipe.seed, step)).to(device)
        latent_side = stage.crop_px // 2 ** (len(recipe.widths) - 1)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        noise = torch.randn(stage.batch, recipe.latent_channels, latent_side, latent_side, generator=generator).to(
            device
        )
        parts = losses(vae, head, pixels, noise, precision)
        total = (
            parts["l1"]
            + recipe.mse * parts["mse"]
            + recipe.detail * parts["detail"]
            + recipe.texture * parts["texture"]
            + recipe.kl * parts["kl"]
        )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(EMA_DECAY, step / (10 + step))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), vae.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        if step % 100 == 0:
            shown = " ".join(f"{name} {float(value.detach()):.4f}" for name, value in parts.items())
            print(f"{step}/{schedule.steps} {time.time() - started:.0f} s {shown}", flush=True)
        if step % SAVE_EVERY == 0 or step == schedule.steps:
            seconds = time.time() - started
            state = {"vae": vae, "head": head, "average": average, "optimizer": optimizer}
            plain = {name: module.state_dict() for name, module in state.items()}
            torch.save({**plain, "step": step, "seconds": seconds}, run / "next.pt")
            (run / "next.pt").replace(checkpoint)
        if probe is not None and (step % PROBE_EVERY == 0 or step == schedule.steps):
            report = measure(normalise_latents(copy.deepcopy(average), pictures, device), probe)
            print(f"{step} {report}", flush=True)


def measure(vae: AutoencoderKL, probe: Tensor) -> str:
    """Reconstruction and, after half the published steps, vulnerability."""
    psnr_db = sum(reconstruct(vae, one[None]).psnr_db for one in probe) / len(probe)
    encoder = Encoder(vae.encoder, vae.quant_conv, has_variance=True, takes_video=False)
    surrogate = Surrogate("in training", "", "", encoder, 8, vae.config.latent_channels)
    return f"PSNR {psnr_db:.2f} dB, {measure_vulnerability(surrogate, probe, steps=20)}"


def normalise_latents(vae: AutoencoderKL, pictures: NDArray, device: torch.device) -> AutoencoderKL:
    """Give every latent channel mean 0 and standard deviation 1 over training pictures, exactly and without changing any
    reconstruction: the shift and the scale go into `quant_conv`, their inverse into `post_quant_conv`."""
    vae = vae.eval().requires_grad_(False)
    sample = random_crops(pictures, 64, 256, (12345,))
    with torch.no_grad():
        means = torch.cat([vae.encode(batch.to(device) * 2 - 1).latent_dist.mean for batch in sample.split(8)])
        shift, scale = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
        channels = len(shift)
        into, back = vae.quant_conv, vae.post_quant_conv
        into.weight[:channels] /= scale.view(-1, 1, 1, 1)
        into.bias[:channels] = (into.bias[:channels] - shift) / scale
        into.bias[channels:] -= 2 * scale.log()
        back.bias += back.weight[:, :, 0, 0] @ shift
        back.weight *= scale.view(1, -1, 1, 1)
    return vae


def export(recipe: VaeRecipe, run: Path, pictures: NDArray, folder: Path) -> None:
    """Write the averaged weights as fp16 safetensors with their configuration and how they came to be."""
    state = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
    vae = build(recipe)
    vae.load_state_dict(state["average"])
    vae = normalise_latents(vae, pictures, torch.device("cpu"))
    with torch.no_grad():
        sample = random_crops(pictures, 64, 256, (54321,))
        latents = torch.cat([vae.encode(batch * 2 - 1).latent_dist.mean for batch in sample.split(8)])
    vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 4))
    vae.half().save_pretrained(folder)
    (folder / "training.json").write_text(
        json.dumps({"steps": state["step"], "seconds": round(state["seconds"])}) + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="folder with pack-*.tar")
    parser.add_argument("--probe", type=Path, help="folder of PNGs to measure on while training")
    parser.add_argument("--schedule", choices=SCHEDULES, default="cpu")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and the decoded pictures")
    parser.add_argument("--start-from", type=Path, help="a last.pt of an earlier run to start the weights from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--export", type=Path, help="write the checkpoint reached so far to this folder and stop")
    options = parser.parse_args()
    run = options.runs / options.name
    run.mkdir(parents=True, exist_ok=True)
    pictures = load_training_pictures(options.data, options.runs / "pictures.npy")
    recipe = RECIPES[options.name]
    if options.export:
        export(recipe, run, pictures, options.export)
        return
    device = torch.device(options.device)
    probe = folder_pictures(options.probe, 256, 8).to(device) if options.probe else None
    precision = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    train(recipe, SCHEDULES[options.schedule], pictures, probe, run, device, precision, options.start_from)


if __name__ == "__main__":
    main()
