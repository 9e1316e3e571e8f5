"""Simulation under the null: how often 95 % intervals hold the true value, and how often tests reject without an effect.

    python tools/coverage.py

For 8, 12 and 24 pictures, with normal and with skewed (lognormal) values. Bootstrap intervals (BCa) are shown for comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from pca_protect.eval.stats import SIGNIFICANT, equivalence_p, paired_effect, ratio_of_means

SIZES = (8, 12, 24)
RATIO = 0.5
_SKEW = 0.8
"""Standard deviation of the logarithm of skewed values."""

Draw = Callable[[np.random.Generator, int], tuple[NDArray[np.float64], float]]
"""Values of n pictures, and their true mean."""


def normal(generator: np.random.Generator, n: int) -> tuple[NDArray[np.float64], float]:
    return generator.normal(0, 1, n), 0.0


def skewed(generator: np.random.Generator, n: int) -> tuple[NDArray[np.float64], float]:
    return generator.lognormal(0, _SKEW, n), float(np.exp(_SKEW**2 / 2))


@dataclass(frozen=True)
class Coverage:
    """Shares of the trials.

    Attributes:
        mean, mean_bca: the interval of the mean holds the true mean; t and bootstrap.
        ratio: the interval of a ratio of means holds the true ratio.
        rejected: the Wilcoxon test of symmetric differences around 0 is below 0.05.
        alike: two one-sided tests with a margin equal to the true difference are below 0.05.
    """

    mean: float
    mean_bca: float | None
    ratio: float
    rejected: float
    alike: float


def coverage(draw: Draw, n: int, trials: int, *, seed: int = 0, resamples: int = 0) -> Coverage:
    """Args:
    resamples: of the bootstrap; 0 leaves it out.
    """
    generator = np.random.default_rng(seed)
    hits: dict[str, list[bool]] = {name: [] for name in ("mean", "bca", "ratio", "rejected", "alike")}
    zeros = [0.0] * n
    for _ in range(trials):
        values, mean = draw(generator, n)
        found = paired_effect(values.tolist(), zeros)
        assert found.ci_low is not None
        assert found.ci_high is not None
        hits["mean"].append(found.ci_low <= mean <= found.ci_high)
        if resamples:
            low, high = bootstrap(
                (values,), np.mean, n_resamples=resamples, method="BCa", rng=generator
            ).confidence_interval
            hits["bca"].append(bool(low <= mean <= high))
        reference = 3 + values
        noisy = RATIO * reference + 0.2 * generator.normal(0, 1, n) * reference
        ratio = ratio_of_means(noisy.tolist(), reference.tolist())
        if ratio.ci_low is not None and ratio.ci_high is not None:
            hits["ratio"].append(ratio.ci_low <= RATIO <= ratio.ci_high)
        symmetric = values * generator.choice((-1, 1), n)
        p = paired_effect(symmetric.tolist(), zeros).p
        assert p is not None
        hits["rejected"].append(p < SIGNIFICANT)
        alike = equivalence_p((values - mean + 1).tolist(), zeros, 1.0)
        assert alike is not None
        hits["alike"].append(alike < SIGNIFICANT)
    shares = {name: float(np.mean(values)) for name, values in hits.items() if values}
    return Coverage(shares["mean"], shares.get("bca"), shares["ratio"], shares["rejected"], shares["alike"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="per row (%(default)s)")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap (%(default)s)")
    options = parser.parse_args()
    print("| values | pictures | t interval | BCa interval | ratio (Fieller) | Wilcoxon p < 0.05 | TOST p < 0.05 |")
    print("|---|---|---|---|---|---|---|")
    for name, draw in (("normal", normal), ("skewed", skewed)):
        for n in SIZES:
            one = coverage(draw, n, options.trials, resamples=options.resamples)
            bca = "" if one.mean_bca is None else f"{one.mean_bca:.1%}"
            print(f"| {name} | {n} | {one.mean:.1%} | {bca} | {one.ratio:.1%} | {one.rejected:.1%} | {one.alike:.1%} |")


if __name__ == "__main__":
    main()
