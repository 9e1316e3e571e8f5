"""The training data, each kind cached in a memory-mapped array: photographs, renderings of every fourth one in every style, and
the latents of both.

Photographs come as packs of 256x256 WebP pictures in tar files.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pca_protect.eval.styles import STYLES, Style

SIDE = 256
EVERY = 4
RENDERED = tuple(style for style in STYLES.values() if style.prompt)


def load_training_pictures(folder: Path, cache: Path) -> NDArray[np.uint8]:
    """All pictures of `pack-*.tar` as `(N, 256, 256, 3)` uint8, memory-mapped from `cache`, which is created if missing."""
    if not cache.is_file():
        pictures = []
        for pack in sorted(folder.glob("pack-*.tar")):
            with tarfile.open(pack) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() else None
                    if file is not None:
                        pictures.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
        if not pictures:
            raise SystemExit(f"{folder}: holds no pack-*.tar; give the folder of the training packs with --data")
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".partial.npy")
        np.save(partial, np.stack(pictures))
        partial.replace(cache)
    return np.load(cache, mmap_mode="r")  # type: ignore[no-any-return]


def random_crops(pictures: NDArray[np.uint8], count: int, side: int, seed: tuple[int, ...]) -> Tensor:
    """`(count, 3, side, side)` in [0, 1]: random pictures, positions and flips, deterministic in `seed`."""
    generator = np.random.default_rng(seed)
    crops = []
    for index in generator.integers(0, len(pictures), count):
        top, left = generator.integers(0, SIDE - side + 1, 2)
        crop = pictures[index, top : top + side, left : left + side]
        crops.append(crop[:, ::-1] if generator.random() < 0.5 else crop)
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255.0


def folder_pictures(folder: Path, side: int, limit: int) -> Tensor:
    """Centre crops `(n, 3, side, side)` in [0, 1] of the first pictures of a folder, for evaluation during training."""
    crops = []
    for path in sorted(folder.glob("*.png"))[:limit]:
        array = np.asarray(Image.open(path).convert("RGB"))
        top, left = (array.shape[0] - side) // 2, (array.shape[1] - side) // 2
        crops.append(array[top : top + side, left : left + side])
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255.0


def load_styled_pictures(
    pictures: NDArray[np.uint8], cache: Path, styles: Sequence[Style] = RENDERED
) -> NDArray[np.uint8]:
    """`(N / EVERY, styles, 256, 256, 3)` uint8, in the order of `styles`, memory-mapped from `cache`, which is created if
    missing. Row i is picture `EVERY * i`."""
    if not cache.is_file():
        chosen = pictures[::EVERY]
        partial = cache.with_suffix(".partial.npy")
        shape = (len(chosen), len(styles), *pictures.shape[1:])
        styled = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        for row, picture in enumerate(chosen):
            styled[row] = [style.render(picture) for style in styles]
        styled.flush()
        partial.replace(cache)
    return np.load(cache, mmap_mode="r")  # type: ignore[no-any-return]


def load_latents(
    vae: AutoencoderKL, pictures: NDArray[np.uint8], styled: NDArray[np.uint8], cache: Path, device: torch.device
) -> NDArray[np.float16]:
    """Scaled posterior means `(N / EVERY, 1 + styles, C, 32, 32)`: the photograph first, then its renderings; memory-mapped
    from `cache`, which is created if missing."""
    if not cache.is_file():
        vae = vae.to(device).eval()
        channels, side = vae.config.latent_channels, pictures.shape[1] // 8
        partial = cache.with_suffix(".partial.npy")
        shape = (styled.shape[0], 1 + styled.shape[1], channels, side, side)
        latents = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
        for row, renderings in enumerate(styled):
            batch = np.concatenate([pictures[EVERY * row][None], renderings])
            pixels = torch.from_numpy(batch).to(device).movedim(-1, 1).float() / 255
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                mean = vae.encode(pixels * 2 - 1).latent_dist.mean.float()
            latents[row] = (mean * vae.config.scaling_factor).cpu().numpy()
        latents.flush()
        partial.replace(cache)
    return np.load(cache, mmap_mode="r")  # type: ignore[no-any-return]


def latent_crops(
    latents: NDArray[np.float16], count: int, side: int, generator: np.random.Generator
) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """`(count, C, side, side)` from random pictures, styles and positions, with their rows and styles."""
    rows = generator.integers(0, latents.shape[0], count)
    styles = generator.integers(0, latents.shape[1], count)
    crops = []
    for row, style in zip(rows, styles, strict=True):
        top, left = generator.integers(0, latents.shape[-1] - side + 1, 2)
        crops.append(latents[row, style, :, top : top + side, left : left + side])
    return torch.from_numpy(np.stack(crops)).float(), rows, styles
