from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pca_protect import UsageError
from pca_protect.eval.stats import holm, paired_effect


def test_against_scipy():
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.3, 1, 40), generator.normal(0, 1, 40)
    found = paired_effect(first, second)
    assert found.p == stats.wilcoxon(first, second).pvalue
    reference = stats.bootstrap((first - second,), np.mean, n_resamples=10_000, method="percentile", rng=1)
    assert found.ci_low == pytest.approx(reference.confidence_interval.low, abs=0.03)
    assert found.ci_high == pytest.approx(reference.confidence_interval.high, abs=0.03)
    assert found.mean == pytest.approx((first - second).mean())
    assert found.win_rate == (first > second).mean()


def test_a_null_is_rejected_at_about_the_level():
    """Two arms that differ by chance alone: intervals exclude zero, and p is below 0.05, in about one case of twenty."""
    generator = np.random.default_rng(0)
    found = [paired_effect(*generator.normal(0, 1, (2, 24)), seed=trial) for trial in range(300)]
    excluded = np.mean([effect.ci_low > 0 or effect.ci_high < 0 for effect in found])
    rejected = np.mean([effect.p < 0.05 for effect in found])
    assert 0.02 < excluded < 0.12, "the percentile bootstrap is a little too sure of itself at 24 pictures"
    assert 0.02 < rejected < 0.09


def test_a_real_effect_is_found_and_equal_arms_are_not():
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 1, 24)
    assert paired_effect(noise + 0.5, noise).ci_low == pytest.approx(0.5)
    equal = paired_effect(noise, noise)
    assert (equal.mean, equal.ci_low, equal.ci_high, equal.p, equal.win_rate) == (0, 0, 0, 1, 0.5)


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0], [2.0], "measure more pictures"),
        ([1.0, 2.0], [1.0], "same pictures"),
        ([1.0, np.nan], [1, 2], "not finite"),
    ],
)
def test_what_cannot_be_compared(first: list[float], second: list[float], message: str):
    with pytest.raises(UsageError, match=message):
        paired_effect(first, second)
