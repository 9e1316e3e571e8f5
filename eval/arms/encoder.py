"""Methods from the literature that look into the VAE encoder alone, as objectives to be minimised.

Written from the papers, one value per picture. They share the optimiser, budget, steps and precision with everything
they are compared with, so they are the papers' losses and not the papers' whole recipes.
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
    """||m||^2: PhotoGuard's encoder attack with the latent 0 as its target (Salman et al. 2023, arXiv 2302.06588)."""
    return lambda pixels: _squared_norm(surrogate.posterior(pixels).mean)


def mean_to_target(surrogate: Surrogate, target: Tensor) -> Objective:
    """||m - m_target||^2: the textural term of Mist (Liang & Wu 2023, arXiv 2305.12683).

    Args:
        target: pixels `(1 or B, 3, H, W)` in [0, 1] of the picture that the encoder should see.
    """
    with torch.no_grad():
        aim = surrogate.posterior(target).mean
    return lambda pixels: _squared_norm(surrogate.posterior(pixels).mean - aim)


def mean_away(surrogate: Surrogate, clean: Tensor) -> Objective:
    """-||m - m_clean||^2: the latent distance that EditShield maximises (Chen et al. 2023, arXiv 2311.12066).

    Its gradient is 0 at the clean pixels: start elsewhere.
    """
    with torch.no_grad():
        mean = surrogate.posterior(clean).mean
    return lambda pixels: -_squared_norm(surrogate.posterior(pixels).mean - mean)


def moments_away(surrogate: Surrogate, clean: Tensor) -> Objective:
    """-(mean squared change of m + mean squared change of ln s^2): PID with the loss that its authors run by default
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
        now = surrogate.posterior(pixels)
        assert now.logvar is not None
        change = (now.mean - mean).square() + (now.logvar - clean_logvar).square()
        return -change.flatten(start_dim=1).mean(dim=1)

    return objective


def pattern(size_px: int) -> Tensor:
    """A black and white tiling of slanted words, `(1, 3, size_px, size_px)` in [0, 1]: strong edges all over, in the
    spirit of Mist's target, whose own picture is not ours to ship."""
    tile = Image.new("RGB", (2 * size_px, 2 * size_px), "white")
    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(max(8, size_px // 12))
    line = size_px // 10
    for row, top in enumerate(range(0, tile.height, line)):
        draw.rectangle((0, top, tile.width, top + line // 3), fill="black")
        draw.text((-(row % 4) * line, top + line // 4), "NO EDITS " * 12, "black", font)
    turned = tile.rotate(30, Image.Resampling.BICUBIC, fillcolor="white")
    left = size_px // 2
    middle = turned.crop((left, left, left + size_px, left + size_px))
    return to_pixels(Picture(np.asarray(middle)))


def _squared_norm(latent: Tensor) -> Tensor:
    return latent.flatten(start_dim=1).square().sum(dim=1)
