"""The table `purify`: what is left of each arm's effect after each purifier."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pca_protect.eval.arms.registry import ARMS, NOISE_LINF
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.purify.config import PurifyConfig
from pca_protect.eval.results import Json
from pca_protect.eval.statistics import comparison, ratio_of_means
from pca_protect.eval.trial import EditPrompt, kept_edits

Row = dict[str, object]

NONE = "none"

Washed = Mapping[str, Json]
"""Purifier -> measurement of one picture."""

COLUMNS = (
    *("purifier", "what", "arm", "mode", "budget_levels", "objective", "metric", "effect", "before"),
    *("retained", "ci_low", "ci_high", "retained_above_noise", "noise_effect", "noise_retained", "difference", "p"),
    *("changes_picture", "n", "kept"),
)
"""`effect`: distance to the edit of the purified clean picture, `before` the same without a purifier; `retained`, with its
interval: their ratio; `noise_effect`, `noise_retained`: the same of uniform noise of the same budget; `retained_above_noise`:
the ratio of what exceeds that noise; `difference` and `p`: effect minus noise's, in pairs; `changes_picture`: FLIP between
the clean picture before and after."""


def purify_rows(
    washed: Sequence[Washed], what: Mapping[str, str], prompts: Sequence[EditPrompt], config: PurifyConfig
) -> list[Row]:
    """A row for every purifier and arm."""
    kept = [kept_edits(picture[NONE]["clean"], prompts) for picture in washed]
    counted = [(picture, edits) for picture, edits in zip(washed, kept, strict=True) if edits]
    if not counted:
        return []
    share = sum(map(len, kept)) / (len(kept) * len(prompts) * config.seeds)
    effects = {
        (purifier, arm): [
            statistics.fmean(float(picture[purifier]["arms"][arm][edit]) for edit in edits)
            for picture, edits in counted
        ]
        for purifier in what
        for arm in config.arm_names()
    }
    rows = []
    for purifier, phrase in what.items():
        changes = statistics.fmean(float(picture[purifier]["changes_picture"]) for picture, _ in counted)
        noise, noise_before = effects[purifier, NOISE_LINF], effects[NONE, NOISE_LINF]
        for arm in config.arm_names():
            after, before = effects[purifier, arm], effects[NONE, arm]
            retained = ratio_of_means(after, before)
            compared = comparison(dict(enumerate(after)), dict(enumerate(noise)))
            above = ratio_of_means(_minus(after, noise), _minus(before, noise_before))
            control = arm == NOISE_LINF
            rows.append(
                {
                    "purifier": purifier,
                    "what": phrase,
                    "arm": arm,
                    "mode": ARMS[arm].mode,
                    "budget_levels": config.budget_levels,
                    "objective": "2",
                    "metric": VISIBILITY,
                    "effect": compared["effect"],
                    "before": statistics.fmean(before),
                    "retained": retained.value,
                    "ci_low": retained.ci_low,
                    "ci_high": retained.ci_high,
                    "retained_above_noise": None if control else above.value,
                    "noise_effect": None if control else compared["noise_effect"],
                    "noise_retained": None if control else ratio_of_means(noise, noise_before).value,
                    "difference": None if control else compared["difference"],
                    "p": None if control else compared["p"],
                    "changes_picture": changes,
                    "n": len(counted),
                    "kept": share,
                }
            )
    return [{column: row[column] for column in COLUMNS} for row in rows]


def _minus(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [value - other for value, other in zip(values, others, strict=True)]
