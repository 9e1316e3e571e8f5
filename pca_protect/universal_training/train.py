"""Trains a universal perturbation for one encoder or several at once. A stopped training resumes from its checkpoint."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pca_protect.attack.pgd import Objective
from pca_protect.attack.universal import TileTraining, train_step
from pca_protect.attack.visibility import VisibilityPenalty
from pca_protect.engine import mode_objective
from pca_protect.errors import UsageError, first_line
from pca_protect.modes import MODES
from pca_protect.presets import PRESETS
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate
from pca_protect.universal_training.crops import Crops
from pca_protect.universal_training.measure import START_CROPS, measure_start, measure_tile
from pca_protect.universals.files import Universal, stored

_SIDE_PX = 64
_CROPS_PER_SIDE = 2
_CHECKPOINT_EVERY = 10

OnTrainingStep = Callable[[int, int], None]
"""Called with (steps done, total steps). An exception from it, such as `Cancelled`, stops the training after a checkpoint."""


@dataclass(frozen=True)
class TrainingSettings:
    """Attributes:
    mode: see `modes.MODES`.
    budget_levels: largest change in 8-bit levels.
    steps: training steps.
    batch: crops per step.
    seed: of the first tile and of the draws.
    """

    mode: str
    budget_levels: int = 16
    steps: int = 120
    batch: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"unknown mode {self.mode!r}; choose from {', '.join(MODES)}")
        if not 1 <= self.budget_levels <= 255:
            raise UsageError(f"budget {self.budget_levels} is not from 1 to 255; 16 is the published budget")
        if self.steps < 1:
            raise UsageError(f"training steps {self.steps} is below 1; 120 is the default")


def grid_of(surrogate: AnySurrogate) -> int:
    """Least common multiple of the members' latent grids, in pixels."""
    return math.lcm(*(member.multiple for member in surrogate.members))


def tile_side(surrogate: AnySurrogate) -> int:
    """Side of a tile in pixels: 64, or the next multiple of the grid."""
    grid = grid_of(surrogate)
    return -(-_SIDE_PX // grid) * grid


def crop_side(surrogate: AnySurrogate) -> int:
    """Side of the crops in training, in pixels."""
    return _CROPS_PER_SIDE * tile_side(surrogate)


def encoded_pixels(surrogate: AnySurrogate, *, steps: int, batch: int) -> int:
    """Pixels of which a training and its measurement take the gradient, of each member."""
    measured = 2 * PRESETS["fast"].steps * START_CROPS
    return (steps * batch + measured) * crop_side(surrogate) ** 2


def train_universal(
    surrogate: AnySurrogate,
    crops: Crops,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    on_step: OnTrainingStep | None = None,
) -> Universal:
    """A tile for all members of a surrogate, measured on the held-out crops. Deterministic on one device.

    Args:
        crops: of `crop_side(surrogate)`.
        checkpoint: file that a stopped training resumes from if it has the same settings, encoders and crops; written every
            tenth step and removed at the end. None writes nothing.

    Raises:
        ModelError: a gradient is not finite.
        UsageError: the checkpoint cannot be written.
    """
    side, grid = tile_side(surrogate), grid_of(surrogate)
    identity = _identity(surrogate, crops, settings)
    training = _resumed(checkpoint, identity) or TileTraining.begin(side, seed=settings.seed)
    on_device = [crop.to(surrogate.device) for crop in crops.training]
    goals = [_goals(member, settings.mode, on_device) for member in surrogate.members]
    while training.step < settings.steps:
        training = train_step(
            training,
            on_device,
            goals,
            radius=settings.budget_levels / 255,
            steps=settings.steps,
            batch=settings.batch,
            grid_px=grid,
            seed=settings.seed,
        )
        if checkpoint is not None and training.step % _CHECKPOINT_EVERY == 0:
            _save(training, checkpoint, identity)
        if on_step is not None:
            on_step(training.step, settings.steps)
    tile = stored(training.tile)
    visible_levels, members = measure_tile(surrogate, tile, crops.held_out, budget_levels=settings.budget_levels)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    universal = Universal(
        tile=tile,
        mode=settings.mode,
        budget_levels=settings.budget_levels,
        grid_px=grid,
        encoders={member.digest: member.name for member in surrogate.members},
        steps=settings.steps,
        batch=settings.batch,
        crop_px=crop_side(surrogate),
        pictures=crops.pictures,
        held_out=len(crops.held_out),
        visible_levels=visible_levels,
        members=members,
    )
    return replace(universal, start_gain=measure_start(surrogate, universal, crops.held_out))


def _goals(surrogate: Surrogate, mode: str, crops: list[Tensor]) -> Callable[[int], Objective]:
    """Objectives of a mode per crop, kept. They are logarithms where the loss is positive, which gives crops equal weight."""
    chosen = MODES[mode]
    logarithmic = chosen.loss is None or chosen.logarithmic

    @cache
    def goal(number: int) -> Objective:
        objective = mode_objective(surrogate, chosen, crops[number], logarithmic=logarithmic)
        if not chosen.visibility_weight:
            return objective
        return VisibilityPenalty(objective, crops[number], weight=chosen.visibility_weight)

    return goal


def _identity(surrogate: AnySurrogate, crops: Crops, settings: TrainingSettings) -> str:
    sha = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for member in surrogate.members:
        sha.update(member.digest.encode())
    for crop in crops.training:
        sha.update(crop.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _resumed(checkpoint: Path | None, identity: str) -> TileTraining | None:
    """The state of a stopped training; None if there is none, it is of another training, or it is damaged."""
    if checkpoint is None or not checkpoint.is_file():
        return None
    try:
        with safe_open(checkpoint, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("identity") != identity:
                return None
            return TileTraining(file.get_tensor("tile"), file.get_tensor("momentum"), int(about["step"]))
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _save(training: TileTraining, checkpoint: Path, identity: str) -> None:
    partial = checkpoint.with_name(f"{checkpoint.name}.partial")
    tensors: dict[str, torch.Tensor] = {"tile": training.tile, "momentum": training.momentum}
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, metadata={"identity": identity, "step": str(training.step)})
        partial.replace(checkpoint)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{checkpoint}: cannot be written ({first_line(error)}); choose another folder") from error
