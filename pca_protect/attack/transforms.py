"""Differentiable transforms that published pictures undergo, for expectation over transformation (EOT; Athalye et al.,
"Synthesizing Robust Adversarial Examples", arXiv 1707.07397).

The functions return a `Transform`. Random parameters are drawn once per call and shared by all images of the batch, so that
an image's result is independent of its batch. Only `jpeg` rounds to 8 bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pca_protect.attack.jpeg import through_jpeg
from pca_protect.image.lanczos import lanczos
from pca_protect.image.tensors import blurred

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""Pixels `(B, 3, H, W)` in [0, 1] with sides of at least 8 px, and a generator on the CPU -> pixels in [0, 1], differentiable,
of the same shape unless stated otherwise."""

Between = float | tuple[float, float]
"""A number, or the bounds of a uniform distribution."""


def jpeg(quality: int | tuple[int, int]) -> Transform:
    """JPEG compression, see `jpeg.through_jpeg`.

    Args:
        quality: 1 to 100 on libjpeg's scale, or the bounds of a uniform distribution.

    Raises:
        ValueError: the quality is out of range.
    """
    low, high = _bounds("JPEG quality", quality, 1, 100)

    def apply(pixels: Tensor, generator: torch.Generator) -> Tensor:
        drawn = low if low == high else torch.randint(int(low), int(high) + 1, (), generator=generator)
        return through_jpeg(pixels, int(drawn))

    return apply


def downscale_upscale(factor: Between) -> Transform:
    """Downscaling and upscaling to the original size, with a Lanczos filter.

    Args:
        factor: of the sides, from 0.01 to 1.

    Raises:
        ValueError: the factor is out of range.
    """
    bounds = _bounds("factor", factor, 0.01, 1)

    def apply(pixels: Tensor, generator: torch.Generator) -> Tensor:
        height, width = pixels.shape[-2:]
        drawn = _drawn(bounds, generator)
        small = _resized(pixels, (max(1, int(height * drawn)), max(1, int(width * drawn))))
        return _resized(small, (height, width))

    return apply


def crop_and_resize(share: Between, *, at: Literal["anywhere", "centre"] = "anywhere") -> Transform:
    """Cropping and upscaling to the original size, with a Lanczos filter.

    Args:
        share: fraction of each side that is cut off, from 0 to 0.99.
        at: position of the crop.

    Raises:
        ValueError: the share is out of range.
    """
    bounds = _bounds("share", share, 0, 0.99)

    def apply(pixels: Tensor, generator: torch.Generator) -> Tensor:
        height, width = pixels.shape[-2:]
        drawn = _drawn(bounds, generator)
        down, across = (0.5, 0.5) if at == "centre" else torch.rand(2, generator=generator).tolist()
        rows, columns = (
            (place * drawn * length, (place * drawn + 1 - drawn) * length)
            for place, length in ((down, height), (across, width))
        )
        return _resized(pixels, (height, width), rows, columns)

    return apply


def blur(sigma_px: Between) -> Transform:
    """Gaussian blur with replicated borders; the kernel is truncated at 4 standard deviations.

    Pillow's approximation by three box filters differs by at most 1 level on photographs, except at the borders.

    Raises:
        ValueError: the standard deviation is negative.
    """
    bounds = _bounds("sigma_px", sigma_px, 0, math.inf)

    def apply(pixels: Tensor, generator: torch.Generator) -> Tensor:
        sigma = _drawn(bounds, generator)
        if sigma == 0:
            return pixels
        return blurred(pixels, sigma, reach_px=math.ceil(4 * sigma)).clamp(0.0, 1.0)

    return apply


def gaussian_noise(deviation: Between) -> Transform:
    """Gaussian noise, independent per pixel and channel, the same for all images. `deviation` is its standard deviation in
    units of the [0, 1] range. Drawn on the pixels' device: the same seed draws other noise on another type of device.

    Raises:
        ValueError: the standard deviation is negative.
    """
    bounds = _bounds("deviation", deviation, 0, math.inf)

    def apply(pixels: Tensor, generator: torch.Generator) -> Tensor:
        drawn = _drawn(bounds, generator)
        there = _on_device(generator, pixels.device)
        noise = torch.randn(pixels.shape[1:], device=pixels.device, generator=there).to(pixels.dtype)
        return (pixels + drawn * noise).clamp(0.0, 1.0)

    return apply


def random_roll(most_px: int) -> Transform:
    """Cyclic shift right and down by up to `most_px` pixels, which moves the picture against the latent grid."""

    def apply(pixels: Tensor, generator: torch.Generator) -> Tensor:
        down, right = torch.randint(0, most_px + 1, (2,), generator=generator).tolist()
        return torch.roll(pixels, (down, right), dims=(-2, -1))

    return apply


