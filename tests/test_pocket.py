"""The embedded VAE is what its model card says: of the right shape, informative, able to reconstruct."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT
from diffusers import AutoencoderKL
from PIL import Image

from pca_protect import posterior_collapse
from pca_protect.surrogates.adapter import Surrogate

FOLDER = Path(str(resources.files("pca_protect.pocket"))) / "pocket"


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(FOLDER, use_safetensors=True).float().eval()


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    array = np.asarray(Image.open(ASTRONAUT).resize((256, 256), Image.Resampling.LANCZOS))
    return torch.from_numpy(array.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255


def test_is_of_the_stable_diffusion_kind(pocket: Surrogate):
    assert (pocket.multiple, pocket.latent_channels, pocket.has_variance) == (8, 4, True)
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 8_000_000


def test_latents_are_centred_and_of_about_unit_variance(vae: AutoencoderKL, photograph: torch.Tensor):
    assert vae.config.scaling_factor == pytest.approx(1, abs=0.15)
    with torch.no_grad():
        latent = vae.encode(photograph * 2 - 1).latent_dist.mean
    assert 0.4 < float(latent.std()) < 2.5, "one photograph need not look like their average"


def test_posterior_is_informative(pocket: Surrogate, photograph: torch.Tensor):
    posterior = pocket.posterior(photograph)
    divergence = posterior_collapse(posterior.mean, posterior.logvar, 1.0) / posterior.mean.numel()
    assert float(divergence) >= 1, "nats of KL to N(0, 1) per latent element"


def test_reconstructs_a_photograph(vae: AutoencoderKL, photograph: torch.Tensor):
    with torch.no_grad():
        decoded = vae.decode(vae.encode(photograph * 2 - 1).latent_dist.mean).sample / 2 + 0.5
    psnr = -10 * float((decoded.clamp(0, 1) - photograph).square().mean().log10())
    assert psnr > 20
