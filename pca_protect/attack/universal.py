"""Universal perturbations: one tile per encoder and mode that perturbs any picture, as initialisation or without further steps.

Universal perturbations: Moosavi-Dezfooli et al., arXiv 1610.08401; as initialisation that saves steps: FastProtect (Ahn et al.
2024, arXiv 2412.11423). Convolutions are translation-equivariant on the latent grid. A small tile whose side
is a multiple of the grid can therefore be repeated over the whole picture.
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

UNIVERSAL_FILE = Path(__file__).parents[1] / "pocket" / "universal.safetensors"
"""Made by `python -m training universal`. Tensors `DIGEST/MODE`, where DIGEST is the encoder's, see `Surrogate.digest`: int8
`(3, side, side)` in 127ths of the budget. Metadata under the same names: JSON of training settings and measured effect."""

UNIT = 127


@dataclass(frozen=True)
class UniversalPerturbation:
    """A tile `(3, side, side)` in [-1, 1], fractions of the budget."""

    tile: Tensor

    def over(self, rows: slice, columns: slice, *, radius: float, gray: Sequence[bool]) -> Tensor:
        """The tiled perturbation on a part of a picture, `(B, 3, h, w)` in the unit of `radius`.

        The tiling starts at the picture's upper left corner, so that it continues across neighbouring parts.

        Args:
            rows, columns: the part, in pixels of the picture.
            radius: largest absolute value; the budget, or a part of it.
            gray: per picture of the batch, whether its channels must stay equal; it then gets the tile's channel mean.
        """
        side = self.tile.shape[-1]
        down, right = (torch.arange(axis.start, axis.stop) % side for axis in (rows, columns))
        part = radius * self.tile[:, down[:, None], right]
        mean = part.mean(dim=0, keepdim=True).expand_as(part)
        return torch.stack([mean if is_gray else part for is_gray in gray])


@lru_cache(maxsize=1)
def universal_perturbations() -> dict[str, UniversalPerturbation]:
    """The universal perturbations of `UNIVERSAL_FILE` by name, read once.

    Raises:
        ModelError: the file is damaged.
    """
    return {
        key: UniversalPerturbation(tile.float() / UNIT)
        for key, (tile, _) in read_universal_perturbations(UNIVERSAL_FILE).items()
    }


def read_universal_perturbations(path: Path) -> dict[str, tuple[Tensor, dict[str, object]]]:
    """Stored tiles and their metadata by name; empty if the file does not exist.

    Raises:
        ModelError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {key: (file.get_tensor(key), json.loads(metadata[key])) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(
            f"{path}: the universal perturbations cannot be read ({error!r}); install pca-protect again"
        ) from error
