"""Is an effect more than chance? Paired, with the picture as the unit: average over prompts and seeds first."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from pca_protect.errors import UsageError

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedEffect:
    """By how much one arm exceeds another on the same pictures.

    Attributes:
        mean: of the differences.
        ci_low, ci_high: 95 % bootstrap interval of that mean.
        p: of the two-sided Wilcoxon signed-rank test; 1 where all pairs are equal.
        win_rate: share of pictures on which the first arm is larger, ties counted half.
        n: pictures.
    """

    mean: float
    ci_low: float
    ci_high: float
    p: float
    win_rate: float
    n: int


def paired_effect(values: Sequence[float], reference: Sequence[float], *, seed: int = 0) -> PairedEffect:
    """Compare two arms, picture by picture.

    The interval is the bias-uncorrected percentile bootstrap over pictures (Efron 1979), 10,000 resamples.

    Raises:
        UsageError: the arms have different pictures, fewer than two, or a value that is not finite.
    """
    first, second = np.asarray(values, dtype=float), np.asarray(reference, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise UsageError(f"{first.size} and {second.size} values: pairs need the same pictures in both arms")
    if first.size < 2:
        raise UsageError(f"{first.size} picture: an interval needs two at least; measure more pictures")
    differences = first - second
    if not np.isfinite(differences).all():
        raise UsageError("a value is not finite; leave out the pictures that failed, in both arms")
    generator = np.random.default_rng(seed)
    picks = generator.integers(0, differences.size, (RESAMPLES, differences.size))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(differences[picks].mean(axis=1), (tail, 1 - tail))
    return PairedEffect(
        mean=float(differences.mean()),
        ci_low=float(low),
        ci_high=float(high),
        p=float(wilcoxon(differences).pvalue) if differences.any() else 1.0,
        win_rate=float((differences > 0).mean() + 0.5 * (differences == 0).mean()),
        n=differences.size,
    )


@dataclass(frozen=True)
class Ratio:
    """Of two means over the same pictures, with its 95 % bootstrap interval; None where it cannot be told."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


def ratio_of_means(values: Sequence[float], reference: Sequence[float], *, seed: int = 0) -> Ratio:
    """mean(values) / mean(reference), pictures resampled in pairs. None where the reference is not above 0, and no interval
    where it is not in every resample, or of a single picture."""
    pairs = np.array([values, reference], dtype=float)
    if pairs.size == 0 or pairs[1].mean() <= 0:
        return Ratio(None, None, None)
    value = float(pairs[0].mean() / pairs[1].mean())
    picks = np.random.default_rng(seed).integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))
    means = pairs[:, picks].mean(axis=2)
    if pairs.shape[1] < 2 or not (means[1] > 0).all():
        return Ratio(value, None, None)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means[0] / means[1], (tail, 1 - tail))
    return Ratio(value, float(low), float(high))


def comparison(values: Mapping[Any, float], control: Mapping[Any, float]) -> dict[str, object]:
    """An arm beside a control as columns of a table: `effect` and `noise_effect` (means), their `ratio` (None where the control
    has no effect), `difference`, `ci_low`, `ci_high`, `p`, `win_rate` of the pairs, and `n`.

    Of a single picture there are no statistics, only means: the interval and the test are None. Of none, everything is.

    Args:
        values, control: picture -> value; the same pictures.
    """
    statistics = dict.fromkeys(("ci_low", "ci_high", "p", "win_rate"))
    if not values:
        return {**dict.fromkeys(("effect", "noise_effect", "ratio", "difference")), **statistics, "n": 0}
    pairs = np.array([(values[picture], control[picture]) for picture in values])
    effect, noise_effect = (float(mean) for mean in pairs.mean(axis=0))
    means = {
        "effect": effect,
        "noise_effect": noise_effect,
        "ratio": effect / noise_effect if noise_effect > 0 else None,
        "difference": effect - noise_effect,
    }
    if len(values) == 1:
        return {**means, **statistics, "n": 1}
    found = paired_effect(pairs[:, 0].tolist(), pairs[:, 1].tolist())
    return {**means, **{name: getattr(found, name) for name in statistics}, "n": found.n}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values that keep the chance of any false alarm among them at the level they are compared with
    (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - rank)))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def by_column(entries: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """Column -> a value for each entry; empty without entries."""
    found: dict[str, list[float]] = {}
    for entry in entries:
        for column, value in entry.items():
            found.setdefault(column, []).append(value)
    return found


def mean_row(
    measured: Mapping[str, Sequence[float]], published: Mapping[str, Sequence[float]], *, compared: str
) -> dict[str, float | int | None]:
    """The mean of every column, and of the compared one its ratio to the published loop's with a 95 % interval.

    Args:
        measured, published: by column, a value for each picture, in the same order.
    """
    share = ratio_of_means(measured[compared], published[compared])
    return {
        **{column: statistics.fmean(values) for column, values in measured.items()},
        "share": share.value,
        "ci_low": share.ci_low,
        "ci_high": share.ci_high,
        "n": len(measured[compared]),
    }
