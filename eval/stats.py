"""Paired statistics with the picture as the unit: average over prompts and seeds first.

Intervals are t intervals of mean differences and Fieller intervals of ratios. Unlike bootstrap intervals they keep their
level for 8 to 24 pictures; `python tools/coverage.py` simulates both. Below `LEAST_PICTURES` there are neither intervals nor
tests.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t, wilcoxon

from pca_protect.errors import UsageError

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
"""Level of tests, after the adjustment by Holm."""
LEAST_PICTURES = 8
"""Smallest number of pictures for intervals and tests. With 5 pairs the Wilcoxon test cannot reach p = 0.05."""


@dataclass(frozen=True)
class PairedEffect:
    """The difference between two arms on the same pictures.

    Attributes:
        mean: of the differences.
        ci_low, ci_high: 95 % t interval of that mean; None below `LEAST_PICTURES`.
        p: of the two-sided Wilcoxon signed-rank test, 1 where all pairs are equal; None below `LEAST_PICTURES`.
        win_rate: share of pictures on which the first arm is larger; ties count half.
        n: pictures.
    """

    mean: float
    ci_low: float | None
    ci_high: float | None
    p: float | None
    win_rate: float
    n: int


def paired_effect(values: Sequence[float], reference: Sequence[float]) -> PairedEffect:
    """Compare two arms in pairs, one pair per picture.

    Raises:
        UsageError: the arms have different pictures, none, or a value that is not finite.
    """
    differences = _differences(values, reference)
    low, high, p = None, None, None
    if differences.size >= LEAST_PICTURES:
        half = float(t.ppf((1 + CONFIDENCE) / 2, differences.size - 1)) * _standard_error(differences)
        low, high = float(differences.mean()) - half, float(differences.mean()) + half
        p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    return PairedEffect(
        mean=float(differences.mean()),
        ci_low=low,
        ci_high=high,
        p=p,
        win_rate=float((differences > 0).mean() + 0.5 * (differences == 0).mean()),
        n=differences.size,
    )


def equivalence_p(values: Sequence[float], reference: Sequence[float], margin: float) -> float | None:
    """p of two one-sided t tests (TOST; Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987): small where
    the mean difference lies within +-margin. None below `LEAST_PICTURES`.

    Raises:
        UsageError: see `paired_effect`.
    """
    differences = _differences(values, reference)
    if differences.size < LEAST_PICTURES:
        return None
    inside = margin - abs(float(differences.mean()))
    error = _standard_error(differences)
    if error == 0:
        return 0.0 if inside > 0 else 1.0
    return float(t.sf(inside / error, differences.size - 1))


@dataclass(frozen=True)
class Ratio:
    """Ratio of two means over the same pictures with its 95 % interval; None where undefined."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


def ratio_of_means(values: Sequence[float], reference: Sequence[float]) -> Ratio:
    """mean(values) / mean(reference), paired by picture.

    The interval is Fieller's: the ratios r for which a t test does not reject mean(values - r reference) = 0 (Fieller,
    Journal of the Royal Statistical Society B 16, 1954). The value is None unless mean(reference) > 0. The interval is None
    below `LEAST_PICTURES`, or if mean(reference) does not differ from 0 at the level of the interval.
    """
    pairs = np.array([values, reference], dtype=float)
    n = pairs.shape[1]
    if n == 0 or pairs[1].mean() <= 0:
        return Ratio(None, None, None)
    above, below = (float(mean) for mean in pairs.mean(axis=1))
    if n < LEAST_PICTURES:
        return Ratio(above / below, None, None)
    (var_above, covariance), (_, var_below) = np.cov(pairs) / n * t.ppf((1 + CONFIDENCE) / 2, n - 1) ** 2
    # mean(values - r reference)^2 <= t^2 var(values - r reference) / n, a quadratic in r.
    square, half_linear, constant = below**2 - var_below, above * below - covariance, above**2 - var_above
    if square <= 0:
        return Ratio(above / below, None, None)
    half_width = float(np.sqrt(max(half_linear**2 - square * constant, 0.0)))
    return Ratio(above / below, float((half_linear - half_width) / square), float((half_linear + half_width) / square))


