"""Figures of one picture's posterior that protection changes, and the latent shift of its change against the original, compared
with noise of the same budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional as F

from pca_protect.attack.losses import posterior_collapse
from pca_protect.config import ProtectConfig
from pca_protect.device import is_out_of_memory
from pca_protect.engine import criteria
from pca_protect.errors import DeviceError, ModelError, UsageError
from pca_protect.eval.pictures import through_file, to_pixels
from pca_protect.evaluation import evaluate
from pca_protect.image.scale_names import Scale
from pca_protect.io.picture import Picture
from pca_protect.surrogates.encoder import Surrogate

LARGEST_SIDE_PX = 1024
"""Larger pictures are measured on their centre. Stable Diffusion's encoder took 0.7 GB for 512x512 px, and takes four times that
at this side."""

_JPEG_QUALITY = 50
"""At quality 75 the norms of protected pictures change less, those of clean ones about as much."""


@dataclass(frozen=True)
class Figures:
    """Figures of a posterior with d latent elements; dimensionless except for `nats`.

    Attributes:
        norm: ||m|| / sqrt(d), the root mean square of the means. Mode `diffusion` raises it, `concentration` lowers it.
        nats: the posterior-collapse loss at v = 1 per element (Guo et al., arXiv 2408.10901), in nats.
        smoothed, recompressed: ||m'|| / ||m||, where m' are the means of the picture after slight smoothing, or after JPEG
            compression at quality 50. Both remove more of a perturbation than of the picture. A norm raised by mode `diffusion`
            falls, most under smoothing; a norm lowered by `concentration` rises, most reliably under compression; norms of
            clean pictures change little.
    """

    norm: float
    nats: float
    smoothed: float
    recompressed: float


FIGURES = tuple(field.name for field in fields(Figures))


def figures_of(picture: Picture, surrogate: Surrogate) -> Figures:
    """Measure a picture.

    Raises:
        ModelError: the encoder returns non-finite numbers.
        DeviceError: the device is out of memory.
    """
    try:
        figures = _figures_of(picture, surrogate)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        remedy = "close other programs" if surrogate.device.type == "cpu" else "use `device=cpu`"
        raise DeviceError(
            f"{picture.source}: {surrogate.device} has too little memory for {picture.width}x{picture.height} px with "
            f"{surrogate.name}; {remedy}"
        ) from error
    if not all(map(math.isfinite, vars(figures).values())):
        raise ModelError(f"{surrogate.name}: its posterior is not finite; download or copy the model again")
    return figures


def _figures_of(picture: Picture, surrogate: Surrogate) -> Figures:
    pixels = to_pixels(picture).to(surrogate.device)
    with torch.no_grad():
        posterior = surrogate.posterior(pixels)
        smoothed = surrogate.posterior(_smoothed(pixels)).mean
        recompressed = surrogate.posterior(to_pixels(_recompressed(picture)).to(surrogate.device)).mean
    norm, elements = float(vector_norm(posterior.mean)), posterior.mean.numel()
    return Figures(
        norm=norm / math.sqrt(elements),
        nats=float(posterior_collapse(posterior.mean, posterior.logvar, 1.0)[0]) / elements,
        smoothed=float(vector_norm(smoothed)) / max(norm, 1e-30),
        recompressed=float(vector_norm(recompressed)) / max(norm, 1e-30),
    )


def middle(picture: Picture, largest_side_px: int = LARGEST_SIDE_PX) -> Picture:
    """The centre of a picture, cropped to sides of at most `largest_side_px`."""
    height, width = (min(side, largest_side_px) for side in (picture.height, picture.width))
    top, left = (picture.height - height) // 2, (picture.width - width) // 2
    return replace(picture, rgb=picture.rgb[top : top + height, left : left + width], alpha=None)


def _smoothed(pixels: Tensor) -> Tensor:
    """Pixels `(B, 3, H, W)` convolved with a 3x3 binomial kernel (approximately a Gaussian of 0.7 px), with reflected borders."""
    row = torch.tensor((0.25, 0.5, 0.25), device=pixels.device)
    kernel = torch.outer(row, row).expand(pixels.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="reflect"), kernel, groups=pixels.shape[1])


def _recompressed(picture: Picture) -> Picture:
    """The picture after JPEG compression at quality 50 with 4:2:0 chroma subsampling."""
    return replace(picture, rgb=through_file(picture.rgb, "JPEG", quality=_JPEG_QUALITY, subsampling="4:2:0"))


@dataclass(frozen=True)
class Shift:
    """Effect of the change, and of noise of the same budget, on one encoder's latent.

    Attributes:
        latent, noise_latent: ||m' - m|| / ||m||, the relative shift of the means; 0 is no shift.
        norm, noise_norm: ||m'|| / ||m||; 1 is unchanged, towards 0 is collapse.
        gain_over_noise: `latent` over `noise_latent`; 1 is no better than noise.
    """

    latent: float
    noise_latent: float
    norm: float
    noise_norm: float
    gain_over_noise: float


def require_same_size(picture: Picture, original: Picture) -> None:
    """Raises:
    UsageError: the pictures differ in size.
    """
    if picture.rgb.shape != original.rgb.shape:
        raise UsageError(
            f"{picture.source} has {picture.width}x{picture.height} px and `original` {original.source} "
            f"{original.width}x{original.height} px, which cannot be compared pixel by pixel; give the picture that was "
            "protected, at the same size"
        )


def shift_of(
    picture: Picture,
    original: Picture,
    surrogate: Surrogate,
    *,
    levels: int,
    seed: int,
    scales: tuple[Scale, ...] = (),
) -> Shift:
    """Effect of a change on an encoder, compared with integer noise on the original, uniform in [-levels, levels].

    Args:
        picture, original: of equal size.
        levels: the largest change of any channel of any pixel, above 0.
        seed: of the noise.
        scales: at which the encoder sees the pictures; the shift is that of the scale with the lowest gain over noise.
    """
    config = ProtectConfig(budget_levels=levels, seed=seed, scales=scales)
    found = evaluate(original, picture, surrogate=surrogate, criteria=criteria(config))
    return Shift(
        latent=found.protected.latent,
        noise_latent=found.noise.latent,
        norm=found.protected.norm,
        noise_norm=found.noise.norm,
        gain_over_noise=found.gain_over_noise,
    )
