from __future__ import annotations

import coverage
import numpy as np
import pytest
from scipy import stats

from pca_protect import UsageError
from pca_protect.eval.stats import LEAST_PICTURES, holm, paired_effect, ratio_of_means, with_holm


def test_against_scipy():
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.3, 1, 40), generator.normal(0, 1, 40)
    found = paired_effect(first, second)
    reference = stats.ttest_rel(first, second).confidence_interval()
    assert found.p == stats.wilcoxon(first, second).pvalue
    assert (found.ci_low, found.ci_high) == (pytest.approx(reference.low), pytest.approx(reference.high))
    assert found.mean == pytest.approx((first - second).mean())
    assert found.win_rate == (first > second).mean()


@pytest.mark.parametrize("n", coverage.SIZES)
def test_under_the_null_intervals_and_tests_keep_their_level(n: int):
    """Of 600 trials. Intervals of skewed values are known to be too short for few pictures, see `tools/coverage.py`."""
    found = coverage.coverage(coverage.normal, n, 600)
    assert found.mean == pytest.approx(0.95, abs=0.025)
    assert found.ratio == pytest.approx(0.95, abs=0.025)
    assert found.rejected <= 0.07
    assert found.alike == pytest.approx(0.05, abs=0.025)
    assert coverage.coverage(coverage.skewed, n, 600).ratio == pytest.approx(0.95, abs=0.03)


def test_a_real_effect_is_found_and_equal_arms_are_not():
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 1, 24)
    assert paired_effect(noise + 0.5, noise).ci_low == pytest.approx(0.5)
    equal = paired_effect(noise, noise)
    assert (equal.mean, equal.ci_low, equal.ci_high, equal.p, equal.win_rate) == (0, 0, 0, 1, 0.5)


def test_too_few_pictures_have_means_alone():
    few = paired_effect([1.0] * (LEAST_PICTURES - 1), [0.0] * (LEAST_PICTURES - 1))
    assert (few.mean, few.ci_low, few.ci_high, few.p, few.win_rate, few.n) == (1, None, None, None, 1, 7)
    assert paired_effect([1.0] * LEAST_PICTURES, [0.0] * LEAST_PICTURES).ci_low == 1
    ratio = ratio_of_means([1.0] * 7, [2.0] * 7)
    assert (ratio.value, ratio.ci_low, ratio.ci_high) == (0.5, None, None)


def test_the_ends_of_a_ratio_are_where_a_t_test_turns():
    generator = np.random.default_rng(0)
    before = generator.uniform(1, 2, 12)
    after = 0.3 * before + generator.normal(0, 0.1, 12)
    found = ratio_of_means(after.tolist(), before.tolist())
    assert found.value == pytest.approx(after.mean() / before.mean())
    assert found.ci_low < found.value < found.ci_high
    for end in (found.ci_low, found.ci_high):
        assert stats.ttest_1samp(after - end * before, 0).pvalue == pytest.approx(0.05)


def test_ratios_that_mean_nothing_are_none():
    zeros = [0.0] * 8
    assert ratio_of_means([1.0] * 8, zeros).value is None
    assert ratio_of_means([], []).value is None
    mixed = ratio_of_means([1.0] * 8, [-1.0, 2.0] * 4)
    assert (mixed.value, mixed.ci_low) == (2, None), "the denominator does not differ from 0"


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_holm_in_families():
    rows = [{"mode": "a", "p": 0.01}, {"mode": "b", "p": 0.02}, {"mode": "a", "p": 0.5}, {"mode": "a", "p": None}]
    assert [row["p_holm"] for row in with_holm(rows, ("mode",))] == [0.02, 0.02, 0.5, None]
    assert [row["p_holm"] for row in with_holm(rows, ())] == [0.03, 0.04, 0.5, None]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([], [], "measure at least one"),
        ([1.0, 2.0], [1.0], "same pictures"),
        ([1.0, np.nan], [1, 2], "not finite"),
    ],
)
def test_what_cannot_be_compared(first: list[float], second: list[float], message: str):
    with pytest.raises(UsageError, match=message):
        paired_effect(first, second)
