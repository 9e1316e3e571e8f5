"""Triton kernels of `norm_silu`. A program computes tiles of one image: `rows` pixels, and all channels, `padded` to a power of
two.

Arguments that they share: `x` `(B, pixels, channels)`, the input; `sums` `(B, 2, groups)`, summed from what `moments` stores;
`weight` and `bias` `(channels,)`. They compute in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

_SIZES = ["tiles", "pixels"]
"""Arguments for whose values no kernel is compiled anew: a folder has pictures of many sizes."""


@triton.jit(do_not_specialize=_SIZES)
def moments(
    x: tl.tensor,
    partial: tl.tensor,
    tiles: int,
    pixels: int,
    epsilon: float,
    channels: tl.constexpr,
    groups: tl.constexpr,
    rows: tl.constexpr,
    padded: tl.constexpr,
) -> None:
    """Sums of the difference to the group's first value, and of its square: without cancellation where the mean is large."""
    image = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, padded)
    x += image * pixels * channels
    first = tl.load(x + channel // (channels // groups) * (channels // groups), mask=channel < channels, other=0.0)
    total = tl.zeros((rows, padded), tl.float32)
    squares = tl.zeros((rows, padded), tl.float32)
    for tile in range(tiles):
        row = (tl.program_id(0) * tiles + tile) * rows + tl.arange(0, rows)
        inside = (row < pixels)[:, None] & (channel < channels)[None, :]
        place = row[:, None] * channels + channel[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        difference = tl.where(inside, value - first.to(tl.float32)[None, :], 0.0)
        total += difference
        squares += difference * difference
    _store_sums(partial, total, squares, image, channel, channels)


@triton.jit(do_not_specialize=_SIZES)
def gradient_sums(
    x: tl.tensor,
    sums: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    outer: tl.tensor,
    partial: tl.tensor,
    tiles: int,
    pixels: int,
    epsilon: float,
    channels: tl.constexpr,
    groups: tl.constexpr,
    rows: tl.constexpr,
    padded: tl.constexpr,
) -> None:
    """Sums of the gradient of the normalised values, and of its product with them."""
    image = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, padded)
    x += image * pixels * channels
    outer += image * pixels * channels
    mean, rstd = _statistics(x, sums, image, channel, pixels, epsilon, channels, groups)
    factor = tl.load(weight + channel, mask=channel < channels, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
    total = tl.zeros((rows, padded), tl.float32)
    products = tl.zeros((rows, padded), tl.float32)
    for tile in range(tiles):
        row = (tl.program_id(0) * tiles + tile) * rows + tl.arange(0, rows)
        inside = (row < pixels)[:, None] & (channel < channels)[None, :]
        place = row[:, None] * channels + channel[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        above = tl.load(outer + place, mask=inside, other=0.0).to(tl.float32)
        normal = (value - mean[None, :]) * rstd[None, :]
        of_normal = _of_normal(normal, factor, shift, above)
        total += of_normal
        products += of_normal * normal
    _store_sums(partial, total, products, image, channel, channels)


@triton.jit(do_not_specialize=["pixels"])
def activate(
    x: tl.tensor,
    sums: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    activated: tl.tensor,
    pixels: int,
    epsilon: float,
    channels: tl.constexpr,
    groups: tl.constexpr,
    rows: tl.constexpr,
    padded: tl.constexpr,
) -> None:
    image = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, padded)
    x += image * pixels * channels
    activated += image * pixels * channels
    mean, rstd = _statistics(x, sums, image, channel, pixels, epsilon, channels, groups)
    factor = tl.load(weight + channel, mask=channel < channels, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    inside = (row < pixels)[:, None] & (channel < channels)[None, :]
    place = row[:, None] * channels + channel[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    scaled = (value - mean[None, :]) * rstd[None, :] * factor[None, :] + shift[None, :]
    result = scaled * tl.sigmoid(scaled)
    tl.store(activated + place, result.to(activated.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["pixels"])
def gradient(
    x: tl.tensor,
    sums: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    outer: tl.tensor,
    gradient_sums: tl.tensor,
    of_skip: tl.tensor,
    gradient: tl.tensor,
    pixels: int,
    epsilon: float,
    channels: tl.constexpr,
    groups: tl.constexpr,
    rows: tl.constexpr,
    padded: tl.constexpr,
    has_skip: tl.constexpr,
) -> None:
    """Gradient of the input: `rstd * (g - mean(g) - normal * mean(g * normal))`, plus that of the skip connection."""
    image = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, padded)
    x += image * pixels * channels
    outer += image * pixels * channels
    gradient += image * pixels * channels
    mean, rstd = _statistics(x, sums, image, channel, pixels, epsilon, channels, groups)
    factor = tl.load(weight + channel, mask=channel < channels, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
    count = pixels * (channels // groups)
    place_of_sums = gradient_sums + image * 2 * groups + channel // (channels // groups)
    mean_gradient = tl.load(place_of_sums, mask=channel < channels, other=0.0) / count
    mean_product = tl.load(place_of_sums + groups, mask=channel < channels, other=0.0) / count
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    inside = (row < pixels)[:, None] & (channel < channels)[None, :]
    place = row[:, None] * channels + channel[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    above = tl.load(outer + place, mask=inside, other=0.0).to(tl.float32)
    normal = (value - mean[None, :]) * rstd[None, :]
    centred = _of_normal(normal, factor, shift, above) - mean_gradient[None, :] - normal * mean_product[None, :]
    result = rstd[None, :] * centred
    if has_skip:
        of_skip += image * pixels * channels
        result += tl.load(of_skip + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(gradient + place, result.to(gradient.dtype.element_ty), mask=inside)


@triton.jit
def _of_normal(normal: tl.tensor, factor: tl.tensor, shift: tl.tensor, above: tl.tensor) -> tl.tensor:
    """Gradient of the normalised values, from that of the activated ones."""
    scaled = normal * factor[None, :] + shift[None, :]
    sigmoid = tl.sigmoid(scaled)
    return above * sigmoid * (1.0 + scaled * (1.0 - sigmoid)) * factor[None, :]


@triton.jit
def _statistics(
    x: tl.tensor,
    sums: tl.tensor,
    image: tl.tensor,
    channel: tl.tensor,
    pixels: int,
    epsilon: float,
    channels: tl.constexpr,
    groups: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Mean and inverse standard deviation of every channel's group, from the sums of `moments`."""
    group = channel // (channels // groups)
    count = pixels * (channels // groups)
    place = sums + image * 2 * groups + group
    first = tl.load(x + group * (channels // groups), mask=channel < channels, other=0.0).to(tl.float32)
    mean = tl.load(place, mask=channel < channels, other=0.0) / count
    squares = tl.load(place + groups, mask=channel < channels, other=0.0) / count
    variance = tl.maximum(squares - mean * mean, 0.0)
    return first + mean, 1.0 / tl.sqrt(variance + epsilon)


@triton.jit
def _store_sums(
    partial: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    image: tl.tensor,
    channel: tl.tensor,
    channels: tl.constexpr,
) -> None:
    """Sums of two tiles over their rows, to `partial` `(B, sums, 2, C)`."""
    place = partial + (image * tl.num_programs(0) + tl.program_id(0)) * 2 * channels + channel
    tl.store(place, tl.sum(first, axis=0), mask=channel < channels)
    tl.store(place + channels, tl.sum(second, axis=0), mask=channel < channels)
