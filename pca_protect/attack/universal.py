"""Trained starts: for some encoders a perturbation that disturbs any picture, as a first guess, or as all there is.

A universal perturbation (Moosavi-Dezfooli et al., arXiv 1610.08401), small enough to be laid over a picture like tiles over a
floor; training one in advance to save steps later follows FastProtect (Ahn et al. 2024, arXiv 2412.11423). Convolutions treat
all places alike, so a tile whose side is a multiple of the latent grid does the same wherever it lies on that grid.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pca_protect.errors import ModelError

STARTS = Path(__file__).parents[1] / "pocket" / "starts.safetensors"
"""Made by `python -m training universal`. Tensors `DIGEST/MODE`, where DIGEST is the encoder's, see `Surrogate.digest`: int8
`(3, side, side)` in 127ths of the budget. Metadata under the same names: JSON of how it was trained and what it reaches."""

UNIT = 127


@dataclass(frozen=True)
class UniversalPerturbation:
    """A tile `(3, side, side)` in [-1, 1], fractions of the budget."""

    tile: Tensor

    def over(self, rows: slice, columns: slice, *, radius: float, gray: Sequence[bool]) -> Tensor:
        """What of the tiled perturbation falls on a part of a picture, `(B, 3, h, w)` in the unit of the radius.

        Tiles are counted from the picture's upper left corner, so that neighbouring parts fit together.

        Args:
            rows, columns: the part, in pixels of the picture.
            radius: the budget, or less to begin with less.
            gray: per picture of the batch, whether its channels have to stay equal; they get the mean of the tile's.
        """
        side = self.tile.shape[-1]
        down, right = (torch.arange(axis.start, axis.stop) % side for axis in (rows, columns))
        part = radius * self.tile[:, down[:, None], right]
        even = part.mean(dim=0, keepdim=True).expand_as(part)
        return torch.stack([even if one else part for one in gray])


@lru_cache(maxsize=1)
def trained_starts() -> dict[str, UniversalPerturbation]:
    """Of `STARTS`, by name; read once.

    Raises:
        ModelError: the file is damaged.
    """
    return {key: UniversalPerturbation(tile.float() / UNIT) for key, (tile, _) in read_starts(STARTS).items()}


def read_starts(path: Path) -> dict[str, tuple[Tensor, dict[str, object]]]:
    """Tiles as they are stored, and what is known of each, by name; none where there is no file.

    Raises:
        ModelError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            return {key: (file.get_tensor(key), json.loads(about[key])) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: the trained starts cannot be read ({error!r}); install pca-protect again") from error
