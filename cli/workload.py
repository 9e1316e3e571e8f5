"""How much of a run's work is done, and how long the rest takes at the pace so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class Workload:
    """Pictures are reported some time after their optimisation. Those whose optimisation has ended count as done before.

    Args:
        works: the expected work of each picture, all in one unit.
    """

    def __init__(self, works: Sequence[float], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.pictures = len(works)
        self._total = sum(works)
        self._clock = clock
        self._started = clock()
        self._optimised, self._in_hand, self._reported = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]  # pictures, work
        self._share = 0.0

    def begin(self, works: Sequence[float]) -> None:
        """The optimisation of some pictures begins; that of those before has ended."""
        if self._optimised[0] == self._in_hand[0] == 0:
            self._started = self._clock()  # loading the encoder says nothing about the pace
        self._optimised = [before + now for before, now in zip(self._optimised, self._in_hand, strict=True)]
        self._in_hand = [len(works), sum(works)]
        self._share = 0.0

    def step(self, done: int, steps: int) -> None:
        """Steps of the pictures in hand."""
        self._share = done / steps

    def report(self, work: float) -> None:
        """A picture is finished or has failed."""
        self._reported = [self._reported[0] + 1, self._reported[1] + work]

    @property
    def pictures_done(self) -> int:
        return min(self.pictures, int(max(self._reported[0], self._optimised[0])))

    @property
    def share(self) -> float:
        """The share of the work that is done, in [0, 1]."""
        done = max(self._reported[1], self._optimised[1] + self._share * self._in_hand[1])
        return min(1.0, done / self._total) if self._total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None before anything is done."""
        share = self.share
        return (self._clock() - self._started) * (1 - share) / share if share else None
