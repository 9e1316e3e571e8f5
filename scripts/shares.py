"""Rows of measurements over pictures: means, and one of them beside the published loop's."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pca_protect.eval.statistics import ratio_of_means


def mean_row(
    measured: Mapping[str, Sequence[float]], published: Mapping[str, Sequence[float]], *, compared: str
) -> dict[str, float | int]:
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
