"""Estimates the duration of a run by timing a few steps on a small picture with its encoder and settings."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pca_protect.config import ProtectConfig
from pca_protect.engine import Progress
from pca_protect.image.resize import sizes
from pca_protect.image.scales import encoded_pixels
from pca_protect.image.tiling import windows
from pca_protect.io.picture import Picture
from pca_protect.io.plan import Job
from pca_protect.protection import protect
from pca_protect.surrogates.encoder import AnySurrogate

_SIDE_PX = 256
_STEPS = (1, 3)


@dataclass(frozen=True)
class Estimate:
    """Attributes:
    pictures: number of pending pictures.
    megapixels: sum over pictures with a readable header.
    seconds: for one process at the current load of the machine. Reading and writing overlap with it and are not counted.
    """

    pictures: int
    megapixels: float
    seconds: float


@dataclass(frozen=True)
class Pace:
    """Speed of this machine for an encoder and settings at its current load.

    Attributes:
        seconds_per_step_and_pixel: per pixel given to the encoder.
        seconds_per_pixel: evaluation, once per picture.
    """

    seconds_per_step_and_pixel: float
    seconds_per_pixel: float

    def seconds(self, width_px: int, height_px: int, config: ProtectConfig) -> float:
        """Seconds for one picture; 0 if its size is unknown."""
        if not width_px or not height_px:
            return 0.0
        tiles = windows(height_px, width_px, tile_px=config.tile_px)
        encoded = len(tiles) * encoded_pixels(
            tiles[0], height_px, width_px, sizes(height_px, width_px, config.scales, longest_px=config.posted_px)
        )  # overlaps count once per window
        return (
            config.recipe.steps * self.seconds_per_step_and_pixel * encoded
            + self.seconds_per_pixel * width_px * height_px
        )


def measure_pace(
    config: ProtectConfig, *, surrogate: AnySurrogate, evaluate: bool = True, on_step: Progress | None = None
) -> Pace:
    """Time a few steps on a picture of noise; writes nothing.

    Args:
        evaluate, on_step: see `protect`.

    Raises:
        PictureError, DeviceError: the noise picture cannot be protected.
    """
    noise = Picture(np.random.default_rng(0).integers(0, 256, (_SIDE_PX, _SIDE_PX, 3), dtype=np.uint8))
    quick = replace(config, region=None, scales=("native",))  # regions and scales may not fit the small picture

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        protect(noise, replace(quick, steps=steps), surrogate=surrogate, evaluate=evaluate, on_step=on_step)
        return time.perf_counter() - started

    seconds(_STEPS[0])  # warm-up
    few, more = (seconds(steps) for steps in _STEPS)
    per_step = max(more - few, 0.0) / (_STEPS[1] - _STEPS[0])
    return Pace(per_step / _SIDE_PX**2, max(few - per_step, 0.0) / _SIDE_PX**2)


def estimate(jobs: Iterable[Job], config: ProtectConfig, *, surrogate: AnySurrogate, evaluate: bool = True) -> Estimate:
    """Estimate from the current pace of this machine. Raises as `measure_pace` does."""
    sizes = [(job.source.width_px, job.source.height_px) for job in jobs]
    pace = measure_pace(config, surrogate=surrogate, evaluate=evaluate)
    megapixels = sum(width_px * height_px for width_px, height_px in sizes) / 1e6
    return Estimate(len(sizes), megapixels, sum(pace.seconds(*size, config) for size in sizes))
