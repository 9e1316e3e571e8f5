"""Effect of a protection on the encoders, measured on 8-bit pictures against a control: noise of the same budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pca_protect.attack.objectives import Loss
from pca_protect.attack.posterior import Posterior
from pca_protect.attack.visibility import visible_levels
from pca_protect.device import empty_cache, is_out_of_memory
from pca_protect.errors import not_finite
from pca_protect.image.resize import resized, sizes
from pca_protect.image.scale_names import Scale
from pca_protect.image.tensors import Mask, Uint8Image
from pca_protect.image.tiling import GRID_PX
from pca_protect.io.picture import Picture
from pca_protect.memory import evaluated_at_once
from pca_protect.noise_control import noise_draws
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate
from pca_protect.whole_posterior import whole_posterior, window_count

NOISE_DRAWS = 4
"""Minimum number of noise draws. Each window of a picture counts as a draw of its own."""

SAMPLE_PX = 96
"""Side in pixels of the evaluated square for presets without gradient steps: evaluating the whole picture would take 20 times as
long as protecting it. The square takes less than half of the total time for pictures of 512 px and more."""


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


@dataclass(frozen=True)
class Pair:
    """A picture, its protected version, and where it may change, `(H, W)`; None is everywhere."""

    original: Picture
    protected: Picture
    mask: Mask | None = None


@dataclass(frozen=True)
class _Shifts:
    """Loss of an original, shift by the protection and shift by noise, for one encoder and scale."""

    loss_clean: float
    protected: Shift
    noise: Shift

    @property
    def gain(self) -> float:
        return self.protected.latent / max(self.noise.latent, 1e-30)


def evaluate(
    original: Picture,
    protected: Picture,
    *,
    surrogate: AnySurrogate,
    criteria: Criteria,
    mask: Mask | None = None,
    sample_px: int | None = None,
) -> Evaluation:
    """`evaluate_batch` of one picture.

    Args:
        mask: `(H, W)`, true where the picture may change and noise is added; None is everywhere.

    Raises:
        ModelError: an encoder returns non-finite values.
    """
    pair = Pair(original, protected, mask)
    return evaluate_batch([pair], surrogate=surrogate, criteria=criteria, sample_px=sample_px)[0]


def evaluate_batch(
    pairs: Sequence[Pair],
    *,
    surrogate: AnySurrogate,
    criteria: Criteria,
    sample_px: int | None = None,
    on_window: Callable[[], None] | None = None,
) -> list[Evaluation]:
    """Evaluate protected pictures of one size with every encoder and at every scale they were protected for. Returns, for each,
    the figures of the encoder and scale with the lowest `gain_over_noise`. Encoders compute in fp32, on their device.

    Args:
        criteria: see `Criteria`.
        sample_px: evaluate a square of this side in the middle of the mask; None evaluates the whole picture.
        on_window: see `whole_posterior`.

    Raises:
        ModelError: an encoder returns non-finite values.
    """
    if sample_px is not None:
        pairs = [_sample(pair, sample_px) for pair in pairs]
    tile = None if _fits_whole(pairs[0].original, surrogate, criteria) else criteria.tile_px
    try:
        weakest = _weakest(pairs, surrogate, criteria, tile, on_window)
    except RuntimeError as error:
        if tile is not None or not is_out_of_memory(error):
            raise
        empty_cache(surrogate.device)
        tile = criteria.tile_px
        weakest = _weakest(pairs, surrogate, criteria, tile, on_window)
    return [
        Evaluation(
            psnr_db=_psnr_db(pair.original.rgb, pair.protected.rgb),
            visible_levels=visible_levels(
                pair.original.rgb, pair.protected.rgb, mask=pair.mask, device=surrogate.device
            ),
            loss_clean=found.loss_clean,
            protected=found.protected,
            noise=found.noise,
            gain_over_noise=found.gain,
            evaluation_sample_px=sample_px,
            evaluation_tile_px=tile,
        )
        for pair, found in zip(pairs, weakest, strict=True)
    ]


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
    pairs: Sequence[Pair],
    surrogate: AnySurrogate,
    criteria: Criteria,
    tile_px: int | None,
    on_window: Callable[[], None] | None,
) -> list[_Shifts]:
    """For each picture, the shifts for the encoder and scale with the lowest gain."""
    members = [member.in_fp32 for member in surrogate.members]
    seen = _sizes(pairs[0].original, criteria)
    fewest = min(window_count(size, member, tile_px) for member in members for size in seen)
    noisy = noise_draws(
        [pair.original for pair in pairs],
        [pair.mask for pair in pairs],
        budget_levels=criteria.budget_levels,
        seed=criteria.seed,
        draws=-(-NOISE_DRAWS // fewest),
    )
    pictures = [[pair.original.rgb, pair.protected.rgb, *of_pair] for pair, of_pair in zip(pairs, noisy, strict=True)]
    results = [
        _shifts(resized_pictures, member, criteria, tile_px, on_window)
        for resized_pictures in ([[_at_size(levels, size) for levels in one] for one in pictures] for size in seen)
        for member in members
    ]
    return [min(of_one, key=lambda shifts: shifts.gain) for of_one in zip(*results, strict=True)]


def _sample(pair: Pair, side_px: int) -> Pair:
    """The square to evaluate: starts on the window grid, contains the middle editable pixel, lies inside the picture."""
    size = (pair.original.height, pair.original.width)
    center = (size[0] // 2, size[1] // 2)
    if pair.mask is not None:
        rows, columns = np.nonzero(pair.mask)
        center = (int(rows[len(rows) // 2]), int(columns[len(columns) // 2]))
    top, left = (
        max(0, min(middle - side_px // 2, length - side_px)) // GRID_PX * GRID_PX
        for middle, length in zip(center, size, strict=True)
    )
    place = slice(top, top + side_px), slice(left, left + side_px)
    original, protected = (replace(picture, rgb=picture.rgb[place]) for picture in (pair.original, pair.protected))
    return Pair(original, protected, None if pair.mask is None else pair.mask[place])


def largest_change(clean: Uint8Image, changed: Uint8Image) -> int:
    """Largest change of any channel of any pixel, in levels."""
    return max(int((np.maximum(*rows) - np.minimum(*rows)).max()) for rows in zip(clean, changed, strict=True))


def _shifts(
    pictures: Sequence[Sequence[Uint8Image]],
    surrogate: Surrogate,
    criteria: Criteria,
    tile_px: int | None,
    on_window: Callable[[], None] | None,
) -> list[_Shifts]:
    """Shifts of pictures of one size, in one pass of the encoder if memory allows, and one copy from the device.

    Args:
        pictures: per picture, the original, the protected one and the noisy ones.

    Raises:
        ModelError: the encoder returns non-finite values.
    """
    flat = [levels for one in pictures for levels in one]
    height, width = (min(side, tile_px or side) for side in flat[0].shape[:2])
    at_once = evaluated_at_once(
        surrogate, height=height, width=width, pictures=len(flat), max_megabytes=criteria.max_megabytes
    )
    posteriors = whole_posterior(flat, surrogate, tile_px=tile_px, at_once=max(1, at_once), on_window=on_window).each()
    each = len(pictures[0])
    figures = torch.stack(
        [_figures(posteriors[first : first + each], criteria.loss) for first in range(0, len(flat), each)]
    )
    results = []
    for (_, _, loss_clean), protected, *noisy in figures.tolist():
        by_noise = Shift(
            latent=_root_mean_square(latent for latent, _, _ in noisy),
            norm=_root_mean_square(norm for _, norm, _ in noisy),
            loss=float(np.mean([loss for _, _, loss in noisy])),
        )
        results.append(_Shifts(loss_clean, Shift(*protected), by_noise))
        values = (loss_clean, *protected, *vars(by_noise).values())
        if not all(math.isfinite(value) for value in values):
            raise not_finite("for the finished picture")
    return results


def _figures(posteriors: Sequence[Posterior], loss: Loss) -> Tensor:
    """Latent shift, norm and loss of each posterior against the first, `(N, 3)` on their device."""
    clean = posteriors[0]
    norm = torch.linalg.vector_norm
    before = norm(clean.mean).clamp_min(1e-30)
    rows = [
        [norm(changed.mean - clean.mean) / before, norm(changed.mean) / before, loss(changed, clean)[0].float()]
        for changed in posteriors
    ]
    return torch.stack([torch.stack(row) for row in rows])


def _root_mean_square(values: Iterable[float]) -> float:
    return math.sqrt(float(np.mean(np.square(list(values)))))


def _at_size(levels: Uint8Image, size: tuple[int, int]) -> Uint8Image:
    return levels if levels.shape[:2] == size else resized(levels, size)


def _psnr_db(clean: Uint8Image, changed: Uint8Image) -> float | None:
    squares = sum(
        int(np.square(a.astype(np.int32) - b.astype(np.int32)).sum()) for a, b in zip(clean, changed, strict=True)
    )
    return None if squares == 0 else 10 * math.log10(255**2 * clean.size / squares)
