"""The values that objectives return and report: signs, scales, and one image's independence of its batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from torch import Tensor

from pca_protect import Surrogate
from pca_protect.attack.losses import posterior_collapse
from pca_protect.attack.objectives import CollapseObjective
from pca_protect.attack.posterior import Posterior
from pca_protect.attack.visibility import Visibility, mean_energy
from pca_protect.image.tensors import to_tensor


@pytest.fixture(scope="module")
def batch() -> Tensor:
    """`(2, 3, 24, 32)`: two pictures whose posteriors differ."""
    pixels = to_tensor([np.asarray(smooth_picture(32, 24, seed=seed)) for seed in range(2)])
    pixels[1] = pixels[1] * 0.2
    return pixels


@pytest.mark.parametrize("variance", [1e-8, 0.25, 4.0])
@pytest.mark.parametrize(("direction", "sign"), [("up", -1), ("down", 1)])
def test_the_value_is_the_loss_scaled_by_the_variance_and_signed(
    tiny: Surrogate, batch: Tensor, variance: float, direction: str, sign: int
):
    objective = CollapseObjective(tiny.posterior, variance, direction, batch)
    with torch.no_grad():
        value, posterior = objective(batch), tiny.posterior(batch)
        loss = posterior_collapse(posterior.mean, posterior.logvar, variance)
    assert torch.equal(value, sign * min(variance, 1.0) * loss)
    assert torch.equal(objective.latest, loss), "in its own unit"


@pytest.mark.parametrize("logarithmic", [False, True])
def test_the_own_variance_of_a_picture_is_that_of_no_other(tiny: Surrogate, batch: Tensor, logarithmic: bool):
    def encode(pixels: Tensor) -> Posterior:
        """With variances below 1 that grow with brightness."""
        posterior = tiny.posterior(pixels)
        assert posterior.logvar is not None
        return Posterior(posterior.mean, posterior.logvar - 8 + 8 * pixels.mean(dim=(1, 2, 3), keepdim=True))

    moved = (batch + 0.1).clamp(0, 1)
    with torch.no_grad():
        together = CollapseObjective(encode, "posterior", "up", batch, logarithmic=logarithmic)(moved)
        alone = [
            CollapseObjective(encode, "posterior", "up", one[None], logarithmic=logarithmic)(after[None])
            for one, after in zip(batch, moved, strict=True)
        ]
    assert together == pytest.approx(torch.cat(alone), rel=1e-4)


@pytest.mark.parametrize("variance", [0.25, 4.0])
def test_the_logarithm_is_of_the_divergence(tiny: Surrogate, batch: Tensor, variance: float):
    with torch.no_grad():
        value = CollapseObjective(tiny.posterior, variance, "down", batch, logarithmic=True)(batch)
        posterior = tiny.posterior(batch)
    assert posterior.logvar is not None
    normal = torch.distributions.Normal(posterior.mean.double(), (0.5 * posterior.logvar.double()).exp())
    target = torch.distributions.Normal(torch.zeros_like(normal.loc), math.sqrt(variance))
    divergence = torch.distributions.kl_divergence(normal, target).flatten(start_dim=1).sum(dim=1)
    assert value == pytest.approx((min(variance, 1.0) * divergence).log().float(), rel=1e-4)


def test_of_an_encoder_without_a_variance_the_logarithm_is_of_the_loss(tiny: Surrogate, batch: Tensor):
    def encode(pixels: Tensor) -> Posterior:
        return Posterior(tiny.posterior(pixels).mean, None)

    with torch.no_grad():
        value = CollapseObjective(encode, 0.25, "down", batch, logarithmic=True)(batch)
        mean = encode(batch).mean
    assert value == pytest.approx((0.25 * posterior_collapse(mean, None, 0.25)).log(), rel=1e-5)


def test_visibility_is_averaged_over_the_mask(batch: Tensor):
    mask = torch.zeros(2, 1, 24, 32)
    mask[:, :, :6, :8] = 1
    visibility = Visibility(batch)
    changed = batch.clone()
    changed[..., :12, :16] += 0.05
    energy_map = visibility.energy_map(changed)
    expected = energy_map[..., :6, :8].mean(dim=(1, 2, 3))
    assert torch.allclose(mean_energy(energy_map, mask), expected)
    assert torch.allclose(visibility.energy(changed, mask), expected)
    assert not torch.allclose(visibility.energy(changed), expected)
    assert torch.equal(mean_energy(energy_map, torch.zeros_like(mask)), torch.zeros(2))
