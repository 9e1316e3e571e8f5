"""The tables `rivals`, `frontier` and `ranks`: methods beside each other, and their order with several editors."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from scipy.stats import spearmanr

from pca_protect.eval.arms.controls import SEED
from pca_protect.eval.arms.registry import ARMS, CONTROLS, NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.measured import Measured, in_both
from pca_protect.eval.metrics.registry import METRICS, VISIBILITY
from pca_protect.eval.results import Row
from pca_protect.eval.stats import comparison, equivalence_p, ratio_of_means, with_holm
from pca_protect.eval.tables import EQUIVALENT

PUBLISHED = "pca-diffusion"

RIVAL_COLUMNS = (
    *("editor", "arm", "mode", "rival", "needs", "budget_levels", "objective", "metric", "effect", "rival_effect"),
    *("difference", "ci_low", "ci_high", "p", "p_holm", "margin", "p_alike", "win_rate", "n"),
)
"""As in `tables.COLUMNS`, with a method from the literature in place of a control. `needs` names the part of the model that this
method uses; `p_holm` is adjusted over the rivals of one arm. `p_alike`: of the test that the difference lies within +-`margin`
(TOST), adjusted in the same way."""


def rival_rows(measured: Measured, config: EditingConfig) -> list[Row]:
    """Paired comparison of every arm of this program (and the published loop) with every method from the literature.

    Both objectives, in the metric of visibility.
    """
    kept = measured.kept()
    ours = [arm for arm in measured.arms if ARMS[arm].mode]
    rivals = [arm for arm in measured.arms if not ARMS[arm].mode and arm not in CONTROLS]
    rows: list[Row] = []
    lines = measured.values(kept, "", config.budgets[0], "2", VISIBILITY, SEED)
    if not lines:
        return rows
    margin = EQUIVALENT * statistics.fmean(lines.values())
    for budget in config.budgets:
        for objective in ("2", "1"):
            values = {arm: measured.values(kept, arm, budget, objective, VISIBILITY) for arm in (*ours, *rivals)}
            for arm in ours:
                found: list[Row] = []
                for rival in rivals:
                    one, other = in_both(values[arm], values[rival])
                    row = comparison(one, other)
                    pairs = list(one.values()), list(other.values())
                    about: Row = {"arm": arm, "mode": ARMS[arm].mode, "rival": rival, "needs": ARMS[rival].needs}
                    about |= {"budget_levels": budget, "objective": objective, "metric": VISIBILITY}
                    alike: Row = {"margin": margin, "p_alike": equivalence_p(*pairs, margin)}
                    found.append({**about, **row, **alike, "rival_effect": row["noise_effect"]})
                found = with_holm(found, ())
                adjusted = with_holm([{"p": row["p_alike"]} for row in found], ())
                rows += [
                    {**row, "editor": measured.editor, "p_alike": other["p_holm"]}
                    for row, other in zip(found, adjusted, strict=True)
                ]
    return [{column: row[column] for column in RIVAL_COLUMNS} for row in rows]


FRONTIER_COLUMNS = (
    *("editor", "arm", "budget_levels", "metric", "visibility", "share", "ci_low", "ci_high", "effect", "seed_line"),
    *("effect_share", "effect_ci_low", "effect_ci_high", "seconds", "seconds_share", "n"),
)
"""`visibility` is the mean distance between protected and original in `metric`, `effect` that between edits (objective 2, FLIP),
`seed_line` that between clean edits with other seeds, `seconds` the time to protect. Shares are ratios of means to the
published loop at the largest budget, with 95 % intervals over pictures; the share of seconds is a ratio of medians, which
other load on the machine affects less. Seconds are None if several machines measured."""


def frontier_rows(measured: Measured, config: EditingConfig) -> list[Row]:
    """A row for every arm, budget and paired metric; empty if the published loop was not measured."""
    kept = measured.kept()
    reference = f"{PUBLISHED} {max(config.budgets)}"
    lines = measured.values(kept, "", config.budgets[0], "2", VISIBILITY, SEED)
    if not lines or PUBLISHED not in measured.arms:
        return []
    effects = {
        (arm, budget): measured.values(kept, arm, budget, "2", VISIBILITY)
        for arm in measured.arms
        for budget in config.budgets
        if arm != NOISE_VISIBLE
    }
    line = statistics.fmean(lines.values())
    rows: list[Row] = []
    for (arm, budget), found in effects.items():
        values, theirs = in_both(found, effects[PUBLISHED, max(config.budgets)])
        if not values:
            continue
        entries, published = (
            [measured.entries[picture][variant] for picture in values] for variant in (f"{arm} {budget}", reference)
        )
        seconds, yardstick = (statistics.median(entry["seconds"] for entry in some) for some in (entries, published))
        effect = ratio_of_means(list(values.values()), list(theirs.values()))
        common = {
            "editor": measured.editor,
            "arm": arm,
            "budget_levels": budget,
            "effect": statistics.fmean(values.values()),
            "seed_line": line,
            "effect_share": effect.value,
            "effect_ci_low": effect.ci_low,
            "effect_ci_high": effect.ci_high,
            "seconds": seconds if measured.timed else None,
            "seconds_share": seconds / yardstick if measured.timed else None,
            "n": len(values),
        }
        for metric in (name for name in entries[0]["visible"] if name in METRICS):
            visible, published_visible = (
                [float(entry["visible"][metric]) for entry in some] for some in (entries, published)
            )
            share = ratio_of_means(visible, published_visible)
            about = {"metric": metric, "visibility": statistics.fmean(visible), "share": share.value}
            rows.append(common | about | {"ci_low": share.ci_low, "ci_high": share.ci_high})
    return [{column: row[column] for column in FRONTIER_COLUMNS} for row in rows]


RANK_COLUMNS = ("editor", "other", "budget_levels", "value", "correlation", "n")
"""Spearman's rank correlation between two editors over the arms that both have. `value`: `effect`, the FLIP between edit and
clean edit, with noise of the budget among the arms; or `above noise-visible`, the same minus that of noise of equal
visibility, which does not rank arms by visibility. `n`: arms."""
_LEAST_ARMS = 3


def rank_rows(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Whether editors agree on the order of the arms. A row for each pair of editors, budget and value; none below three arms.

    Args:
        rows: of the table `editing`.
    """
    asked = [row for row in rows if (row["objective"], row["metric"]) == ("2", VISIBILITY)]
    found: list[Row] = []
    for one, other in combinations(dict.fromkeys(row["editor"] for row in asked), 2):
        for budget in dict.fromkeys(row["budget_levels"] for row in asked):
            for value, control, column in (
                ("effect", NOISE_LINF, "effect"),
                (f"above {NOISE_VISIBLE}", NOISE_VISIBLE, "difference"),
            ):
                first, second = (
                    {
                        row["arm"]: row[column]
                        for row in asked
                        if row["editor"] == editor
                        and row["budget_levels"] == budget
                        and (row["control"] == control or (row["arm"] == NOISE_LINF and column == "effect"))
                    }
                    for editor in (one, other)
                )
                arms = [arm for arm in first if arm in second]
                if len(arms) >= _LEAST_ARMS and min(len(set(one.values())) for one in (first, second)) > 1:
                    ranks = spearmanr([first[arm] for arm in arms], [second[arm] for arm in arms])
                    about: Row = {"editor": one, "other": other, "budget_levels": budget, "value": value}
                    found.append({**about, "correlation": float(ranks.statistic), "n": len(arms)})
    return found
