"""Step sizes over time, as a fraction of the first step size."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]
"""(step counted from 0, number of steps) -> factor in (0, 1]."""


def constant(step: int, steps: int) -> float:
    """Every step as long as the first, as published for the attack (arXiv 2408.10901)."""
    return 1.0


def linear(step: int, steps: int) -> float:
    """Straight down from 1 towards 0; the last step is short but never empty."""
    return 1.0 - step / steps


def cosine(step: int, steps: int) -> float:
    """Half a cosine from 1 towards 0; the last step is short but never empty."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


SCHEDULES: dict[str, Schedule] = {"constant": constant, "linear": linear, "cosine": cosine}
