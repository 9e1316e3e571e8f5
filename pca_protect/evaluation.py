"""Effect of a protection on the encoders, measured on 8-bit pictures against a control: noise of the same budget."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from pca_protect.attack.objectives import Loss
from pca_protect.attack.posterior import Posterior, concatenate
from pca_protect.attack.visibility import visible_levels
from pca_protect.config import Scale
from pca_protect.device import empty_cache, is_out_of_memory
from pca_protect.errors import not_finite
from pca_protect.image.resize import resized, sizes
from pca_protect.image.tensors import Mask, Uint8Image, to_tensor
from pca_protect.image.tiling import GRID_PX, Window, window_grid, windows
from pca_protect.io.picture import Picture
from pca_protect.memory import evaluated_at_once
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate

NOISE_DRAWS = 4
"""Minimum number of noise draws. Each window of a picture counts as a draw of its own."""

SAMPLE_PX = 96
"""Side in pixels of the evaluated square for presets without gradient steps: evaluating the whole picture would take 20 times as
long as protecting it. The square takes less than half of the total time for pictures of 512 px and more."""

_STRIP_PX = 256


@dataclass(frozen=True)
class Shift:
    """Shift of a changed picture's posterior against the clean picture's.

    Attributes:
        latent: ||m' - m|| / ||m||, relative distance of the means; 0 is unchanged.
        norm: ||m'|| / ||m||, relative norm of the mean; 1 is unchanged, 0 is full collapse.
        loss: loss of the mode: posterior collapse in nats, or latent power relative to the clean picture's.
    """

    latent: float
    norm: float
    loss: float


@dataclass(frozen=True)
class Evaluation:
    """Measurements on one protected picture.

    Attributes:
        psnr_db: PSNR of the protected picture against the original; None if nothing changed.
        visible_levels: visibility of the change, averaged over the mask, see `visibility.in_levels`; lower is less visible.
        loss_clean: the loss of the original.
        protected: shift by the protection.
        noise: shift by uniform noise of the same budget: root mean square over the draws of latent shift and norm, mean of
            the loss.
        gain_over_noise: latent shift by the protection divided by that of noise; 1 is no better than noise. In mode
            `concentration`, `protected.norm` shows whether the latent shrinks.
        evaluation_sample_px: side of the evaluated square; None if the whole picture was evaluated.
        evaluation_tile_px: longest side of the windows in which the picture was encoded; None if it was encoded whole, as
            editors do.
    """

    psnr_db: float | None
    visible_levels: float
    loss_clean: float
    protected: Shift
    noise: Shift
    gain_over_noise: float
    evaluation_sample_px: int | None
    evaluation_tile_px: int | None


@dataclass(frozen=True)
class Criteria:
    """Settings of an evaluation; `engine.criteria` derives them from a request.

    Attributes:
        budget_levels: of the noise control, in 8-bit levels.
        seed: of the noise control.
        loss: loss of the mode.
        scales, posted_px: sizes at which editors see the picture, see `resize.sizes`.
        tile_px: longest window side in pixels, for pictures that do not fit into memory. Others are encoded whole, as editors
            do, because normalisation layers average over the picture.
        max_megabytes: the user's memory limit; None is no limit.
    """

    budget_levels: int
    seed: int
    loss: Loss
    scales: tuple[Scale, ...]
    posted_px: int | None
    tile_px: int
    max_megabytes: int | None


def evaluate(
    original: Picture,
    protected: Picture,
    *,
    surrogate: AnySurrogate,
    criteria: Criteria,
    mask: Mask | None = None,
    sample_px: int | None = None,
    on_window: Callable[[], None] | None = None,
) -> Evaluation:
    """Evaluate a protected picture with every encoder and at every scale it was protected for. Returns the figures of the
    encoder and scale with the lowest `gain_over_noise`. Encoders compute in fp32.

    Args:
        criteria: see `Criteria`.
        mask: `(H, W)`, true where the picture may change and noise is added; None is everywhere.
        sample_px: evaluate a square of this side in the middle of the mask; None evaluates the whole picture.
        on_window: called before each window is encoded; an exception from it ends the evaluation.

    Raises:
        ModelError: an encoder returns non-finite values.
    """
    if sample_px is not None:
        place = _sample_square(original, mask, sample_px)
        original, protected = (replace(picture, rgb=picture.rgb[place]) for picture in (original, protected))
        mask = None if mask is None else mask[place]
    tile = None if _fits_whole(original, surrogate, criteria) else criteria.tile_px
    try:
        loss_clean, by_protection, by_noise = _weakest(original, protected, surrogate, criteria, mask, tile, on_window)
    except RuntimeError as error:
        if tile is not None or not is_out_of_memory(error):
            raise
        empty_cache(surrogate.device)
        tile = criteria.tile_px
        loss_clean, by_protection, by_noise = _weakest(original, protected, surrogate, criteria, mask, tile, on_window)
    return Evaluation(
        psnr_db=_psnr_db(original.rgb, protected.rgb),
        visible_levels=visible_levels(original.rgb, protected.rgb, mask=mask),
        loss_clean=loss_clean,
        protected=by_protection,
        noise=by_noise,
        gain_over_noise=_gain(by_protection, by_noise),
        evaluation_sample_px=sample_px,
        evaluation_tile_px=tile,
    )


def _sizes(original: Picture, criteria: Criteria) -> list[tuple[int, int]]:
    return sizes(original.height, original.width, criteria.scales, longest_px=criteria.posted_px)


def _fits_whole(original: Picture, surrogate: AnySurrogate, criteria: Criteria) -> bool:
    seen = _sizes(original, criteria)
    return all(
        evaluated_at_once(member.in_fp32, height=height, width=width, pictures=1, max_megabytes=criteria.max_megabytes)
        for member in surrogate.members
        for height, width in seen
    )


def _weakest(
    original: Picture,
    protected: Picture,
    surrogate: AnySurrogate,
    criteria: Criteria,
    mask: Mask | None,
    tile_px: int | None,
    on_window: Callable[[], None] | None,
) -> tuple[float, Shift, Shift]:
    """Loss of the original, shift by the protection and shift by noise, for the encoder and scale with the lowest gain."""
    members = [member.in_fp32 for member in surrogate.members]
    seen = _sizes(original, criteria)
    fewest = min(len(_windows_of(size, member, tile_px)) for member in members for size in seen)
    draws = range(-(-NOISE_DRAWS // fewest))
    noisy = [with_noise(original, criteria.budget_levels, criteria.seed, mask, draw=draw).rgb for draw in draws]
    pictures = [original.rgb, protected.rgb, *noisy]
    results = [
        _shifts(resized_pictures, member, criteria, tile_px, on_window)
        for resized_pictures in ([_at_size(levels, size) for levels in pictures] for size in seen)
        for member in members
    ]
    return min(results, key=lambda result: _gain(*result[1:]))


def with_noise(original: Picture, budget_levels: int, seed: int, mask: Mask | None = None, *, draw: int = 0) -> Picture:
    """The noise control: the picture plus uniform integer noise within the budget, clipped to [0, 255]. Seed, draw and picture
    determine the noise; in grey pictures it is equal in all channels. It is drawn in strips of rows to save memory.

    Args:
        budget_levels: largest change of a channel, in 8-bit levels.
        mask: `(H, W)`, true where noise is added; None is everywhere.
        draw: index of the draw.
    """
    key = hashlib.sha256(np.ascontiguousarray(original.rgb).data)
    key.update((f"{seed}/{draw}" if draw else str(seed)).encode())
    generator = np.random.default_rng(int.from_bytes(key.digest()[:8], "big"))
    noisy = original.rgb.copy()
    for top in range(0, original.height, _STRIP_PX):
        strip = noisy[top : top + _STRIP_PX]
        shape = (*strip.shape[:2], 1 if original.gray else 3)
        noise = generator.integers(-budget_levels, budget_levels, shape, dtype=np.int16, endpoint=True)
        if mask is not None:
            noise *= mask[top : top + _STRIP_PX, :, None]
        strip[:] = (strip + noise).clip(0, 255)
    return replace(original, rgb=noisy)


def largest_change(clean: Uint8Image, changed: Uint8Image) -> int:
    """Largest change of any channel of any pixel, in levels."""
    return max(int((np.maximum(*rows) - np.minimum(*rows)).max()) for rows in zip(clean, changed, strict=True))


def _sample_square(picture: Picture, mask: Mask | None, side_px: int) -> tuple[slice, slice]:
    """The square to evaluate: starts on the window grid, contains the middle editable pixel, lies inside the picture."""
    center = (picture.height // 2, picture.width // 2)
    if mask is not None:
        rows, columns = np.nonzero(mask)
        center = (int(rows[len(rows) // 2]), int(columns[len(columns) // 2]))
    starts = (
        max(0, min(middle - side_px // 2, length - side_px)) // GRID_PX * GRID_PX
        for middle, length in zip(center, (picture.height, picture.width), strict=True)
    )
    top, left = starts
    return slice(top, top + side_px), slice(left, left + side_px)


@torch.no_grad()
def whole_posterior(
    pictures: Sequence[Uint8Image],
    surrogate: Surrogate,
    *,
    tile_px: int | None,
    at_once: int,
    on_window: Callable[[], None] | None = None,
) -> Posterior:
    """Posterior of whole pictures, computed whole or window by window. Each latent position comes from the window that keeps
    it.

    Args:
        pictures: of one size, `(H, W, 3)` each.
        tile_px: longest side of a window, in pixels; None is one window.
        at_once: batch size.
        on_window: called before each window is encoded.

    Returns:
        Moments `(B, C, h, w)` on the CPU.
    """
    rows = []
    for _, row in groupby(_windows_of(pictures[0].shape[:2], surrogate, tile_px), key=lambda window: window.rows):
        parts = []
        for window in row:
            if on_window is not None:
                on_window()
            parts.append(_kept_moments(pictures, window, surrogate, at_once))
        rows.append(concatenate(parts, dim=-1))
    return concatenate(rows, dim=-2)


def _windows_of(size: tuple[int, ...], surrogate: Surrogate, tile_px: int | None) -> list[Window]:
    return windows(size[0], size[1], tile_px=tile_px or max(size), grid_px=window_grid([surrogate.multiple]))


def _kept_moments(pictures: Sequence[Uint8Image], window: Window, surrogate: Surrogate, at_once: int) -> Posterior:
    pixels = to_tensor([levels[window.seen] for levels in pictures]).to(surrogate.device)
    posterior = _posterior(pixels, surrogate, at_once)
    rows, columns = (
        _positions(side, side_px, length, surrogate.multiple)
        for side, side_px, length in zip(window.kept_of_seen, pixels.shape[-2:], posterior.mean.shape[-2:], strict=True)
    )
    place = (..., rows, columns)
    logvar = posterior.logvar
    return Posterior(posterior.mean[place].cpu(), None if logvar is None else logvar[place].cpu())


def _positions(kept: slice, side_px: int, latent_length: int, multiple: int) -> slice:
    """Latent positions of the kept pixels along one axis of a window."""
    position_px = -(-side_px // multiple) * multiple // latent_length
    return slice(kept.start // position_px, -(-kept.stop // position_px))


def _posterior(pixels: Tensor, surrogate: Surrogate, at_once: int) -> Posterior:
    """Encode in batches; one by one if the device runs out of memory."""
    try:
        return concatenate([surrogate.posterior(batch) for batch in torch.split(pixels, at_once)])
    except RuntimeError as error:
        if at_once == 1 or not is_out_of_memory(error):
            raise
    empty_cache(surrogate.device)
    return _posterior(pixels, surrogate, 1)


def _shifts(
    pictures: Sequence[Uint8Image],
    surrogate: Surrogate,
    criteria: Criteria,
    tile_px: int | None,
    on_window: Callable[[], None] | None,
) -> tuple[float, Shift, Shift]:
    """Loss of the original, shift by the protection and shift by noise.

    Args:
        pictures: the original, the protected picture and the noisy ones.

    Raises:
        ModelError: the encoder returns non-finite values.
    """
    height, width = (min(side, tile_px or side) for side in pictures[0].shape[:2])
    at_once = evaluated_at_once(
        surrogate, height=height, width=width, pictures=len(pictures), max_megabytes=criteria.max_megabytes
    )
    posterior = whole_posterior(pictures, surrogate, tile_px=tile_px, at_once=max(1, at_once), on_window=on_window)
    clean, protected, *noisy = posterior.each()
    before = clean.mean.norm().clamp_min(1e-30)

    def shift(changed: Posterior) -> Shift:
        distance, norm = (changed.mean - clean.mean).norm(), changed.mean.norm()
        return Shift(float(distance / before), float(norm / before), float(criteria.loss(changed, clean)))

    draws = [shift(posterior) for posterior in noisy]
    by_noise = Shift(
        latent=_root_mean_square(draw.latent for draw in draws),
        norm=_root_mean_square(draw.norm for draw in draws),
        loss=float(np.mean([draw.loss for draw in draws])),
    )
    loss_clean, by_protection = float(criteria.loss(clean, clean)), shift(protected)
    if not all(math.isfinite(value) for value in (loss_clean, *vars(by_protection).values(), *vars(by_noise).values())):
        raise not_finite("for the finished picture")
    return loss_clean, by_protection, by_noise


def _gain(by_protection: Shift, by_noise: Shift) -> float:
    return by_protection.latent / max(by_noise.latent, 1e-30)


def _root_mean_square(values: Iterable[float]) -> float:
    return math.sqrt(float(np.mean(np.square(list(values)))))


def _at_size(levels: Uint8Image, size: tuple[int, int]) -> Uint8Image:
    return levels if levels.shape[:2] == size else resized(levels, size)


def _psnr_db(clean: Uint8Image, changed: Uint8Image) -> float | None:
    squares = sum(
        int(np.square(a.astype(np.int32) - b.astype(np.int32)).sum()) for a, b in zip(clean, changed, strict=True)
    )
    return None if squares == 0 else 10 * math.log10(255**2 * clean.size / squares)
