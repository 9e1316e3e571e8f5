"""Before a run over many pictures: trains a missing universal perturbation on a sample of them, if that saves work."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.initialisation import lacks_universal
from pca_protect.io.plan import Job
from pca_protect.presets import PRESETS
from pca_protect.surrogates.encoder import AnySurrogate
from pca_protect.universal_training.crops import LEAST_PICTURES, crops_of_files
from pca_protect.universal_training.train import TrainingSettings, crop_side, encoded_pixels, train_universal
from pca_protect.universals import store
from pca_protect.universals.files import Universal

_TRAINING_STEPS = 60
"""Twice as many raise the shift on other pictures by 1 to 2 %."""
_STEPS_SAVED_BY_START = 1
"""Steps from the clean picture beyond the preset's that reach what `fast` reaches from a universal perturbation: more on the
embedded encoders, about this on two that were distilled from real ones."""


def train_if_it_pays(
    jobs: Sequence[Job],
    config: ProtectConfig,
    *,
    surrogate: Callable[[], AnySurrogate],
    message: Callable[[str], None],
) -> Universal | None:
    """Train, measure and cache the universal perturbation that a run lacks. None if it lacks none, or training does not pay.

    Args:
        jobs: the pending pictures.
        surrogate: returns the loaded encoders; called only if the preset starts from a universal perturbation.
        message: receives what is done, and every quarter of the training.

    Raises:
        UsageError: training does not pay and the preset takes no steps, or the cache cannot be written to.
        ModelError: a gradient is not finite.
    """
    sizes = [job.source.width_px * job.source.height_px for job in jobs if not job.source.problem]
    sizes = [size for size in sizes if size]
    if config.recipe.init != "universal" or config.universal != "auto" or not sizes:
        return None
    encoders = surrogate()
    if not lacks_universal(encoders, config):
        return None
    settings = TrainingSettings(config.mode, config.budget_levels, steps=_TRAINING_STEPS)
    needed = break_even(config, encoders, pixels=statistics.fmean(sizes))
    if len(sizes) < needed:
        if PRESETS[config.preset].steps:
            return None
        raise UsageError(
            f"preset {config.preset} needs a universal perturbation, and none is trained for {encoders.name} in mode "
            f"{config.mode}; training one saves time from {needed} of these pictures, not for {len(sizes)}; use "
            "`preset=fast`, or train one with pca-protect universal train"
        )
    crops = crops_of_files(
        [Path(job.source.path) for job in jobs if not job.source.problem], crop_side(encoders), seed=settings.seed
    )
    message(
        f"no universal perturbation for {encoders.name} in mode {config.mode} exists yet; training one on "
        f"{crops.pictures} of these pictures, which saves time from {needed} pictures on"
    )

    def on_step(done: int, steps: int) -> None:
        if done * 4 % steps < 4 and done < steps:
            message(f"training: {done} of {steps} steps")

    key = store.key_for([encoders], config.mode, config.budget_levels)
    checkpoint = store.cache_folder() / f"{key}.training"
    universal = train_universal(encoders, crops, settings, checkpoint=checkpoint, on_step=on_step)
    path = store.add(universal)
    message(
        f"{path}: the latent shift by the universal perturbation is {universal.gain:.2g} times that of equally visible noise; "
        "kept for later runs"
    )
    return universal


def break_even(config: ProtectConfig, surrogate: AnySurrogate, *, pixels: float) -> int:
    """Number of pictures from which a training pays: its gradients are fewer than those that it saves.

    A picture saves the steps of preset `fast` in a preset without steps, and one step otherwise.

    Args:
        pixels: mean number of pixels of a picture.
    """
    batch = TrainingSettings(config.mode).batch
    without = max(1, PRESETS["fast"].steps - config.recipe.steps)
    saved = _STEPS_SAVED_BY_START if PRESETS[config.preset].steps else without
    training = encoded_pixels(surrogate, steps=_TRAINING_STEPS, batch=batch)
    return max(LEAST_PICTURES, math.ceil(training / (saved * pixels)))