def comparison(values: Mapping[Any, float], control: Mapping[Any, float]) -> dict[str, object]:
    """An arm beside a control as columns of a table: `effect` and `noise_effect` (means), their `ratio` (None where the control
    has no effect), `difference`, `ci_low`, `ci_high`, `p`, `win_rate` of the pairs, and `n`.

    Without pictures, every value is None.

    Args:
        values, control: picture -> value; the same pictures.
    """
    if not values:
        columns = ("effect", "noise_effect", "ratio", "difference", "ci_low", "ci_high", "p", "win_rate")
        return {**dict.fromkeys(columns), "n": 0}
    pairs = np.array([(values[picture], control[picture]) for picture in values])
    effect, noise_effect = (float(mean) for mean in pairs.mean(axis=0))
    found = paired_effect(pairs[:, 0].tolist(), pairs[:, 1].tolist())
    return {
        "effect": effect,
        "noise_effect": noise_effect,
        "ratio": effect / noise_effect if noise_effect > 0 else None,
        "difference": effect - noise_effect,
        **{name: getattr(found, name) for name in ("ci_low", "ci_high", "p", "win_rate", "n")},
    }


def holm(p_values: Mapping[Any, float]) -> dict[Any, float]:
    """Holm-Bonferroni adjusted p-values, which control the family-wise error rate
    (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    adjusted: dict[Any, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - rank)))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def decidable(pictures: int, tests: int) -> bool:
    """Whether any of this number of Wilcoxon tests can be significant after Holm's adjustment.

    The smallest two-sided p of n pairs is 2 / 2^n.
    """
    return tests * 0.5 ** (pictures - 1) < SIGNIFICANT


def with_holm(rows: Sequence[dict[str, object]], family: Sequence[str]) -> list[dict[str, object]]:
    """Rows with a column `p_holm`: `p` adjusted over the rows that agree in the columns `family`; None where `p` is None."""
    groups: dict[tuple[object, ...], dict[int, float]] = {}
    for place, row in enumerate(rows):
        if row.get("p") is not None:
            groups.setdefault(tuple(row.get(column) for column in family), {})[place] = float(str(row["p"]))
    adjusted = {place: p for group in groups.values() for place, p in holm(group).items()}
    return [{**row, "p_holm": adjusted.get(place)} for place, row in enumerate(rows)]


def by_column(entries: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """Column -> the values of all entries; empty without entries."""
    found: dict[str, list[float]] = {}
    for entry in entries:
        for column, value in entry.items():
            found.setdefault(column, []).append(value)
    return found


def mean_row(
    measured: Mapping[str, Sequence[float]], published: Mapping[str, Sequence[float]], *, compared: str
) -> dict[str, float | int | None]:
    """The mean of every column, and the compared column's ratio to the published loop with a 95 % interval.

    Args:
        measured, published: column -> one value per picture, in the same order.
    """
    share = ratio_of_means(measured[compared], published[compared])
    return {
        **{column: statistics.fmean(values) for column, values in measured.items()},
        "share": share.value,
        "ci_low": share.ci_low,
        "ci_high": share.ci_high,
        "n": len(measured[compared]),
    }


def _differences(values: Sequence[float], reference: Sequence[float]) -> NDArray[np.float64]:
    first, second = np.asarray(values, dtype=float), np.asarray(reference, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise UsageError(f"{first.size} and {second.size} values: pairs need the same pictures in both arms")
    if first.size == 0:
        raise UsageError("no picture: nothing can be compared; measure at least one")
    differences: NDArray[np.float64] = first - second
    if not np.isfinite(differences).all():
        raise UsageError("a value is not finite; leave out the pictures that failed, in both arms")
    return differences


def _standard_error(differences: NDArray[np.float64]) -> float:
    return float(differences.std(ddof=1)) / float(np.sqrt(differences.size))
