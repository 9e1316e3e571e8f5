"""What a protection did, measured on 8-bit pictures beside a control: noise of the same budget."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pca_protect.config import ProtectConfig
from pca_protect.errors import not_finite
from pca_protect.io.picture import Picture
from pca_protect.objective import latent_objective
from pca_protect.pixels import from_levels
from pca_protect.resize import resized
from pca_protect.scales import seen_sizes
from pca_protect.surrogates.adapter import Surrogate
from pca_protect.surrogates.several import Encoders
from pca_protect.tiling import windows
from pca_protect.visibility import visible_levels

_STRIP_PX = 256


@dataclass(frozen=True)
class Shift:
    """How far a changed picture's posterior lies from the clean one's.

    Attributes:
        latent: ||m' - m|| / ||m||, the distance of the means in clean norms; 0 is unmoved.
        norm: ||m'|| / ||m||; 1 is unchanged, towards 0 is collapse.
        loss: the mode's: posterior collapse in nats, or latent power in times the clean picture's.
    """

    latent: float
    norm: float
    loss: float


@dataclass(frozen=True)
class Proof:
    """Attributes:
    max_change_levels: the largest change of any channel of any pixel, in 8-bit levels.
    psnr_db: of the protected picture against the original; None if nothing changed.
    visible_levels: how visible the change is, see `visibility.in_levels`.
    loss_clean: the loss of the original.
    protected, noise: what protection, and uniform noise of the same budget, do to the posterior.
    times_noise: how many times further protection moved the loss in the wanted direction than noise moved it either way.
    """

    max_change_levels: int
    psnr_db: float | None
    visible_levels: float
    loss_clean: float
    protected: Shift
    noise: Shift
    times_noise: float


def prove(
    original: Picture,
    protected: Picture,
    *,
    surrogate: Encoders,
    config: ProtectConfig,
    tile_px: int | None = None,
    free: NDArray[np.bool_] | None = None,
) -> Proof:
    """Measure a protected picture, window by window, against every encoder and at every scale that it was protected for; the
    figures are those of the pair of them that it is protected for least.

    Args:
        tile_px: side of the largest window; the configuration's if None.
        free: `(H, W)`, where the picture was allowed to change, and the noise is too; None is everywhere.

    Raises:
        ModelError: an encoder returns what is not finite.
    """
    noisy = with_noise(original, config.budget_levels, config.seed, free)
    three = [picture.rgb for picture in (original, protected, noisy)]
    seen = [
        _measure([_at(levels, size) for levels in three], member, config, tile_px or config.tile_px)
        for member in surrogate.members
        for size in seen_sizes(original.height, original.width, config)
    ]
    loss_clean, moved, noise, times_noise = min(seen, key=lambda measured: measured[-1])
    return Proof(
        max_change_levels=largest_change(original.rgb, protected.rgb),
        psnr_db=_psnr_db(original.rgb, protected.rgb),
        visible_levels=visible_levels(original.rgb, protected.rgb),
        loss_clean=loss_clean,
        protected=moved,
        noise=noise,
        times_noise=times_noise,
    )


def with_noise(original: Picture, budget_levels: int, seed: int, free: NDArray[np.bool_] | None = None) -> Picture:
    """The control: noise uniform over the whole levels of the budget, decided by the seed and the original alone, and
    equal in all channels where the picture is grey. Made in strips of rows, so that it takes no more memory than a
    copy of the picture."""
    key = hashlib.sha256(np.ascontiguousarray(original.rgb).data)
    key.update(str(seed).encode())
    generator = np.random.default_rng(int.from_bytes(key.digest()[:8], "big"))
    noisy = original.rgb.copy()
    for top in range(0, original.height, _STRIP_PX):
        strip = noisy[top : top + _STRIP_PX]
        shape = (*strip.shape[:2], 1 if original.gray else 3)
        noise = generator.integers(-budget_levels, budget_levels, shape, dtype=np.int16, endpoint=True)
        if free is not None:
            noise *= free[top : top + _STRIP_PX, :, None]
        strip[:] = (strip + noise).clip(0, 255)
    return replace(original, rgb=noisy)


def largest_change(clean: NDArray[np.uint8], changed: NDArray[np.uint8]) -> int:
    """Of any channel of any pixel, in levels."""
    return max(int((np.maximum(*rows) - np.minimum(*rows)).max()) for rows in zip(clean, changed, strict=True))


def _measure(
    three: list[NDArray[np.uint8]], surrogate: Surrogate, config: ProtectConfig, tile_px: int
) -> tuple[float, Shift, Shift, float]:
    """The original's loss, both shifts, and how many times further protection moved the loss than noise did, for
    the levels of the original, the protected picture and the noisy one."""
    losses, values = np.zeros(3), np.zeros(3)
    squares, distances = np.zeros(3), np.zeros(3)
    walk = windows(*three[0].shape[:2], tile_px=tile_px)
    share = 1.0 if config.loss == "collapse" else 1.0 / len(walk)  # nats add up, ratios do not
    for window in walk:
        pixels = [from_levels([levels[window.seen]]).to(surrogate.device) for levels in three]
        objective = latent_objective(surrogate, config, pixels[0])
        means = []
        for number, one in enumerate(pixels):
            with torch.no_grad():
                posterior = surrogate.posterior(one)
                loss = objective.plain_loss(posterior)
            means.append(posterior.mean)
            losses[number] += share * float(loss[0])
            values[number] += float(objective.to_minimise(loss)[0])
            squares[number] += float(posterior.mean.square().sum())
            distances[number] += float((posterior.mean - means[0]).square().sum())
    norm = max(squares[0], 1e-60)
    shifts = [
        Shift(math.sqrt(distances[number] / norm), math.sqrt(squares[number] / norm), float(losses[number]))
        for number in (1, 2)
    ]
    if not (np.isfinite(values).all() and np.isfinite(distances).all()):
        raise not_finite("for the finished picture")
    times_noise = (values[0] - values[1]) / max(abs(values[0] - values[2]), 1e-30)
    return float(losses[0]), shifts[0], shifts[1], float(times_noise)


def _at(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return levels if levels.shape[:2] == size else resized(levels, size)


def _psnr_db(clean: NDArray[np.uint8], changed: NDArray[np.uint8]) -> float | None:
    squares = sum(
        int(np.square(a.astype(np.int32) - b.astype(np.int32)).sum()) for a, b in zip(clean, changed, strict=True)
    )
    return None if squares == 0 else 10 * math.log10(255**2 * clean.size / squares)
