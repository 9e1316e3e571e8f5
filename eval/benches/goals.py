"""Goals for measurements, and a row that compares one with its goal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pca_protect.eval.results import Row


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


def goal_row(model: str, digest: str, metric: str, values: Sequence[float], goal: Goal) -> Row:
    """A row of the table: the mean of the values beside the goal. `digest` identifies the weights."""
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
