"""Progress over several batches, each of which counts its steps from 1."""

from __future__ import annotations


class BatchProgress:
    """Args:
    batches: their expected number.
    """

    def __init__(self, batches: int) -> None:
        self._batches, self._finished, self._last_step = batches, 0, 0

    def share(self, done: int, steps: int) -> float:
        """The share of the whole work that is done, in [0, 1], from the arguments of a progress callback."""
        if done < self._last_step:
            self._finished += 1
        self._last_step = done
        return min(1.0, (self._finished + done / steps) / self._batches)
