"""Train the universal perturbations of the presets `instant` and `fast`: one tile for each encoder and mode.

    python -m training universal --data DATA/train --vae pocket pocket-b pocket-16 pocket-tiny

Existing tiles of the file are kept, so a stopped run resumes.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from pca_protect.attack.pgd import Objective, cosine
from pca_protect.attack.universal import UNIT, UNIVERSAL_FILE, UniversalPerturbation, read_universal_perturbations
from pca_protect.attack.visibility import VisibilityPenalty
from pca_protect.config import ProtectConfig
from pca_protect.engine import latent_objective
from pca_protect.modes import MODES
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate

SIDE_PX = 64
CROP_PX = 128
GRID_PX = 8
BUDGET_LEVELS = 16
PICTURES, HELD_OUT = 96, 12
BATCH = 4
MOMENTUM = 0.8
FIRST_STEP = 0.5
"""In units of the budget; later steps follow a cosine."""
RADIUS = BUDGET_LEVELS / 255


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder with pack-*.tar of pictures")
    parser.add_argument("--vae", nargs="+", required=True, help="names, hub ids, folders or files of encoders")
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--steps", type=int, default=120, help="training steps (%(default)s)")
    parser.add_argument("--again", action="store_true", help="retrain existing tiles")
    parser.add_argument(
        "--out", type=Path, default=UNIVERSAL_FILE, help="file to create or extend (default: the installed one)"
    )


def run(options: argparse.Namespace) -> None:
    """Train, measure and write one tile per encoder and mode; writes after each tile."""
    crops = read_crops(options.data, PICTURES + HELD_OUT, seed=0)
    if len(crops) < 2 * HELD_OUT:
        raise SystemExit(f"{options.data}: has {len(crops)} pictures; training needs at least {2 * HELD_OUT}")
    spacing = len(crops) // HELD_OUT
    held_out = crops[::spacing]
    training = [crop for number, crop in enumerate(crops) if number % spacing]
    for name in options.vae:
        surrogate = load_surrogate(name)
        for mode in options.mode:
            found = read_universal_perturbations(options.out)
            key = f"{surrogate.digest}/{mode}"
            if key in found and not options.again:
                print(f"{name} {mode}: in {options.out} already", flush=True)
                continue
            started = time.process_time()
            tile = stored(train(surrogate, mode, training, steps=options.steps, seed=0))
            seconds = time.process_time() - started
            reached = measure(surrogate, mode, tile, held_out)
            about = {
                "vae": name,
                "mode": mode,
                "budget_levels": BUDGET_LEVELS,
                "steps": options.steps,
                "batch": BATCH,
                "pictures": len(training),
                "crop_px": CROP_PX,
                "held_out": {"pictures": len(held_out), **reached},
            }
            write({**found, key: (tile, about)}, options.out)
            print(f"{name} {mode}: {json.dumps(reached)} after {seconds:.0f} s", flush=True)


def goal(surrogate: Surrogate, mode: str, clean: Tensor) -> Objective:
    """The objective of a mode, as a logarithm, which gives pictures equal weight."""
    config = ProtectConfig(mode=mode)
    objective = latent_objective(surrogate, config, clean, logarithmic=True)
    return (
        VisibilityPenalty(objective, clean, weight=config.visibility_weight) if config.visibility_weight else objective
    )


def train(surrogate: Surrogate, mode: str, crops: Sequence[Tensor], *, steps: int, seed: int) -> Tensor:
    """A tile `(3, side, side)` in [-RADIUS, RADIUS] that minimises the mean of a mode's objective by sign steps with momentum.

    Every gradient is of a random batch of pictures, with the tile shifted at random on the latent grid.
    """
    generator = torch.Generator().manual_seed(seed)
    device = surrogate.device
    tile = torch.empty(3, SIDE_PX, SIDE_PX).uniform_(-RADIUS, RADIUS, generator=generator).to(device)
    crops = [crop.to(device) for crop in crops]
    goals = [goal(surrogate, mode, crop) for crop in crops]
    momentum = torch.zeros_like(tile)
    for step in range(steps):
        gradient = torch.zeros_like(tile)
        for index in torch.randint(len(crops), (BATCH,), generator=generator).tolist():
            place = (GRID_PX * torch.randint(SIDE_PX // GRID_PX, (2,), generator=generator)).tolist()
            tile.requires_grad_()
            loss = goals[index]((crops[index] + laid(tile, place, crops[index])).clamp(0.0, 1.0)).sum()
            gradient += torch.autograd.grad(loss, tile)[0]
        momentum = MOMENTUM * momentum + gradient / gradient.abs().mean()
        length = FIRST_STEP * RADIUS * cosine(step, steps)
        tile = (tile.detach() - length * momentum.sign()).clamp(-RADIUS, RADIUS)
    return tile.cpu()


def laid(tile: Tensor, place: Sequence[int], crop: Tensor) -> Tensor:
    """The tile shifted to `place` and repeated over the crop, shape `(3, h, w)`; differentiable."""
    times = [-(-side // SIDE_PX) for side in crop.shape[-2:]]
    return torch.roll(tile, tuple(place), dims=(-2, -1)).repeat(1, *times)[..., : crop.shape[-2], : crop.shape[-1]]


def stored(tile: Tensor) -> Tensor:
    """The tile as int8, the format of the file."""
    return (tile / RADIUS * UNIT).round().to(torch.int8)


def measure(surrogate: Surrogate, mode: str, tile: Tensor, crops: Sequence[Tensor]) -> dict[str, float]:
    """Means over held-out pictures, for the tile without further steps and for noise of the same budget: decrease of the
    objective (larger is better), and latent shift ||m' - m|| / ||m||."""
    generator = torch.Generator().manual_seed(0)
    start = UniversalPerturbation(tile.float() / UNIT)
    rows = []
    for crop in crops:
        clean = crop.to(surrogate.device)
        objective = goal(surrogate, mode, clean)
        height, width = clean.shape[-2:]
        noise = torch.empty(crop.shape).uniform_(-RADIUS, RADIUS, generator=generator)
        trained = start.over(slice(0, height), slice(0, width), radius=RADIUS, gray=[False])
        with torch.no_grad():
            before, mean = float(objective(clean)), surrogate.posterior(clean).mean
            for change in (trained, noise):
                pixels = ((crop + change).clamp(0.0, 1.0) * 255).round().to(surrogate.device) / 255
                moved = (surrogate.posterior(pixels).mean - mean).norm() / mean.norm()
                rows.append([before - float(objective(pixels)), float(moved)])
    table = np.array(rows).reshape(-1, 4).mean(axis=0).round(3).tolist()
    return dict(zip(("gain", "latent", "noise_gain", "noise_latent"), table, strict=True))