def scale_brightness(factor: Between) -> Transform:
    """Multiplies the brightness by a factor (scale invariance; Lin et al., arXiv 1908.06281).

    Raises:
        ValueError: the factor is not from 0 to 1.
    """
    bounds = _bounds("factor", factor, 0, 1)
    return lambda pixels, generator: pixels * _drawn(bounds, generator)


def compose(*transforms: Transform) -> Transform:
    """Applies transforms in order; the identity without any."""

    def apply(pixels: Tensor, generator: torch.Generator) -> Tensor:
        for transform in transforms:
            pixels = transform(pixels, generator)
        return pixels

    return apply


def random_choice(transforms: Sequence[Transform], weights: Sequence[float] | None = None) -> Transform:
    """Applies one of the transforms, drawn at every call.

    Args:
        weights: relative probabilities; None is equal ones.

    Raises:
        ValueError: the number of weights is wrong, a weight is negative, or all are zero.
    """
    shares = torch.tensor([1.0] * len(transforms) if weights is None else weights, dtype=torch.float64)
    if len(shares) != len(transforms) or not bool((shares >= 0).all()) or not bool(shares.sum() > 0):
        raise ValueError(
            f"{len(transforms)} transforms with weights {weights}: give one for each, at least 0 and not all zero"
        )

    def apply(pixels: Tensor, generator: torch.Generator) -> Tensor:
        return transforms[int(torch.multinomial(shares, 1, generator=generator))](pixels, generator)

    return apply


def _bounds(what: str, between: Between, least: float, most: float) -> tuple[float, float]:
    low, high = between if isinstance(between, tuple) else (between, between)
    if not least <= low <= high <= most:
        raise ValueError(f"{what} {between}: give a number from {least} to {most}, or a range (low, high) within")
    return low, high


def _drawn(bounds: tuple[float, float], generator: torch.Generator) -> float:
    low, high = bounds
    return low if low == high else low + (high - low) * float(torch.rand((), generator=generator))


def _on_device(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """The generator itself for the CPU; for another device one there, seeded from it."""
    if device.type == "cpu":
        return generator
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))


def _resized(
    pixels: Tensor,
    size: tuple[int, int],
    rows: tuple[float, float] | None = None,
    columns: tuple[float, float] | None = None,
) -> Tensor:
    """Resizes a part, given as a range of rows and columns, or the whole. As in Pillow, one axis after the other with clamping
    to [0, 1], but without rounding."""
    height, width = pixels.shape[-2:]
    if columns is not None or size[1] != width:
        matrix = _lanczos(width, size[1], *(columns or (0.0, width)), pixels.dtype, pixels.device)
        pixels = (pixels @ matrix.T).clamp(0.0, 1.0)
    if rows is not None or size[0] != height:
        matrix = _lanczos(height, size[0], *(rows or (0.0, height)), pixels.dtype, pixels.device)
        pixels = (matrix @ pixels).clamp(0.0, 1.0)
    return pixels


@functools.lru_cache(maxsize=32)
def _lanczos(length: int, wanted: int, start: float, stop: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrix `(wanted, length)` that resamples an axis between `start` and `stop` to `wanted` pixels. The filter is stretched for
    downscaling only."""
    factor = (stop - start) / wanted
    centers = start + (np.arange(wanted) + 0.5) * factor
    matrix = lanczos(centers, np.arange(length) + 0.5, max(1.0, factor)).astype(np.float32)
    return torch.from_numpy(matrix).to(dtype).to(device)


_HALF = downscale_upscale(0.5)

EOT_PRESETS: dict[str, Transform] = {
    "jpeg": random_choice([compose(), jpeg((60, 90))]),
    "social": random_choice([compose(), jpeg((60, 90)), _HALF, compose(jpeg((65, 85)), _HALF)]),
}
"""Transforms by destination. Each step draws one of them or the identity."""

BETWEEN_ENCODERS = compose(
    random_roll(7), scale_brightness((0.6, 1.0)), gaussian_noise(0.06), random_choice([compose(), jpeg((60, 90))])
)
"""Improves the transfer of a perturbation to encoders it was not optimised against."""


def eot_transform(survive: str | None, *, for_unknown: bool) -> Transform | None:
    """Random transform applied to the pixels before every gradient; None applies none.

    Args:
        survive: name in `EOT_PRESETS`.
        for_unknown: append `BETWEEN_ENCODERS`.
    """
    parts = [EOT_PRESETS[survive]] if survive else []
    if for_unknown:
        parts.append(BETWEEN_ENCODERS)
    return compose(*parts) if parts else None
