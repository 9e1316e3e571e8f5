"""Objectives for the optimiser: a loss on an encoder's posterior, with its sign set for minimisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

from pca_protect.attack.losses import latent_power, posterior_collapse
from pca_protect.attack.posterior import Posterior
from pca_protect.errors import UsageError

Encode = Callable[[Tensor], Posterior]
"""Pixels `(B, 3, H, W)` in [0, 1] -> their posterior, differentiable in the pixels, such as `Surrogate.posterior`."""

Direction = Literal["up", "down"]


class LatentObjective(Protocol):
    """A loss on one encoder's posterior, one value per image, signed so that lower is better."""

    def __call__(self, pixels: Tensor) -> Tensor: ...

    @property
    def latest(self) -> Tensor:
        """The unsigned loss of the last call, `(B,)`, for progress."""
        ...


Loss = Callable[[Posterior, Posterior], Tensor]
"""`(posterior, clean posterior) -> (B,)`, in the loss's own unit, differentiable in the first."""


def collapse(target_variance: float | Literal["posterior"]) -> Loss:
    """`posterior_collapse` with a target variance; `posterior` is the clean posterior's own.

    The returned loss raises `UsageError` for target variance `posterior` and an encoder that has no variance.
    """
    return lambda posterior, clean: posterior_collapse(
        posterior.mean, posterior.logvar, _variance(target_variance, clean)
    )


def power(posterior: Posterior, clean: Posterior) -> Tensor:
    """`latent_power` of the means."""
    return latent_power(posterior.mean, clean.mean)


def _variance(target_variance: float | Literal["posterior"], clean: Posterior) -> float | Tensor:
    if not isinstance(target_variance, str):
        return target_variance
    if clean.logvar is None:
        raise UsageError("target variance `posterior` needs an encoder with a variance; give a number")
    return clean.logvar.exp()


_LOG_FLOOR = 1e-12
"""Lower bound of losses before their logarithm."""


class CollapseObjective:
    """`posterior_collapse` of an encoder's posterior, in nats.

    Values are scaled by min(v, 1): a positive factor changes no step, and gradients at v = 1e-8 stay within the range of
    half precision.

    Args:
        encode: see `Encode`.
        target_variance: v, or `posterior` for the variance of the clean pictures' own posterior.
        direction: `up` maximises the loss, `down` minimises it.
        clean: the clean pixels `(B, 3, H, W)`; used only for `posterior`.
        logarithmic: take the logarithm of the KL divergence to N(0, v), which differs from the loss by a constant and is
            never negative. For sums with terms of another unit.

    Raises:
        UsageError: `posterior` with an encoder that has no variance.
    """

    def __init__(
        self,
        encode: Encode,
        target_variance: float | Literal["posterior"],
        direction: Direction,
        clean: Tensor,
        *,
        logarithmic: bool = False,
    ) -> None:
        self._encode = encode
        self._logarithmic = logarithmic
        self.latest = clean.new_zeros(len(clean))
        self._variance: float | Tensor = 1.0
        self._scale: float | Tensor = 1.0
        if isinstance(target_variance, str):
            with torch.no_grad():
                self._variance = _variance(target_variance, encode(clean))
            assert isinstance(self._variance, Tensor)
            self._scale = self._variance.flatten(start_dim=1).mean(dim=1).clamp(max=1.0)
        else:
            self._variance, self._scale = target_variance, min(target_variance, 1.0)
        self._sign = -1.0 if direction == "up" else 1.0

    def __call__(self, pixels: Tensor) -> Tensor:
        posterior = self._encode(pixels)
        loss = posterior_collapse(posterior.mean, posterior.logvar, self._variance)
        self.latest = loss.detach()
        if not self._logarithmic:
            return self._sign * self._scale * loss
        divergence = self._scale * (loss + self._half_log_variance(posterior))
        return self._sign * divergence.clamp_min(_LOG_FLOOR).log()

    def _half_log_variance(self, posterior: Posterior) -> float | Tensor:
        """Difference between KL divergence and loss; 0 for encoders that return a point."""
        if posterior.logvar is None:
            return 0.0
        if isinstance(self._variance, Tensor):
            return 0.5 * self._variance.log().flatten(start_dim=1).sum(dim=1)
        return 0.5 * posterior.mean[0].numel() * math.log(self._variance)


class LossObjective:
    """Any other loss on an encoder's posterior. The clean pictures are encoded at the first evaluation, hence never for a
    recipe without steps.

    Args:
        encode: see `Encode`.
        loss: see `Loss`.
        direction: `up` maximises the loss, `down` minimises it.
        clean: the clean pixels `(B, 3, H, W)`.
        logarithmic: take the logarithm of the loss, which must be positive.
    """

    def __init__(
        self, encode: Encode, loss: Loss, direction: Direction, clean: Tensor, *, logarithmic: bool = False
    ) -> None:
        self._encode, self._loss, self._clean = encode, loss, clean
        self._sign, self._logarithmic = -1.0 if direction == "up" else 1.0, logarithmic
        self.latest = clean.new_ones(len(clean))

    def __call__(self, pixels: Tensor) -> Tensor:
        loss = self._loss(self._encode(pixels), self._clean_posterior)
        self.latest = loss.detach()
        return self._sign * (loss.clamp_min(_LOG_FLOOR).log() if self._logarithmic else loss)

    @cached_property
    def _clean_posterior(self) -> Posterior:
        with torch.no_grad():
            return self._encode(self._clean)


def with_equal_channels(objective: Callable[[Tensor], Tensor], gray: Sequence[bool]) -> Callable[[Tensor], Tensor]:
    """Averages the channels of grey pictures before an objective, so that gradients and steps are equal in all three.

    Args:
        objective: see `pgd.Objective`.
        gray: per picture, whether it is grey.
    """
    if not any(gray):
        return objective

    def averaged(pixels: Tensor) -> Tensor:
        mean = pixels.mean(dim=1, keepdim=True).expand_as(pixels)
        return objective(torch.where(torch.tensor(gray, device=pixels.device).view(-1, 1, 1, 1), mean, pixels))

    return averaged
