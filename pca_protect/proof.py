"""What a protection did, measured on 8-bit pictures beside a control: noise of the same budget."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pca_protect.io.picture import Picture
from pca_protect.objective import CollapseObjective
from pca_protect.pixels import to_pixels, with_pixels
from pca_protect.surrogates.adapter import Surrogate


@dataclass(frozen=True)
class Shift:
    """How far a changed picture's posterior lies from the clean one's.

    Attributes:
        latent: ||m' - m|| / ||m||, the distance of the means in clean norms; 0 is unmoved.
        norm: ||m'|| / ||m||; 1 is unchanged, towards 0 is collapse.
        loss: the posterior-collapse loss, in nats.
    """

    latent: float
    norm: float
    loss: float


@dataclass(frozen=True)
class Proof:
    """Attributes:
    max_change_levels: the largest change of any channel of any pixel, in 8-bit levels.
    psnr_db: of the protected picture against the original; None if nothing changed.
    loss_clean: the loss of the original, in nats.
    protected, noise: what protection, and uniform noise of the same budget, do to the posterior.
    times_noise: how many times further protection moved the loss in the wanted direction than noise moved it either way.
    """

    max_change_levels: int
    psnr_db: float | None
    loss_clean: float
    protected: Shift
    noise: Shift
    times_noise: float


def prove(
    original: Picture,
    protected: Picture,
    *,
    surrogate: Surrogate,
    objective: CollapseObjective,
    budget_levels: int,
    seed: int,
) -> Proof:
    """Measure a protected picture. The noise depends on the seed and the original alone."""
    noisy = with_noise(original, budget_levels, seed)
    means, losses, values = [], [], []
    for picture in (original, protected, noisy):
        with torch.no_grad():
            posterior = surrogate.posterior(to_pixels(picture).to(surrogate.device))
            loss = objective.plain_loss(posterior)
        means.append(posterior.mean)
        losses.append(float(loss[0]))
        values.append(float(objective.to_minimise(loss)[0]))
    norm = means[0].norm().clamp_min(1e-30)
    shifts = [
        Shift(float((mean - means[0]).norm() / norm), float(mean.norm() / norm), loss)
        for mean, loss in zip(means[1:], losses[1:], strict=True)
    ]
    return Proof(
        max_change_levels=int(np.abs(_change(original, protected)).max()),
        psnr_db=_psnr_db(original, protected),
        loss_clean=losses[0],
        protected=shifts[0],
        noise=shifts[1],
        times_noise=(values[0] - values[1]) / max(abs(values[0] - values[2]), 1e-30),
    )


def with_noise(original: Picture, budget_levels: int, seed: int) -> Picture:
    """The control: noise uniform over the whole levels of the budget, decided by the seed and the original alone."""
    key = hashlib.sha256(original.rgb.tobytes() + str(seed).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
    shape = (1, 3, original.height, original.width)
    noise = torch.randint(-budget_levels, budget_levels + 1, shape, generator=generator)
    return with_pixels(original, to_pixels(original) + noise / 255)


def _change(original: Picture, changed: Picture) -> NDArray[np.int16]:
    return changed.rgb.astype(np.int16) - original.rgb.astype(np.int16)


def _psnr_db(original: Picture, changed: Picture) -> float | None:
    mse = float(np.square(_change(original, changed).astype(np.float64)).mean())
    return None if mse == 0 else 10 * math.log10(255**2 / mse)
