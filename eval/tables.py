"""The tables `editing`, `rivals`, `prompts` and `frontier`: what arms did to edits, beside the noise controls and one another.

Every value is oriented so that more is more protection:
    objective 1   how much closer to the original an edit stays than the clean edit does     the aim of `diffusion`
    objective 2   how far an edit is from the clean edit                                     the aim of `concentration`
    adherence     how much further an edit is from what the prompt asks for than the clean edit is
    quality       how much worse an edit looks than the clean edit does
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pca_protect.eval.arms.registry import ARMS, CONTROLS, NOISE_VISIBLE
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.metrics.registry import METRICS, VISIBILITY
from pca_protect.eval.results import Json, Row
from pca_protect.eval.stats import comparison, holm, ratio_of_means
from pca_protect.eval.trial import EditPrompt, kept_edits


@dataclass(frozen=True)
class Measured:
    """What there is of one editor.

    Attributes:
        pictures: those of which everything was measured.
        entries: picture -> variant -> measurement, see `Trial`.
    """

    editor: str
    prompts: tuple[EditPrompt, ...]
    pictures: list[str]
    entries: Mapping[str, Mapping[str, Json]]

    def kept(self, prompts: Sequence[EditPrompt]) -> dict[str, list[str]]:
        """Picture -> the edits that count, see `kept_edits`."""
        return {picture: kept_edits(self.entries[picture]["clean"], prompts) for picture in self.pictures}


Values = dict[str, float]
"""Picture -> mean over its kept edits."""


def editing_rows(measured: Measured, config: EditingConfig) -> list[Row]:
    """A row for every arm, budget, objective, metric and control; controls themselves have a row without a comparison."""
    kept = measured.kept(measured.prompts)
    pictures = [picture for picture in measured.pictures if kept[picture]]
    if not pictures:
        return []
    share = sum(map(len, kept.values())) / (len(kept) * len(measured.prompts) * config.seeds)
    rows = []
    for budget in config.budgets:
        for objective, metric in _questions(measured, pictures[0]):
            values = {
                arm: _values(measured, pictures, kept, f"{arm} {budget}", objective, metric)
                for arm in config.arm_names()
            }
            common = {
                "editor": measured.editor,
                "budget_levels": budget,
                "objective": objective,
                "metric": metric,
                "n": len(pictures),
                "kept": share,
            }
            rows += [_control_row(arm, values[arm]) | common for arm in CONTROLS]
            for control in CONTROLS:
                rows += [row | common for row in _compared(values, control)]
            for row in rows[-len(CONTROLS) * (len(values) - 1) :]:
                row["visibility"] = _visibility(measured, pictures, f"{row['arm']} {budget}")
    return [{column: row.get(column) for column in COLUMNS} for row in rows]


COLUMNS = (
    *("editor", "arm", "mode", "needs", "budget_levels", "visibility", "objective", "metric"),
    *(
        "effect",
        "control",
        "noise_effect",
        "ratio",
        "difference",
        "ci_low",
        "ci_high",
        "p",
        "p_holm",
        "win_rate",
        "n",
        "kept",
    ),
)
"""`effect` is the arm's mean and `noise_effect` the control's; `difference`, its interval, `p` and `win_rate` are of the
pairs. `p_holm` is adjusted over the arms of one table: same editor, budget, objective, metric and control."""


def prompt_rows(measured: Measured, config: EditingConfig) -> list[Row]:
    """One protection, many prompts: objective 2 by prompt, and for each arm the spread of what exceeds noise over them."""
    rows: list[Row] = []
    for budget in config.budgets:
        for arm in config.arm_names():
            if arm in CONTROLS:
                continue
            by_prompt: list[Row] = []
            for prompt in measured.prompts:
                kept = measured.kept([prompt])
                pictures = [picture for picture in measured.pictures if kept[picture]]
                if not pictures:
                    continue
                one, noise = (
                    _values(measured, pictures, kept, f"{name} {budget}", "2", VISIBILITY)
                    for name in (arm, CONTROLS[0])
                )
                by_prompt.append(
                    {
                        **_compared_row(arm, one, CONTROLS[0], noise),
                        "prompt": prompt.name,
                        "kept": sum(map(len, kept.values())) / (len(kept) * config.seeds),
                    }
                )
            differences = [float(str(row["difference"])) for row in by_prompt]
            if len(differences) > 1:
                mean = statistics.fmean(differences)
                spread = statistics.stdev(differences) / abs(mean) if mean else None
                by_prompt.append(
                    {"arm": arm, "mode": ARMS[arm].mode, "prompt": "spread", "difference": mean, "spread": spread}
                )
            common = {"editor": measured.editor, "budget_levels": budget, "objective": "2", "metric": VISIBILITY}
            rows += [{column: (row | common).get(column) for column in PROMPT_COLUMNS} for row in by_prompt]
    return rows


def rival_rows(measured: Measured, config: EditingConfig) -> list[Row]:
    """Every arm of this program, the published loop included, beside every method from the literature, in pairs, on both
    objectives in the metric of visibility."""
    kept = measured.kept(measured.prompts)
    pictures = [picture for picture in measured.pictures if kept[picture]]
    ours = [arm for arm in config.arm_names() if ARMS[arm].mode]
    rivals = [arm for arm in config.arm_names() if not ARMS[arm].mode and arm not in CONTROLS]
    rows: list[Row] = []
    if not pictures:
        return rows
    for budget in config.budgets:
        for objective in ("2", "1"):
            values = {
                arm: _values(measured, pictures, kept, f"{arm} {budget}", objective, VISIBILITY)
                for arm in (*ours, *rivals)
            }
            common = {"editor": measured.editor, "budget_levels": budget, "objective": objective, "metric": VISIBILITY}
            for arm in ours:
                compared = {rival: comparison(values[arm], values[rival]) for rival in rivals}
                adjusted = holm(
                    {rival: float(str(row["p"])) for rival, row in compared.items() if row["p"] is not None}
                )
                for rival, row in compared.items():
                    about = {"arm": arm, "mode": ARMS[arm].mode, "rival": rival, "needs": ARMS[rival].needs}
                    rows.append(
                        {**common, **about, **row, "rival_effect": row["noise_effect"], "p_holm": adjusted.get(rival)}
                    )
    return [{column: row[column] for column in RIVAL_COLUMNS} for row in rows]


RIVAL_COLUMNS = (
    *("editor", "arm", "mode", "rival", "needs", "budget_levels", "objective", "metric", "effect", "rival_effect"),
    *("difference", "ci_low", "ci_high", "p", "p_holm", "win_rate", "n"),
)
"""As in `COLUMNS`, with a method from the literature in place of a control; `needs` is what that method looks into, and
`p_holm` is adjusted over the rivals of one arm."""

PROMPT_COLUMNS = (
    *("editor", "arm", "mode", "budget_levels", "prompt", "objective", "metric", "effect", "control", "noise_effect"),
    *("ratio", "difference", "ci_low", "ci_high", "p", "win_rate", "n", "kept", "spread"),
)
"""As in `COLUMNS`. The row `spread` has the mean of the differences over prompts, and their standard deviation divided by
that mean: 0 is an effect that does not depend on the prompt."""


def mean_effects(measured: Measured, variant: str) -> Values:
    """Objective 2 in the metric of visibility, of the pictures with an edit that counts."""
    kept = measured.kept(measured.prompts)
    pictures = [picture for picture in measured.pictures if kept[picture]]
    return _values(measured, pictures, kept, variant, "2", VISIBILITY)


def _questions(measured: Measured, picture: str) -> list[tuple[str, str]]:
    """(objective, metric) of everything that was measured."""
    edit = next(iter(measured.entries[picture]["clean"]["edits"].values()))
    adherence = [VISIBILITY] if any(prompt.target for prompt in measured.prompts) else []
    return [
        *(("2", metric) for metric in edit["to_original"]),
        *(("1", metric) for metric in edit["to_original"]),
        *(("adherence", metric) for metric in [*adherence, *edit["prompt"]]),
        *(("quality", metric) for metric in edit["picture"]),
    ]


def _values(
    measured: Measured,
    pictures: Sequence[str],
    kept: Mapping[str, Sequence[str]],
    variant: str,
    objective: str,
    metric: str,
) -> Values:
    values = {}
    for picture in pictures:
        clean, changed = (measured.entries[picture][name]["edits"] for name in ("clean", variant))
        values[picture] = statistics.fmean(
            _value(clean[edit], changed[edit], objective, metric) for edit in kept[picture]
        )
    return values


def _value(clean: Json, changed: Json, objective: str, metric: str) -> float:
    if objective == "2":
        return float(changed["to_clean"][metric])
    if objective == "1":
        return float(clean["to_original"][metric] - changed["to_original"][metric])
    if objective == "adherence" and metric not in clean["prompt"]:
        return float(changed.get("to_target", 0.0) - clean.get("to_target", 0.0))
    where = "prompt" if objective == "adherence" else "picture"
    worse = float(changed[where][metric] - clean[where][metric])
    return worse if METRICS[metric].better == "lower" else -worse


def _visibility(measured: Measured, pictures: Sequence[str], variant: str) -> float:
    return statistics.fmean(float(measured.entries[picture][variant]["visible"][VISIBILITY]) for picture in pictures)


def _control_row(arm: str, values: Values) -> Row:
    return {"arm": arm, "mode": "", "needs": ARMS[arm].needs, "effect": statistics.fmean(values.values())}


def _compared(values: Mapping[str, Values], control: str) -> list[Row]:
    rows = [_compared_row(arm, one, control, values[control]) for arm, one in values.items() if arm not in CONTROLS]
    adjusted = holm({str(row["arm"]): float(str(row["p"])) for row in rows if row["p"] is not None})
    return [{**row, "p_holm": adjusted.get(str(row["arm"]))} for row in rows]


def _compared_row(arm: str, values: Values, control: str, noise: Values) -> Row:
    about = {"arm": arm, "mode": ARMS[arm].mode, "needs": ARMS[arm].needs, "control": control}
    return {**about, **comparison(values, noise)}


PUBLISHED = "pca-diffusion"

FRONTIER_COLUMNS = (
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
    return [{column: row[column] for column in FRONTIER_COLUMNS} for row in rows]
