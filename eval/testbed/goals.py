"""A figure that is wanted, beside what was measured. Missing it is a result, not an error."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Row = dict[str, object]


@dataclass(frozen=True)
class Goal:
    bound: float
    more_is_better: bool

    def __str__(self) -> str:
        return f"{'at least' if self.more_is_better else 'at most'} {self.bound:g}"

    def met_by(self, value: float) -> bool:
        return value >= self.bound if self.more_is_better else value <= self.bound


def at_least(bound: float) -> Goal:
    return Goal(bound, more_is_better=True)


def at_most(bound: float) -> Goal:
    return Goal(bound, more_is_better=False)


def row(model: str, digest: str, metric: str, values: Sequence[float], goal: Goal) -> Row:
    """A line of the table: the values' mean against the goal. `digest` says which weights were measured."""
    mean = statistics.fmean(values)
    return {
        "surrogate": model,
        "metric": metric,
        "mean": mean,
        "min": min(values),
        "max": max(values),
        "n": len(values),
        "target": str(goal),
        "met": goal.met_by(mean),
        "digest": digest,
    }
