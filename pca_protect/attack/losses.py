"""Objectives on an encoder's posterior, one value per image.

Functions on tensors: they know neither pictures nor models. All sums run over the latent of one image, in float32
or better, so that images of a batch never influence one another.
"""

from __future__ import annotations

import torch
from torch import Tensor


def posterior_collapse(mean: Tensor, logvar: Tensor | None, target_variance: float | Tensor = 1.0) -> Tensor:
    """Unified posterior-collapse loss between the encoder's posterior and a zero-mean Gaussian of variance v.

        L(x; v) = 1/2 * sum_i( -ln s_i^2 - 1 + (m_i^2 + s_i^2) / v ),    KL( N(m, s^2) || N(0, v) ) = L + (d/2) ln v

    Guo et al., "A Gray-box Attack against Latent Diffusion Model-based Image Editing by Posterior Collapse",
    arXiv 2408.10901. Ascending it at v = 1 is the paper's PCA+ (mode `diffusion`), descending it at v = 1e-8 its
    PCA- (mode `concentration`).

    Args:
        mean: posterior means m, shape `(B, ...)`.
        logvar: logarithm of the posterior variances s^2, same shape; None for encoders without a variance
            (AutoencoderTiny, AutoencoderDC), for which only the mean term 1/2 * sum(m^2 / v) remains.
        target_variance: v > 0, one number or a tensor that broadcasts against `mean`, such as the clean posterior's
            own variance.

    Returns:
        Shape `(B,)`, float32 (float64 for float64 input). For one number v it is at least -(d/2) ln v, reached
        when the posterior equals the target. Neither direction is better in itself: the mode decides.

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
    """How many times the power of the clean latent a latent has, the mean over its channels, each in its own units.

        P(x) = 1/C * sum_c( sum_i m_ci^2 / sum_i m0_ci^2 )

    The mean term of the unified loss (arXiv 2408.10901) with the clean latent's own power in each channel for the target
    variance, without its variance terms. An editor adds noise of fixed strength to the latent: what has grown beyond it is
    what the edit starts from. It hardly ever samples the posterior's variance, which is tiny beside the mean, so the part
    of a budget that goes into growing it, as PCA+ does, is seen and changes no edit. The ratio makes encoders comparable,
    whatever their scale and their number of channels. Ascended on a logarithmic scale in mode `subtle`.

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
