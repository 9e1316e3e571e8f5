"""What the optimiser minimises: a surrogate's posterior run through the collapse loss, in the asked direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from pca_protect.config import Direction
from pca_protect.errors import UsageError
from pca_protect.losses import posterior_collapse
from pca_protect.surrogates.adapter import Posterior, Surrogate


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


class CollapseObjective:
    """`posterior_collapse` of a surrogate's posterior, signed so that smaller is always better, per image.

    Values are scaled by min(v, 1): a positive factor changes no direction, and it keeps gradients at v = 1e-8 within
    reach of half precision. `in_nats` undoes both.

    Args:
        surrogate: the encoder.
        target_variance: v, or `posterior` for the variance of the clean pictures' own posterior.
        direction: `up` maximises the loss, `down` minimises it.
        clean: the clean pixels `(B, 3, H, W)`; looked at only for `posterior`.

    Raises:
        UsageError: `posterior` with an encoder that has no variance.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        target_variance: float | Literal["posterior"],
        direction: Direction,
        clean: Tensor,
    ) -> None:
        self._surrogate = surrogate
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
        return self.to_minimise(self.plain_loss(self._surrogate.posterior(pixels)))

    def plain_loss(self, posterior: Posterior) -> Tensor:
        """L for a posterior of the same pictures, in nats, `(B,)`."""
        return posterior_collapse(posterior.mean, posterior.logvar, self._variance)

    def to_minimise(self, loss: Tensor) -> Tensor:
        """The value that the optimiser sees for a loss in nats."""
        return self._sign * self._scale * loss

    def in_nats(self, value: Tensor) -> Tensor:
        """The loss for a value that the optimiser sees."""
        return value * self._sign / self._scale
