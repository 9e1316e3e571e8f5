"""How long a run will take, from a few steps on one small picture with the encoder and settings of the run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pca_protect.config import ProtectConfig
from pca_protect.io.picture import Picture
from pca_protect.io.plan import Job
from pca_protect.protection import protect
from pca_protect.scales import encoded_pixels
from pca_protect.surrogates.several import Encoders
from pca_protect.tiling import windows

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


def estimate(jobs: Iterable[Job], config: ProtectConfig, *, surrogate: Encoders) -> Estimate:
    """Optimises a picture of noise a few steps long; writes nothing.

    Raises:
        PictureError, DeviceError: not even that can be done.
    """
    jobs = list(jobs)
    pixels = sum(job.source.width_px * job.source.height_px for job in jobs)
    encoded = sum(_encoded(job, config) for job in jobs)
    noise = Picture(np.random.default_rng(0).integers(0, 256, (_SIDE_PX, _SIDE_PX, 3), dtype=np.uint8))
    quick = replace(config, region=None, scales=())

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        protect(noise, replace(quick, steps=steps), surrogate=surrogate)
        return time.perf_counter() - started

    seconds(_STEPS[0])  # the first one also warms up
    few, more = (seconds(steps) for steps in _STEPS)
    per_step = max(more - few, 0.0) / (_STEPS[1] - _STEPS[0])
    steps = config.recipe.steps * per_step * encoded / _SIDE_PX**2
    return Estimate(len(jobs), pixels / 1e6, steps + max(few - per_step, 0.0) * pixels / _SIDE_PX**2)


def _encoded(job: Job, config: ProtectConfig) -> float:
    """Pixels that the encoder is given for each step, those that windows share counted for each."""
    height, width = job.source.height_px, job.source.width_px
    if not height or not width:
        return 0.0
    walk = windows(height, width, tile_px=config.tile_px)
    return len(walk) * encoded_pixels(walk[0], height, width, config.scales)
