"""Noise controls: perturbations that are independent of any encoder."""

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
    """Amplitude at which uniform noise has a given visibility, by bisection.

    Args:
        visibility: target value of `visible`.
        visible: (original, changed) -> visibility of the change; increases with noise.
        seed: of the noise; every amplitude scales the same draw.
    """
    low, high = 0.0, _LARGEST_LEVELS
    while high - low > _TOLERANCE_LEVELS:
        middle = (low + high) / 2
        noisy = uniform_noise(picture, middle, torch.Generator().manual_seed(seed))
        low, high = (middle, high) if visible(picture, noisy) < visibility else (low, middle)
    return (low + high) / 2
