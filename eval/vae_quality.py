"""What a VAE is like: reconstruction, information in the posterior, how easily it is moved, whether latent spaces differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from pca_protect.attack.losses import posterior_collapse
from pca_protect.attack.objectives import CollapseObjective
from pca_protect.config import ProtectConfig
from pca_protect.engine import run_recipe
from pca_protect.eval.whole_vae import decoded, latent_mean
from pca_protect.surrogates.encoder import Surrogate

Vae = AutoencoderKL | AutoencoderTiny


def psnr_db(vae: Vae, pixels: Tensor, *, decoder: Vae | None = None) -> float:
    """PSNR of one picture `(1, 3, H, W)` in [0, 1] after encoding and decoding it, rounded to 8 bits; higher is better.

    Args:
        decoder: another VAE of the same latent space to decode with.
    """
    levels = (decoded(decoder or vae, latent_mean(vae, pixels)) * 255).round() / 255
    return -10 * math.log10(float((levels - pixels).square().mean()))


def nats_per_element(vae: AutoencoderKL, pixels: Tensor) -> float:
    """KL of the posterior of one picture to N(0, 1), per latent element; 0 is a posterior that says nothing."""
    with torch.no_grad():
        posterior = vae.encode(pixels * 2 - 1).latent_dist
    divergence = posterior_collapse(posterior.mean, posterior.logvar, 1.0)[0]
    return float(divergence / posterior.mean.numel())


def explained_variance(sources: list[Tensor], targets: list[Tensor], *, neighbourhood: int = 3) -> float:
    """Share of the variance of the target latents that the best linear map of the source latents explains, at most 1.

    The map sees a square of source positions around each target position. It is fitted on every other picture and
    judged on the rest.

    Args:
        sources, targets: latents `(1, C, h, w)` of the same pictures, at least two.
    """
    rows = [
        (_neighbours(source, neighbourhood), _columns(target)) for source, target in zip(sources, targets, strict=True)
    ]
    fit, rest = ([torch.cat(part) for part in zip(*rows[start::2], strict=True)] for start in (0, 1))
    solution = torch.linalg.lstsq(fit[0], fit[1]).solution
    unexplained = (rest[1] - rest[0] @ solution).square().mean()
    return float(1 - unexplained / (rest[1] - rest[1].mean(dim=0)).square().mean())


def _neighbours(latent: Tensor, side: int) -> Tensor:
    """`(h * w, C * side^2 + 1)`: what lies around each position, and a 1."""
    unfolded = F.unfold(latent.double(), side, padding=side // 2)[0].T
    return torch.cat([unfolded, torch.ones_like(unfolded[:, :1])], dim=1)


def _columns(latent: Tensor) -> Tensor:
    """`(h * w, C)`."""
    return latent[0].double().flatten(start_dim=1).T


LEVELS = 255


@dataclass(frozen=True)
class Vulnerability:
    """One value per picture, each measured on pictures rounded to 8 bits.

    Attributes:
        noise: ||m' - m|| / ||m|| under uniform noise of the whole budget.
        diffusion: the same under the mode `diffusion` of the preset `paper`.
        concentration: ||m'|| / ||m|| under the mode `concentration`: what is left of the norm.
    """

    noise: Tensor
    diffusion: Tensor
    concentration: Tensor

    def __str__(self) -> str:
        return (
            f"noise {float(self.noise.mean()):.0%}, diffusion {float(self.diffusion.mean()):.0%}, "
            f"concentration leaves {float(self.concentration.mean()):.0%}"
        )


def measure_vulnerability(
    surrogate: Surrogate, pixels: Tensor, *, budget_levels: int = 16, steps: int | None = None, seed: int = 0
) -> Vulnerability:
    """Measure an encoder on pictures `(B, 3, H, W)` in [0, 1].

    Args:
        steps: fewer than the published 40 for a quick look.
        seed: draws the noise.
    """
    clean = _means(surrogate, pixels)
    norm = clean.norm(dim=1)
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(pixels.shape, generator=generator).to(pixels.device) * 2 - 1
    noisy = _means(surrogate, (pixels + uniform * budget_levels / LEVELS).clamp(0, 1))
    moved = {}
    for mode in ("diffusion", "concentration"):
        config = ProtectConfig(mode=mode, preset="paper", budget_levels=budget_levels, steps=steps)
        found = run_recipe(pixels, CollapseObjective(surrogate.posterior, *config.objective, pixels), config)
        moved[mode] = _means(surrogate, found.pixels)
    return Vulnerability(
        noise=(noisy - clean).norm(dim=1) / norm,
        diffusion=(moved["diffusion"] - clean).norm(dim=1) / norm,
        concentration=moved["concentration"].norm(dim=1) / norm,
    )


def _means(surrogate: Surrogate, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return surrogate.posterior((pixels * LEVELS).round() / LEVELS).mean.flatten(start_dim=1)
