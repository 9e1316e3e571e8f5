"""The table `frontier`: what every arm does to edits, how visible it is in every metric and how long it takes, each beside
the published loop on the same pictures."""

from __future__ import annotations

import statistics

from pca_protect.eval.arms.registry import NOISE_VISIBLE
from pca_protect.eval.editing.config import EditingConfig
from pca_protect.eval.editing.table import Measured, Row, mean_effects
from pca_protect.eval.metrics.registry import METRICS
from pca_protect.eval.statistics import ratio_of_means

PUBLISHED = "pca-diffusion"

COLUMNS = (
    *("editor", "arm", "budget_levels", "metric", "visibility", "share", "ci_low", "ci_high"),
    *("effect", "effect_share", "effect_ci_low", "effect_ci_high", "seconds", "seconds_share", "n"),
)
"""`visibility` is the mean distance between protected and original in `metric`, `effect` that between edits (objective 2, FLIP),
`seconds` what making the protection took. The shares are ratios of means to those of the published loop at the largest
budget, with 95 % bootstrap intervals over pictures; of the seconds the ratio of medians, since other work on the machine
shows in single times."""


def frontier_rows(measured: Measured, config: EditingConfig) -> list[Row]:
    """A row for every arm, budget and metric of pairs; none where the published loop was not measured."""
    effects = {
        (arm, budget): mean_effects(measured, f"{arm} {budget}")
        for arm in config.arm_names()
        for budget in config.budgets
    }
    reference = (PUBLISHED, max(config.budgets))
    if not effects.get(reference):
        return []
    pictures = list(effects[reference])
    rows: list[Row] = []
    for (arm, budget), values in effects.items():
        entries, published = (
            [measured.entries[picture][f"{name} {levels}"] for picture in pictures]
            for name, levels in ((arm, budget), reference)
        )
        seconds, yardstick = (statistics.median(entry["seconds"] for entry in some) for some in (entries, published))
        effect = ratio_of_means(list(values.values()), list(effects[reference].values()))
        common = {
            "editor": measured.editor,
            "arm": arm,
            "budget_levels": budget,
            "effect": statistics.fmean(values.values()),
            "effect_share": effect.value,
            "effect_ci_low": effect.ci_low,
            "effect_ci_high": effect.ci_high,
            "seconds": None if arm == NOISE_VISIBLE else seconds,  # its search for an amplitude is no protection
            "seconds_share": None if arm == NOISE_VISIBLE else seconds / yardstick,
            "n": len(pictures),
        }
        for metric in (name for name in entries[0]["visible"] if name in METRICS):
            visible, theirs = ([float(entry["visible"][metric]) for entry in some] for some in (entries, published))
            share = ratio_of_means(visible, theirs)
            rows.append(
                common
                | {
                    "metric": metric,
                    "visibility": statistics.fmean(visible),
                    "share": share.value,
                    "ci_low": share.ci_low,
                    "ci_high": share.ci_high,
                }
            )
    return [{column: row[column] for column in COLUMNS} for row in rows]
