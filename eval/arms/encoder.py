"""Published attacks on the VAE encoder alone, as objectives to minimise.

Implemented from the papers, one value per picture. Each is the paper's loss, not the paper's whole recipe: optimiser,
budget, steps and precision are the same for all methods.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pca_protect.attack.pgd import Objective
from pca_protect.errors import UsageError
from pca_protect.eval.pictures import to_pixels
from pca_protect.io.picture import Picture
from pca_protect.surrogates.encoder import Surrogate


def mean_to_zero(surrogate: Surrogate) -> Objective:
    """||m||^2: PhotoGuard's encoder attack with target latent 0 (Salman et al. 2023, arXiv 2302.06588)."""
    return lambda pixels: _squared_norm(surrogate.posterior(pixels).mean)


def mean_to_target(surrogate: Surrogate, target: Tensor) -> Objective:
    """||m - m_target||^2: the textural term of Mist (Liang & Wu 2023, arXiv 2305.12683).

    Args:
        target: pixels `(1 or B, 3, H, W)` in [0, 1] of the target picture.
    """
    with torch.no_grad():
        target_mean = surrogate.posterior(target).mean
    return lambda pixels: _squared_norm(surrogate.posterior(pixels).mean - target_mean)


def mean_away(surrogate: Surrogate, clean: Tensor) -> Objective:
    """-||m - m_clean||^2: the latent distance that EditShield maximises (Chen et al. 2023, arXiv 2311.12066).

    Its gradient is 0 at the clean pixels: start elsewhere.
    """
    with torch.no_grad():
        mean = surrogate.posterior(clean).mean
    return lambda pixels: -_squared_norm(surrogate.posterior(pixels).mean - mean)


def moments_away(surrogate: Surrogate, clean: Tensor) -> Objective:
    """-(mean squared change of m + mean squared change of ln s^2): PID with its authors' default loss
    (Li et al. 2024, arXiv 2406.09305). Its gradient is 0 at the clean pixels: start elsewhere.

    Raises:
        UsageError: the encoder has no variance.
    """
    with torch.no_grad():
        posterior = surrogate.posterior(clean)
    mean, logvar = posterior.mean, posterior.logvar
    if logvar is None:
        raise UsageError(f"pid needs an encoder with a variance and {surrogate.name} has none; leave this arm out")
    clean_logvar = logvar

    def objective(pixels: Tensor) -> Tensor:
        perturbed = surrogate.posterior(pixels)
        assert perturbed.logvar is not None
        change = (perturbed.mean - mean).square() + (perturbed.logvar - clean_logvar).square()
        return -change.flatten(start_dim=1).mean(dim=1)

    return objective


def pattern(size_px: int) -> Tensor:
    """A black-and-white tiling of slanted words, `(1, 3, size_px, size_px)` in [0, 1]. Like Mist's target picture, which we
    may not redistribute, it has strong edges everywhere."""
    tile = Image.new("RGB", (2 * size_px, 2 * size_px), "white")
    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(max(8, size_px // 12))
    line = size_px // 10
    for row, top in enumerate(range(0, tile.height, line)):
        draw.rectangle((0, top, tile.width, top + line // 3), fill="black")
        draw.text((-(row % 4) * line, top + line // 4), "NO EDITS " * 12, "black", font)
    rotated = tile.rotate(30, Image.Resampling.BICUBIC, fillcolor="white")
    left = size_px // 2
    middle = rotated.crop((left, left, left + size_px, left + size_px))
    return to_pixels(Picture(np.asarray(middle)))


def _squared_norm(latent: Tensor) -> Tensor:
    return latent.flatten(start_dim=1).square().sum(dim=1)
