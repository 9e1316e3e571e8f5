"""Losses on an encoder's posterior, one value per image.

Sums run over the latent of one image, in float32 or float64: images of a batch are independent.
"""

from __future__ import annotations

import torch
from torch import Tensor


def posterior_collapse(mean: Tensor, logvar: Tensor | None, target_variance: float | Tensor = 1.0) -> Tensor:
    """Unified posterior-collapse loss between the encoder's posterior and a zero-mean Gaussian of variance v, in nats.

        L(x; v) = 1/2 * sum_i( -ln s_i^2 - 1 + (m_i^2 + s_i^2) / v ),    KL( N(m, s^2) || N(0, v) ) = L + (d/2) ln v

    Guo et al., "A Gray-box Attack against Latent Diffusion Model-based Image Editing by Posterior Collapse",
    arXiv 2408.10901. Ascending it at v = 1 is the paper's PCA+ (mode `diffusion`), descending it at v = 1e-8 its
    PCA- (mode `concentration`).

    Args:
        mean: posterior means m, shape `(B, ...)`.
        logvar: logarithm of the posterior variances s^2, same shape; None for encoders without a variance
            (AutoencoderTiny, AutoencoderDC), for which only the mean term 1/2 * sum(m^2 / v) remains.
        target_variance: v > 0, a number or a tensor that broadcasts against `mean`, such as the clean posterior's
            variance.

    Returns:
        Shape `(B,)`, float32 (float64 for float64 input). For a number v the minimum is -(d/2) ln v, where
        the posterior equals the target. The mode determines which direction is better.

    Raises:
        ValueError: the shapes of mean and logvar differ, or a number v is not positive.
    """
    if logvar is not None and logvar.shape != mean.shape:
        raise ValueError(f"mean {tuple(mean.shape)} and logvar {tuple(logvar.shape)} differ in shape")
    if not isinstance(target_variance, Tensor) and not target_variance > 0:
        raise ValueError(f"target_variance is {target_variance}; it has to be positive")
    mean = _at_least_float32(mean)
    if logvar is None:
        return 0.5 * _sum_per_image(mean.square() / target_variance)
    logvar = _at_least_float32(logvar)
    return 0.5 * _sum_per_image((mean.square() + logvar.exp()) / target_variance - logvar - 1.0)


def latent_power(mean: Tensor, clean_mean: Tensor) -> Tensor:
    """Power of the latent divided by that of the clean latent, per channel; mean over the channels.

        P(x) = 1/C * sum_c( sum_i m_ci^2 / sum_i m0_ci^2 )

    The mean term of the unified loss (arXiv 2408.10901), with the clean latent's power per channel as target variance and
    without the variance terms. Editors add noise of fixed strength to the latent, so a latent that outgrows the noise
    determines the edit. They hardly ever sample the posterior's variance, which is tiny beside the mean: budget spent on
    increasing it, as in PCA+, is visible without effect. The ratio is comparable between encoders of any scale and number of
    channels. Mode `subtle` ascends its logarithm.

    Args:
        mean, clean_mean: posterior means `(B, C, h, w)` of the changed and the clean pictures.

    Returns:
        Shape `(B,)`, float32; 1 for the clean picture, 0 for a latent at zero.
    """
    power, clean = (_at_least_float32(x).square().mean(dim=(2, 3)) for x in (mean, clean_mean))
    return (power / clean.clamp_min(1e-12)).mean(dim=1)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _sum_per_image(x: Tensor) -> Tensor:
    return x.flatten(start_dim=1).sum(dim=1)
