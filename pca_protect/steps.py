"""Step rules: from a gradient to the direction of the next step.

A rule is made anew for every optimisation because it may remember earlier gradients. It sees the gradient of a value
to be *minimised* and returns a direction to be walked *against*, with entries in [-1, 1]. Nothing in a rule mixes the
images of a batch.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class StepRule(Protocol):
    def direction(self, gradient: Tensor) -> Tensor: ...


class SignStep:
    """The sign of the gradient: the steepest direction within an L-infinity ball (Goodfellow et al., arXiv 1412.6572)."""

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()


class MomentumStep:
    """The sign of a running sum of gradients, each scaled to a mean magnitude of one per image.

    Dong et al., "Boosting Adversarial Attacks with Momentum", arXiv 1710.06081, equations 6 and 7. The sum runs over
    raw gradients: summing signs would let pixels that hardly matter vote as loudly as those that decide.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._sum: Tensor | None = None

    def direction(self, gradient: Tensor) -> Tensor:
        scale = gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
        scaled = gradient / scale
        self._sum = scaled if self._sum is None else self.decay * self._sum + scaled
        return self._sum.sign()