def read_crops(folder: Path, count: int, *, seed: int) -> list[Tensor]:
    """Square crops `(1, 3, h, w)` in [0, 1] of pictures spaced evenly over the first pack, with random positions and sizes, all
    resized to one size: from small details to nearly the whole picture."""
    packs = sorted(folder.glob("pack-*.tar"))
    if not packs:
        raise SystemExit(f"{folder}: holds no pack-*.tar; give the folder of the training packs with --data")
    generator = np.random.default_rng(seed)
    crops = []
    with tarfile.open(packs[0]) as archive:
        members = [member for member in archive if member.isfile()]
        for member in members[:: max(1, len(members) // count)][:count]:
            file = archive.extractfile(member)
            assert file is not None
            picture = Image.open(io.BytesIO(file.read())).convert("RGB")
            if min(picture.size) < CROP_PX:
                raise SystemExit(f"{member.name}: has a side under {CROP_PX} px; leave such pictures out of the pack")
            side = int(generator.integers(CROP_PX, min(picture.size) + 1))
            left, top = (int(generator.integers(0, length - side + 1)) for length in picture.size)
            box = (left, top, left + side, top + side)
            levels = np.asarray(picture.resize((CROP_PX, CROP_PX), Image.Resampling.LANCZOS, box=box))
            crops.append(torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].float() / 255)
    return crops


def write(starts: dict[str, tuple[Tensor, dict[str, object]]], path: Path) -> None:
    """Write the file atomically."""
    partial = path.with_suffix(".partial")
    tensors = {key: tile for key, (tile, _) in starts.items()}
    save_file(tensors, partial, metadata={key: json.dumps(about) for key, (_, about) in starts.items()})
    partial.chmod(0o644)  # temporary files are private to their owner; this one is packaged
    partial.replace(path)
