"""What the optimiser minimises: a surrogate's posterior run through a loss, in the asked direction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from pca_protect.config import Direction, ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.losses import latent_power, posterior_collapse
from pca_protect.surrogates.adapter import Posterior, Surrogate


class LatentObjective(Protocol):
    """A loss on what one encoder makes of some pictures, signed so that smaller is always better, per image."""

    def __call__(self, pixels: Tensor) -> Tensor: ...

    def plain_loss(self, posterior: Posterior) -> Tensor:
        """The loss for a posterior of the same pictures, in its own unit, `(B,)`."""
        ...

    def to_minimise(self, loss: Tensor) -> Tensor:
        """Such a loss on the scale on which it is compared: smaller is better."""
        ...

    @property
    def latest(self) -> Tensor:
        """The loss when it was last asked for, for progress, `(B,)`."""
        ...


def latent_objective(
    surrogate: Surrogate, config: ProtectConfig, clean: Tensor, *, logarithmic: bool = False
) -> LatentObjective:
    """What a configuration's mode asks of one encoder.

    Args:
        clean: the clean pixels `(B, 3, H, W)`.
        logarithmic: see `CollapseObjective`.

    Raises:
        UsageError: as `CollapseObjective`.
    """
    if config.loss == "power":
        return PowerObjective(surrogate, clean)
    return CollapseObjective(surrogate, *config.objective, clean, logarithmic=logarithmic)


_LEAST = 1e-12
"""So that the logarithm of nothing is finite."""


class CollapseObjective:
    """`posterior_collapse` of a surrogate's posterior, in nats.

    Values are scaled by min(v, 1): a positive factor changes no direction, and it keeps gradients at v = 1e-8 within
    reach of half precision.

    Args:
        surrogate: the encoder.
        target_variance: v, or `posterior` for the variance of the clean pictures' own posterior.
        direction: `up` maximises the loss, `down` minimises it.
        clean: the clean pixels `(B, 3, H, W)`; looked at only for `posterior`.
        logarithmic: take the logarithm of the divergence to N(0, v), which the loss is up to a constant and which is
            never negative: for sums with something in another unit.

    Raises:
        UsageError: `posterior` with an encoder that has no variance.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        target_variance: float | Literal["posterior"],
        direction: Direction,
        clean: Tensor,
        *,
        logarithmic: bool = False,
    ) -> None:
        self._surrogate = surrogate
        self._logarithmic = logarithmic
        self.latest = clean.new_zeros(len(clean))
        self._variance: float | Tensor
        if isinstance(target_variance, str):
            if not surrogate.has_variance:
                raise UsageError(
                    f"target variance `posterior` needs an encoder with a variance and {surrogate.name} has none; give a number"
                )
            with torch.no_grad():
                logvar = surrogate.posterior(clean).logvar
            assert logvar is not None
            self._variance = logvar.exp()
            self._scale: float | Tensor = self._variance.flatten(start_dim=1).mean(dim=1).clamp(max=1.0)
        else:
            self._variance = target_variance
            self._scale = min(target_variance, 1.0)
        self._sign = -1.0 if direction == "up" else 1.0

    def __call__(self, pixels: Tensor) -> Tensor:
        posterior = self._surrogate.posterior(pixels)
        loss = self.plain_loss(posterior)
        self.latest = loss.detach()
        if not self._logarithmic:
            return self.to_minimise(loss)
        divergence = self._scale * (loss + self._half_log_variance(posterior))
        return self._sign * divergence.clamp_min(_LEAST).log()

    def plain_loss(self, posterior: Posterior) -> Tensor:
        return posterior_collapse(posterior.mean, posterior.logvar, self._variance)

    def to_minimise(self, loss: Tensor) -> Tensor:
        return self._sign * self._scale * loss

    def _half_log_variance(self, posterior: Posterior) -> float | Tensor:
        """What makes the loss the divergence; nothing for encoders that return a point."""
        if posterior.logvar is None:
            return 0.0
        if isinstance(self._variance, Tensor):
            return 0.5 * self._variance.log().flatten(start_dim=1).sum(dim=1)
        return 0.5 * posterior.mean[0].numel() * math.log(self._variance)


class PowerObjective:
    """`latent_power` of a surrogate's posterior, to be maximised on a logarithmic scale.

    Args:
        surrogate: the encoder.
        clean: the clean pixels `(B, 3, H, W)`.
    """

    def __init__(self, surrogate: Surrogate, clean: Tensor) -> None:
        self._surrogate = surrogate
        with torch.no_grad():
            self._clean_mean = surrogate.posterior(clean).mean
        self.latest = clean.new_ones(len(clean))

    def __call__(self, pixels: Tensor) -> Tensor:
        loss = self.plain_loss(self._surrogate.posterior(pixels))
        self.latest = loss.detach()
        return self.to_minimise(loss)

    def plain_loss(self, posterior: Posterior) -> Tensor:
        return latent_power(posterior.mean, self._clean_mean)

    def to_minimise(self, loss: Tensor) -> Tensor:
        return -loss.clamp_min(_LEAST).log()


def with_equal_channels(objective: Callable[[Tensor], Tensor], gray: Sequence[bool]) -> Callable[[Tensor], Tensor]:
    """The same objective for pictures of which some are grey: their channels are averaged before it looks, so that the
    gradient, and every step along it, is the same in all three.

    Args:
        objective: see `optimize.Objective`.
        gray: per picture.
    """
    if not any(gray):
        return objective

    def averaged(pixels: Tensor) -> Tensor:
        one = pixels.mean(dim=1, keepdim=True).expand_as(pixels)
        return objective(torch.where(torch.tensor(gray, device=pixels.device).view(-1, 1, 1, 1), one, pixels))

    return averaged
