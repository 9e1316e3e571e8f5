"""Latent shift by a tile on held-out crops: beside noise of the same budget and noise that is no more visible, and by a few steps
that start from it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.linalg import vector_norm

from pca_protect.attack.visibility import visible_levels
from pca_protect.config import ProtectConfig
from pca_protect.engine import perturb
from pca_protect.image.batch import Batch
from pca_protect.image.tensors import to_tensor, to_uint8
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate
from pca_protect.universals.files import UNIT, MemberShift, Universal, write_universals

START_CROPS = 2
"""Held-out crops of `measure_start`."""


@torch.no_grad()
def measure_tile(
    surrogate: AnySurrogate, tile: Tensor, crops: Sequence[Tensor], *, budget_levels: int
) -> tuple[float, tuple[MemberShift, ...]]:
    """Mean visibility of the tile in levels, and the mean shifts of each member; pictures are rounded to 8 bits.

    Args:
        tile: int8, see `files.Universal`.
        crops: `(1, 3, h, w)` in [0, 1].
    """
    generator = torch.Generator().manual_seed(0)
    fractions = tile.float() / UNIT
    visible: list[float] = []
    shifts: list[list[list[float]]] = [[] for _ in surrogate.members]
    for crop in crops:
        rows, columns = (torch.arange(side) % tile.shape[-1] for side in crop.shape[-2:])
        laid = (budget_levels / 255) * fractions[:, rows[:, None], columns]
        noise = (budget_levels / 255) * torch.empty(crop.shape).uniform_(-1.0, 1.0, generator=generator)
        by_tile, by_noise = _visible(crop, laid), _visible(crop, noise)
        visible.append(by_tile)
        clean, *changed = (
            _rounded(crop + change).to(surrogate.device)
            for change in (torch.zeros_like(crop), laid, noise, noise * min(1.0, by_tile / max(by_noise, 1e-9)))
        )
        for member, rows_of in zip(surrogate.members, shifts, strict=True):
            rows_of.append([float(_shift(member, one, clean)) for one in changed])
    means = [np.mean(rows_of, axis=0).round(4).tolist() for rows_of in shifts]
    members = tuple(MemberShift(member.name, *mean) for member, mean in zip(surrogate.members, means, strict=True))
    return round(float(np.mean(visible)), 3), members


def measure_start(surrogate: AnySurrogate, universal: Universal, crops: Sequence[Tensor]) -> float:
    """Smallest mean latent shift of a member by preset `fast` from a tile, over that from the clean picture; above 1, the tile
    helps.

    Args:
        crops: `(1, 3, h, w)` in [0, 1], of one size; the first `START_CROPS` are used.
    """
    levels = [to_uint8(crop)[0] for crop in crops[:START_CROPS]]
    batch = Batch(levels, [None] * len(levels), [False] * len(levels))
    clean = to_tensor(levels, surrogate.device)

    def shifts(source: str) -> list[Tensor]:
        config = ProtectConfig(
            universal.mode, "fast", budget_levels=universal.budget_levels, scales=("native",), universal=source
        )
        changed = perturb(batch, config, surrogate=surrogate, tile_px=config.tile_px).levels
        with torch.no_grad():
            pixels = to_tensor(changed, surrogate.device)
            return [_shift(member, pixels, clean).mean() for member in surrogate.members]

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tile.safetensors"
        write_universals([universal], file)
        pairs = zip(shifts(str(file)), shifts("never"), strict=True)
        return round(min(float(tile / zero) for tile, zero in pairs), 3)


def _shift(member: Surrogate, changed: Tensor, clean: Tensor) -> Tensor:
    """Relative latent shift per picture, `(B,)`."""
    mean = member.posterior(clean).mean.flatten(1)
    shift: Tensor = vector_norm(member.posterior(changed).mean.flatten(1) - mean, dim=1) / vector_norm(mean, dim=1)
    return shift


def _rounded(pixels: Tensor) -> Tensor:
    return to_tensor(to_uint8(pixels))


def _visible(crop: Tensor, change: Tensor) -> float:
    return visible_levels(to_uint8(crop)[0], to_uint8(crop + change)[0])
