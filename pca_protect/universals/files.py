"""Files of universal perturbations: safetensors with one or several int8 tiles, and their training as JSON in the metadata."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pca_protect.attack.universal import UniversalPerturbation
from pca_protect.errors import ModelError, UsageError, first_line, quoted

FORMAT = 1
UNIT = 127
"""Value of the int8 tile at the whole budget."""
MIN_GAIN = 1.25
"""A tile whose gain over noise, see `Universal.gain`, is below this factor is not used without gradient steps."""


@dataclass(frozen=True)
class MemberShift:
    """Mean relative latent shift ||m' - m|| / ||m|| of one encoder on held-out crops.

    Attributes:
        name: of the encoder.
        tile: by the tile, without steps.
        noise: by uniform noise of the same budget.
        visible_noise: by uniform noise within the budget that is at most as visible as the tile.
    """

    name: str
    tile: float
    noise: float
    visible_noise: float


@dataclass(frozen=True)
class Universal:
    """A trained tile and its training.

    Attributes:
        tile: int8 `(3, side, side)`, in 127ths of the budget.
        mode: see `modes.MODES`.
        budget_levels: in training, in 8-bit levels.
        grid_px: latent grid of the encoders; divides the side.
        encoders: digest -> name, of the encoders that it was trained for.
        steps, batch, crop_px: of the training.
        pictures: number of pictures in the training.
        held_out: number of crops of other pictures in the measurement.
        visible_levels: mean visibility on those crops, see `visibility.in_levels`.
        members: shifts on those crops, one per encoder; empty if not measured.
        start_gain: smallest latent shift of an encoder by preset `fast` from this tile, over that from the clean picture, see
            `measure.measure_start`; None if not measured.
    """

    tile: Tensor
    mode: str
    budget_levels: int
    grid_px: int
    encoders: dict[str, str]
    steps: int
    batch: int
    crop_px: int
    pictures: int
    held_out: int
    visible_levels: float
    members: tuple[MemberShift, ...]
    start_gain: float | None = None

    @property
    def key(self) -> str:
        return key_of(self.encoders, self.mode, self.budget_levels)

    @property
    def name(self) -> str:
        return " + ".join(self.encoders.values())

    @property
    def gain(self) -> float:
        """Smallest latent shift of an encoder over `MemberShift.visible_noise`; higher is better. 0 if not measured."""
        return min((one.tile / max(one.visible_noise, 1e-9) for one in self.members), default=0.0)

    @property
    def beats_noise(self) -> bool:
        return self.gain >= MIN_GAIN

    @property
    def helps_steps(self) -> bool:
        """Whether gradient steps go further from this tile than from the clean picture, as far as measured."""
        return self.start_gain is None or self.start_gain > 1

    @cached_property
    def perturbation(self) -> UniversalPerturbation:
        return UniversalPerturbation(self.tile.float() / UNIT)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the tile, for records."""
        return hashlib.sha256(self.tile.contiguous().numpy().tobytes()).hexdigest()


def key_of(digests: Sequence[str] | dict[str, str], mode: str, budget_levels: int) -> str:
    """Identifies a set of encoders, a mode and a budget in file names and tensor names; the order of encoders is ignored."""
    together = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
    return f"{together[:16]}-{mode}-{budget_levels}"


def stored(tile: Tensor) -> Tensor:
    """A tile in fractions of the budget as int8, the format of the file."""
    return (tile * UNIT).round().to(torch.int8)


def read_universals(path: Path) -> list[Universal]:
    """The tiles of a file.

    Raises:
        UsageError: the file does not exist.
        ModelError: the file is damaged, or of another format.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file of a universal perturbation; `pca-protect universal list` lists them")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            if not names:
                raise ValueError("it holds no tile")
            return [_parsed(file.get_tensor(name), json.loads(metadata[name])) for name in names]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path}: is no universal perturbation of this version ({quoted(first_line(error), 80)}); delete it and train it "
            "again with pca-protect universal train"
        ) from error


def write_universals(universals: Sequence[Universal], path: Path) -> None:
    """Write a file; it appears complete or not at all. Creates the folder.

    Raises:
        UsageError: the file cannot be written.
    """
    tensors = {one.key: one.tile.contiguous() for one in universals}
    metadata = {one.key: json.dumps(_plain(one)) for one in universals}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".universal-", dir=path.parent) as scratch:
            partial = Path(scratch) / path.name
            save_file(tensors, partial, metadata=metadata)
            partial.chmod(0o644)  # temporary files are private to their owner; this one is shared
            partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{path}: cannot be written ({first_line(error)}); choose another folder, PCA_PROTECT_CACHE for the cache"
        ) from error


def _plain(universal: Universal) -> dict[str, object]:
    values: dict[str, object] = {name: value for name, value in vars(universal).items() if name in _FIELDS}
    return {"format": FORMAT, **values, "members": [asdict(one) for one in universal.members]}


def _parsed(tile: Tensor, about: dict[str, object]) -> Universal:
    """Raises:
    ValueError, TypeError, KeyError: the values are not those of a tile.
    """
    if about.pop("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    members = tuple(MemberShift(**one) for one in about.pop("members"))  # type: ignore[attr-defined]
    universal = Universal(tile=tile, members=members, **about)  # type: ignore[arg-type]
    square = tile.ndim == 3 and tile.shape[0] == 3 and tile.shape[1] == tile.shape[2]
    if tile.dtype != torch.int8 or not square or tile.shape[2] % universal.grid_px:
        raise ValueError(f"its tile is {tile.dtype} of shape {tuple(tile.shape)}")
    if not universal.encoders or len(universal.encoders) != len(members):
        raise ValueError("it names no encoders, or has not measured each")
    return universal


_FIELDS = tuple(name for name in Universal.__dataclass_fields__ if name not in ("tile", "members"))
