from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pca_protect import posterior_collapse


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
