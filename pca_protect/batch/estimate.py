"""How long a run will take, from a few steps on one small picture with the encoder and settings of the run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pca_protect.config import ProtectConfig
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
    pictures: to do.
    megapixels: of those whose header could be read.
    seconds: on this machine, as busy as it is now, by one process; reading and writing overlap with it.
    """

    pictures: int
    megapixels: float
    seconds: float


@dataclass(frozen=True)
class Pace:
    """How fast this machine is with some encoders and settings, as busy as it is now.

    Attributes:
        seconds_per_step_and_pixel: pixels being those that the encoder is given.
        seconds_per_pixel: of a picture, once: measuring what was done.
    """

    seconds_per_step_and_pixel: float
    seconds_per_pixel: float

    def seconds(self, width_px: int, height_px: int, config: ProtectConfig) -> float:
        """For one picture; 0 for one without a known size."""
        if not width_px or not height_px:
            return 0.0
        walk = windows(height_px, width_px, tile_px=config.tile_px)
        encoded = len(walk) * encoded_pixels(
            walk[0], height_px, width_px, sizes(height_px, width_px, config.scales, longest_px=config.posted_px)
        )  # what windows share, for each
        return (
            config.recipe.steps * self.seconds_per_step_and_pixel * encoded
            + self.seconds_per_pixel * width_px * height_px
        )


def measure_pace(config: ProtectConfig, *, surrogate: AnySurrogate, evaluate: bool = True) -> Pace:
    """Optimises a picture of noise a few steps long; writes nothing.

    Args:
        evaluate: see `protect`.

    Raises:
        PictureError, DeviceError: not even that can be done.
    """
    noise = Picture(np.random.default_rng(0).integers(0, 256, (_SIDE_PX, _SIDE_PX, 3), dtype=np.uint8))
    quick = replace(config, region=None, scales=("native",))  # the noise is smaller than what places store

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        protect(noise, replace(quick, steps=steps), surrogate=surrogate, evaluate=evaluate)
        return time.perf_counter() - started

    seconds(_STEPS[0])  # the first one also warms up
    few, more = (seconds(steps) for steps in _STEPS)
    per_step = max(more - few, 0.0) / (_STEPS[1] - _STEPS[0])
    return Pace(per_step / _SIDE_PX**2, max(few - per_step, 0.0) / _SIDE_PX**2)


def estimate(jobs: Iterable[Job], config: ProtectConfig, *, surrogate: AnySurrogate, evaluate: bool = True) -> Estimate:
    """At the pace that this machine has now. Raises as `measure_pace` does."""
    sizes = [(job.source.width_px, job.source.height_px) for job in jobs]
    pace = measure_pace(config, surrogate=surrogate, evaluate=evaluate)
    megapixels = sum(width_px * height_px for width_px, height_px in sizes) / 1e6
    return Estimate(len(sizes), megapixels, sum(pace.seconds(*size, config) for size in sizes))
