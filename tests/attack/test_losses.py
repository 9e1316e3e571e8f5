from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pca_protect import posterior_collapse
from pca_protect.attack.losses import latent_power


def moments(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    mean = torch.randn(batch, 4, 5, 3, generator=generator, dtype=torch.float64)
    logvar = torch.randn(batch, 4, 5, 3, generator=generator, dtype=torch.float64) - 2
    return mean, logvar


@pytest.mark.parametrize("variance", [1.0, 1e-8, 0.37, 25.0])
def test_is_the_kl_divergence_less_a_constant(variance: float):
    mean, logvar = moments()
    target = Normal(torch.zeros_like(mean), math.sqrt(variance))
    divergence = kl_divergence(Normal(mean, (0.5 * logvar).exp()), target).flatten(1).sum(1)
    constant = mean[0].numel() / 2 * math.log(variance)
    torch.testing.assert_close(posterior_collapse(mean, logvar, variance), divergence - constant, rtol=1e-12, atol=0)


def test_target_variance_per_element():
    mean, logvar = moments()
    target = Normal(torch.zeros_like(mean), (0.5 * logvar).exp())
    divergence = kl_divergence(Normal(mean, (0.5 * logvar).exp()), target).flatten(1).sum(1)
    found = posterior_collapse(mean, logvar, logvar.exp()) + 0.5 * logvar.flatten(1).sum(1)
    torch.testing.assert_close(found, divergence, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variance", [1.0, 1e-8])
def test_gradient(variance: float):
    mean, logvar = (x.requires_grad_() for x in moments(batch=2))
    assert torch.autograd.gradcheck(lambda m, s: posterior_collapse(m, s, variance) * variance, (mean, logvar))


def test_without_a_variance_only_the_mean_term_remains():
    mean, _ = moments()
    torch.testing.assert_close(posterior_collapse(mean, None, 0.5), mean.square().flatten(1).sum(1))


def test_one_value_per_image_independent_of_the_batch():
    mean, logvar = moments()
    together = posterior_collapse(mean, logvar)
    alone = torch.cat([posterior_collapse(mean[i : i + 1], logvar[i : i + 1]) for i in range(3)])
    assert together.shape == (3,)
    assert torch.equal(together, alone)


def test_half_precision_moments_are_summed_in_float32():
    mean, logvar = (x.to(torch.bfloat16) for x in moments())
    loss = posterior_collapse(mean, logvar)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, posterior_collapse(mean.double(), logvar.double()).float(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("variance", [0.0, -1.0, float("nan")])
def test_refuses_a_variance_that_is_none(variance: float):
    with pytest.raises(ValueError, match="positive"):
        posterior_collapse(*moments(), variance)


def test_refuses_moments_of_different_shape():
    mean, logvar = moments()
    with pytest.raises(ValueError, match="differ in shape"):
        posterior_collapse(mean, logvar[:, :2])


def test_power_is_the_mean_over_channels_of_ratios():
    mean, _ = moments()
    clean = mean.roll(1, dims=0) * torch.tensor([1.0, 10.0, 0.1, 3.0], dtype=torch.float64).view(1, 4, 1, 1)
    wanted = [
        sum(float((m**2).sum() / (m0**2).sum()) for m, m0 in zip(one, other, strict=True)) / 4
        for one, other in zip(mean, clean, strict=True)
    ]
    assert latent_power(mean, clean).tolist() == pytest.approx(wanted, rel=1e-12)
    assert latent_power(clean, clean).tolist() == pytest.approx([1.0] * 3, rel=1e-12)
    assert latent_power(0 * clean, clean).tolist() == [0.0] * 3
    assert latent_power(2 * clean, clean).tolist() == pytest.approx([4.0] * 3, rel=1e-12)
    assert bool(latent_power(mean, 0 * clean).isfinite().all()), "an encoder that returns nothing for a blank picture"


def test_power_knows_no_units():
    """Of an encoder, nor of one of its channels."""
    mean, _ = moments()
    clean = mean.roll(1, dims=0)
    units = torch.tensor([7.0, 1e3, 1e-3, 0.2], dtype=torch.float64).view(1, 4, 1, 1)
    torch.testing.assert_close(latent_power(units * mean, units * clean), latent_power(mean, clean), rtol=1e-12, atol=0)


def test_gradient_of_power_and_its_batch():
    mean, _ = (x.requires_grad_() for x in moments(batch=2))
    clean = mean.detach().roll(1, dims=0)
    assert torch.autograd.gradcheck(lambda m: latent_power(m, clean), (mean,))
    alone = torch.cat([latent_power(mean[i : i + 1], clean[i : i + 1]) for i in range(2)])
    assert torch.equal(latent_power(mean, clean), alone)
    half = latent_power(mean.bfloat16(), clean.bfloat16())
    assert half.dtype == torch.float32
