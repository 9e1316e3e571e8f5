"""Latent channels of mean 0, variance 1 and no correlation, exactly and without changing any reconstruction."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor


def whiten_latents(vae: AutoencoderKL, batches: list[Tensor]) -> None:
    """Whiten the posterior mean over pictures, in place: W = covariance^(-1/2) goes into `quant_conv` and its inverse into
    `post_quant_conv`, so that fine detail weighs as much in the latent as colour does.

    The variance of a mixture of channels is no linear map of their log-variances; the rows of `quant_conv` that give it
    are fitted by least squares.

    Args:
        batches: pictures `(B, 3, H, W)` in [0, 1], on the device of the VAE.
    """
    into, back = vae.quant_conv, vae.post_quant_conv
    channels = into.weight.shape[0] // 2
    with torch.no_grad():
        raw = torch.cat([_columns(vae.encoder(pixels * 2 - 1)) for pixels in batches]).double()
        moments = raw @ into.weight[:, :, 0, 0].double().T + into.bias.double()
        mean, variance = moments[:, :channels], moments[:, channels:].exp()
        shift = mean.mean(dim=0)
        covariance = (mean - shift).T @ (mean - shift) / len(mean)
        values, vectors = torch.linalg.eigh(covariance)
        whitening = vectors @ (values.rsqrt()[:, None] * vectors.T)
        colouring = vectors @ (values.sqrt()[:, None] * vectors.T)

        mixed = (variance @ whitening.square().T).log()
        with_ones = torch.cat([raw, torch.ones_like(raw[:, :1])], dim=1)
        fitted = torch.linalg.lstsq(with_ones, mixed).solution

        weight, bias = into.weight[:, :, 0, 0].double(), into.bias.double()
        new_weight = torch.cat([whitening @ weight[:channels], fitted[:-1].T])
        new_bias = torch.cat([whitening @ (bias[:channels] - shift), fitted[-1]])
        decoding = back.weight[:, :, 0, 0].double()
        back.bias += (decoding @ shift).float()
        back.weight.copy_((decoding @ colouring)[:, :, None, None])
        into.weight.copy_(new_weight[:, :, None, None])
        into.bias.copy_(new_bias)


def _columns(maps: Tensor) -> Tensor:
    """`(B, C, H, W)` as `(B * H * W, C)`."""
    return maps.movedim(1, -1).flatten(end_dim=-2)
