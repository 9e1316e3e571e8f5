"""Noise controls: what a perturbation does that knows nothing about encoders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pca_protect.eval.pictures import Rgb

_LARGEST_LEVELS = 255.0
_TOLERANCE_LEVELS = 0.05


def uniform_noise(picture: Rgb, levels: float, generator: torch.Generator) -> Rgb:
    """The picture `(H, W, 3)` with noise uniform in [-levels, levels], rounded and clipped to 8 bits."""
    noise = (torch.rand(picture.shape, generator=generator) * 2 - 1).numpy() * levels
    return (picture + noise).round().clip(0, 255).astype(np.uint8)


def levels_as_visible(picture: Rgb, visibility: float, visible: Callable[[Rgb, Rgb], float], seed: int) -> float:
    """The amplitude at which uniform noise is as visible as asked, by bisection.

    Args:
        visibility: what `visible` should return.
        visible: how visible a changed picture is beside the original; grows with noise.
        seed: draws the noise, the same one at every amplitude.
    """
    low, high = 0.0, _LARGEST_LEVELS
    while high - low > _TOLERANCE_LEVELS:
        middle = (low + high) / 2
        noisy = uniform_noise(picture, middle, torch.Generator().manual_seed(seed))
        low, high = (middle, high) if visible(picture, noisy) < visibility else (low, middle)
    return (low + high) / 2
