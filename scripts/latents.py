"""Latents of the training photographs and of their renderings in every style, encoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from styled_pictures import EVERY
from torch import Tensor


def load_latents(
    vae: AutoencoderKL, pictures: NDArray[np.uint8], styled: NDArray[np.uint8], cache: Path, device: torch.device
) -> NDArray[np.float16]:
    """Scaled posterior means `(N / EVERY, 1 + styles, C, 32, 32)`: the photograph first, then its renderings; memory-mapped
    from `cache`, which is made if missing."""
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
    """`(count, C, side, side)` from random pictures, styles and places, with the rows and styles they are from."""
    rows = generator.integers(0, latents.shape[0], count)
    styles = generator.integers(0, latents.shape[1], count)
    crops = []
    for row, style in zip(rows, styles, strict=True):
        top, left = generator.integers(0, latents.shape[-1] - side + 1, 2)
        crops.append(latents[row, style, :, top : top + side, left : left + side])
    return torch.from_numpy(np.stack(crops)).float(), rows, styles
