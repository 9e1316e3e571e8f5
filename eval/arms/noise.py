"""Controls that attack no encoder: noise, and perturbations taken from elsewhere."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from pca_protect.eval.pictures import Rgb

RUNGS = tuple(round(2 ** (step / 4), 2) for step in range(29))
"""Amplitudes of noise of equal visibility, from 1 to 128 levels. Noise matches a method within 9 %, and methods of near
visibility share its edits."""


def uniform_noise(picture: Rgb, levels: float, generator: torch.Generator) -> Rgb:
    """The picture `(H, W, 3)` with noise uniform in [-levels, levels], rounded and clipped to 8 bits."""
    noise = (torch.rand(picture.shape, generator=generator) * 2 - 1).numpy() * levels
    return _rounded(picture + noise)


def spectrum_noise(picture: Rgb, changed: Rgb, generator: torch.Generator) -> Rgb:
    """The picture `(H, W, 3)` with Gaussian-like noise that has the power spectrum, and the correlation between channels, of the
    change from `picture` to `changed`.

    The phases of the change are replaced by those of white noise (Theiler et al., Physica D 58, 1992). Its largest change exceeds
    that of the original perturbation, which favours the control.
    """
    height, width = picture.shape[:2]
    white = np.fft.rfft2(torch.randn((height, width), generator=generator).numpy())
    phases = white / np.abs(white)
    change = np.fft.rfft2(changed.astype(np.float64) - picture, axes=(0, 1))
    noise = np.fft.irfft2(change * phases[..., None], s=(height, width), axes=(0, 1))
    return _rounded(picture + noise)


def shuffled(picture: Rgb, other: Rgb, other_changed: Rgb) -> Rgb:
    """The picture `(H, W, 3)` with the perturbation of another picture of the same size."""
    return _rounded(picture.astype(np.float64) + other_changed - other)


class NoiseLadder:
    """Uniform noise on one picture at the amplitudes `RUNGS`, one draw scaled.

    Args:
        visible: (original, changed) -> visibility of the change; increases with noise.
        seed: of the noise.
    """

    def __init__(self, picture: Rgb, visible: Callable[[Rgb, Rgb], float], seed: int) -> None:
        self._picture = picture
        self._visible = visible
        self._seed = seed
        self._measured: dict[float, float] = {}

    def noisy(self, levels: float) -> Rgb:
        """The picture with noise of this amplitude."""
        return uniform_noise(self._picture, levels, torch.Generator().manual_seed(self._seed))

    def nearest(self, visibility: float) -> float:
        """The rung whose noise has the nearest visibility."""
        place = bisect_left(RUNGS, visibility, hi=len(RUNGS) - 1, key=self._visibility)
        below = RUNGS[max(place - 1, 0)]
        return min((below, RUNGS[place]), key=lambda levels: abs(self._visibility(levels) - visibility))

    def _visibility(self, levels: float) -> float:
        if levels not in self._measured:
            self._measured[levels] = self._visible(self._picture, self.noisy(levels))
        return self._measured[levels]


def _rounded(values: NDArray[np.floating]) -> Rgb:
    return values.round().clip(0, 255).astype(np.uint8)
