"""Latent shift by a tile on held-out crops, beside noise of the same budget and noise that is no more visible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.linalg import vector_norm

from pca_protect.attack.visibility import visible_levels
from pca_protect.image.tensors import to_tensor, to_uint8
from pca_protect.surrogates.encoder import AnySurrogate
from pca_protect.universals.files import UNIT, MemberShift


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
            mean = member.posterior(clean).mean
            rows_of.append(
                [float(vector_norm(member.posterior(one).mean - mean) / vector_norm(mean)) for one in changed]
            )
    means = [np.mean(rows_of, axis=0).round(4).tolist() for rows_of in shifts]
    members = tuple(MemberShift(member.name, *mean) for member, mean in zip(surrogate.members, means, strict=True))
    return round(float(np.mean(visible)), 3), members


def _rounded(pixels: Tensor) -> Tensor:
    return to_tensor(to_uint8(pixels))


def _visible(crop: Tensor, change: Tensor) -> float:
    return visible_levels(to_uint8(crop)[0], to_uint8(crop + change)[0])
