"""Estimates the duration of a run by timing a few steps on two small pictures with its encoder and settings."""

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

_SIDES_PX = (64, 256)
"""The difference is the cost of pixels, the rest that of a picture of any size."""
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
        seconds_per_step, seconds_per_picture: what a picture of no size would take.
    """

    seconds_per_step_and_pixel: float
    seconds_per_pixel: float
    seconds_per_step: float = 0.0
    seconds_per_picture: float = 0.0

    def seconds(self, width_px: int, height_px: int, config: ProtectConfig) -> float:
        """Seconds for one picture; 0 if its size is unknown."""
        if not width_px or not height_px:
            return 0.0
        encoded = encoded_per_step(width_px, height_px, config)
        per_step = self.seconds_per_step + self.seconds_per_step_and_pixel * encoded
        return config.recipe.steps * per_step + self.seconds_per_picture + self.seconds_per_pixel * width_px * height_px


def encoded_per_step(width_px: int, height_px: int, config: ProtectConfig) -> float:
    """Approximate number of pixels given to the encoder for one step over a whole picture, at all scales; overlaps of windows
    count once per window."""
    tiles = windows(height_px, width_px, tile_px=config.tile_px)
    seen = sizes(height_px, width_px, config.scales, longest_px=config.posted_px)
    return len(tiles) * encoded_pixels(tiles[0], height_px, width_px, seen)


def measure_pace(
    config: ProtectConfig, *, surrogate: AnySurrogate, evaluate: bool = True, on_step: Progress | None = None
) -> Pace:
    """Time a few steps on pictures of noise; writes nothing.

    Args:
        evaluate, on_step: see `protect`.

    Raises:
        PictureError, DeviceError: the noise pictures cannot be protected.
    """
    quick = replace(config, region=None, scales=("native",))  # regions and scales may not fit the small pictures

    def seconds(side_px: int, steps: int) -> float:
        noise = Picture(np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8))
        started = time.perf_counter()
        protect(noise, replace(quick, steps=steps), surrogate=surrogate, evaluate=evaluate, on_step=on_step)
        return time.perf_counter() - started

    def per_step_and_rest(side_px: int) -> tuple[float, float]:
        few, more = (seconds(side_px, steps) for steps in _STEPS)
        per_step = max(more - few, 0.0) / (_STEPS[1] - _STEPS[0])
        return per_step, max(few - _STEPS[0] * per_step, 0.0)

    small_px, large_px = (side**2 for side in _SIDES_PX)
    seconds(_SIDES_PX[1], _STEPS[0])  # warm-up
    (small_step, small_rest), (large_step, large_rest) = map(per_step_and_rest, _SIDES_PX)
    per_step_and_pixel = max(large_step - small_step, 0.0) / (large_px - small_px)
    per_pixel = max(large_rest - small_rest, 0.0) / (large_px - small_px)
    return Pace(
        per_step_and_pixel,
        per_pixel,
        max(small_step - per_step_and_pixel * small_px, 0.0),
        max(small_rest - per_pixel * small_px, 0.0),
    )


def estimate(jobs: Iterable[Job], config: ProtectConfig, *, surrogate: AnySurrogate, evaluate: bool = True) -> Estimate:
    """Estimate from the current pace of this machine. Raises as `measure_pace` does."""
    sizes = [(job.source.width_px, job.source.height_px) for job in jobs]
    pace = measure_pace(config, surrogate=surrogate, evaluate=evaluate)
    megapixels = sum(width_px * height_px for width_px, height_px in sizes) / 1e6
    return Estimate(len(sizes), megapixels, sum(pace.seconds(*size, config) for size in sizes))
