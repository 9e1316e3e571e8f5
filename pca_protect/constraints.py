"""Sets a perturbation has to stay in. A constraint projects; it knows neither losses nor pictures on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Constraint(Protocol):
    """Maps a perturbation `(B, 3, H, W)`, in units of the [0, 1] pixel range, to the nearest allowed one."""

    def project(self, perturbation: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LinfBall:
    """No channel of any pixel changes by more than `radius` (in [0, 1] units; 16 levels are 16/255)."""

    radius: float

    def project(self, perturbation: Tensor) -> Tensor:
        return perturbation.clamp(-self.radius, self.radius)


@dataclass(frozen=True)
class Masked:
    """Another constraint, and no change outside a mask.

    Attributes:
        free: `(B, 1, H, W)` of zeros and ones, in the precision of the perturbation: one where it may be.
    """

    inside: Constraint
    free: Tensor

    def project(self, perturbation: Tensor) -> Tensor:
        return self.inside.project(perturbation) * self.free
