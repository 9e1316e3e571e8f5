"""The training photographs: packs of 256x256 WebP pictures in tar files, decoded once into one array."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

SIDE = 256


def load_training_pictures(folder: Path, cache: Path) -> NDArray[np.uint8]:
    """All pictures of `pack-*.tar` as `(N, 256, 256, 3)` uint8, memory-mapped from `cache`, which is made if missing."""
    if not cache.is_file():
        pictures = []
        for pack in sorted(folder.glob("pack-*.tar")):
            with tarfile.open(pack) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() else None
                    if file is not None:
                        pictures.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
        if not pictures:
            raise SystemExit(f"{folder}: no pack-*.tar there; give the folder of the training packs with --data")
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".partial.npy")
        np.save(partial, np.stack(pictures))
        partial.replace(cache)
    return np.load(cache, mmap_mode="r")  # type: ignore[no-any-return]


def random_crops(pictures: NDArray[np.uint8], count: int, side: int, seed: tuple[int, ...]) -> Tensor:
    """`(count, 3, side, side)` in [0, 1]: random pictures, places and mirrorings, decided by `seed` alone."""
    generator = np.random.default_rng(seed)
    crops = []
    for index in generator.integers(0, len(pictures), count):
        top, left = generator.integers(0, SIDE - side + 1, 2)
        crop = pictures[index, top : top + side, left : left + side]
        crops.append(crop[:, ::-1] if generator.random() < 0.5 else crop)
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255.0


def folder_pictures(folder: Path, side: int, limit: int) -> Tensor:
    """Centre crops `(n, 3, side, side)` in [0, 1] of the first pictures of a folder, for measuring during training."""
    crops = []
    for path in sorted(folder.glob("*.png"))[:limit]:
        array = np.asarray(Image.open(path).convert("RGB"))
        top, left = (array.shape[0] - side) // 2, (array.shape[1] - side) // 2
        crops.append(array[top : top + side, left : left + side])
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255.0
