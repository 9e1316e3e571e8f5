"""The tables `editing`, `outcomes` and `prompts`: effects of arms on edits beside their controls.

See `measured` for the objectives.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pca_protect.eval.arms.controls import CONTROL, REFERENCES, SEED, UNRELATED
from pca_protect.eval.arms.registry import ARMS, CONTROLS, NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.measured import SUCCESS, Measured, Values, in_both, variant_of
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.results import Row
from pca_protect.eval.stats import SIGNIFICANT, comparison, decidable, with_holm

COLUMNS = (
    *("editor", "arm", "mode", "needs", "budget_levels", "visibility", "objective", "metric", "effect", "control"),
    *("control_visibility", "noise_effect", "ratio", "difference", "ci_low", "ci_high", "p", "p_holm", "win_rate"),
    *("n", "kept"),
)
"""`effect` is the arm's mean, `noise_effect` that of the control. `difference`, its interval, `p` and `win_rate` are paired.
`p_holm` is adjusted over all arms with the same editor, budget, objective, metric and control. Rows of controls have no
comparison."""

EQUIVALENT = 0.1
"""Two methods are called alike if their effects differ by less than this share of the distance that another seed makes (TOST)."""


def editing_rows(measured: Measured, config: EditingConfig) -> list[Row]:
    """A row for every arm, budget, objective, metric and control, and one without a comparison for every control with edits
    of its own."""
    kept = measured.kept()
    rows: list[Row] = []
    if not kept:
        return rows
    methods = [arm for arm in measured.arms if arm not in CONTROLS]
    for budget in config.budgets:
        for objective, metric in measured.questions():
            common = {"budget_levels": budget, "objective": objective, "metric": metric}
            values = {arm: measured.values(kept, arm, budget, objective, metric) for arm in (NOISE_LINF, *methods)}
            beyond = _alone(measured, kept, budget, objective, metric, methods)
            for name, found in {NOISE_LINF: values[NOISE_LINF], **beyond}.items():
                if found:
                    rows.append(
                        {
                            **common,
                            "arm": name,
                            "mode": "",
                            "needs": "nothing",
                            "visibility": _visibility_alone(measured, found, name, budget, methods),
                            "effect": statistics.fmean(found.values()),
                            "n": len(found),
                        }
                    )
            for control in CONTROL:
                for arm in methods:
                    if not values[arm] or not measured.has(control, arm, budget):
                        continue
                    against = measured.values(kept, arm, budget, objective, metric, control)
                    both = {picture: value for picture, value in values[arm].items() if picture in against}
                    if both:
                        rows.append(
                            {
                                **common,
                                "arm": arm,
                                "mode": ARMS[arm].mode,
                                "needs": ARMS[arm].needs,
                                "visibility": measured.visibility(both, arm, budget),
                                "control": control,
                                "control_visibility": None
                                if control == SEED
                                else measured.visibility(both, arm, budget, control),
                                **comparison(both, against),
                            }
                        )
    rows = with_holm(rows, ("budget_levels", "objective", "metric", "control"))
    about = {"editor": measured.editor, "kept": measured.kept_share()}
    return [{column: (row | about).get(column) for column in COLUMNS} for row in rows]


OUTCOME_COLUMNS = (
    *("editor", "arm", "mode", "budget_levels", "visibility", "effect", "seed_line", "difference", "p_holm"),
    *("moves", "beyond_noise", "own_picture", "fails", "fails_in", "carried", "success", "n"),
)
"""`effect` and `difference`: FLIP between edit and clean edit, and minus the `seed_line`, the FLIP between clean edits with other
seeds. `moves`: the difference is above 0. `beyond_noise`: the effect exceeds noise of the same levels and of the same visibility.
`own_picture`: it exceeds the shuffled perturbation; None if not measured. `fails`: adherence, success or quality falls
further than another seed changes it, in the metrics `fails_in`;
None if so few pictures cannot show it. `carried`: share of the effect that vanishes with the
perturbation's copy. `success`: share of edits nearer to the known target than an edit without a prompt; None if no target is
known. All tests at 5 %, adjusted by Holm over arms, and for `fails` over metrics too."""

FAILURES = ("adherence", SUCCESS, "quality")
"""Objectives whose fall makes an edit fail. A different edit alone is no failed edit."""


def outcome_rows(measured: Measured, config: EditingConfig) -> list[Row]:
    """What an arm does to edits in two words, `moves` and `fails`, from the rows of the table `editing`."""
    found = editing_rows(measured, config)
    losses = with_holm(
        [row for row in found if row["control"] == SEED and row["objective"] in FAILURES], ("budget_levels",)
    )
    rows: list[Row] = []
    for budget in config.budgets:
        here = [row for row in found if row["budget_levels"] == budget]
        for arm in (arm for arm in measured.arms if arm not in CONTROLS):
            asked = [row for row in here if row["arm"] == arm]
            two = {str(row["control"]): row for row in asked if (row["objective"], row["metric"]) == ("2", VISIBILITY)}
            if SEED not in two:
                continue
            without = [row["effect"] for row in asked if row["objective"] == "2-without"]
            lost = [row["effect"] for row in asked if row["objective"] == SUCCESS]
            effect, line = (float(str(two[SEED][column])) for column in ("effect", "noise_effect"))
            tests = [row for row in losses if row["arm"] == arm and row["budget_levels"] == budget]
            fails = [f"{row['objective']} ({row['metric']})" for row in tests if above(row)]
            untested = two[SEED]["p_holm"] is None
            family = sum(row["budget_levels"] == budget for row in losses)
            open_ = not fails and not decidable(int(str(two[SEED]["n"])), family)
            rows.append(
                {
                    "editor": measured.editor,
                    "arm": arm,
                    "mode": ARMS[arm].mode,
                    "budget_levels": budget,
                    "visibility": two[SEED]["visibility"],
                    "effect": effect,
                    "seed_line": line,
                    "difference": two[SEED]["difference"],
                    "p_holm": two[SEED]["p_holm"],
                    "moves": None if untested else above(two[SEED]),
                    "beyond_noise": None if untested else all(above(two[control]) for control in CONTROLS),
                    "own_picture": None if untested or "shuffled" not in two else above(two["shuffled"]),
                    "fails": None if untested or open_ or not tests else bool(fails),
                    "fails_in": ", ".join(fails),
                    "carried": 1 - float(str(without[0])) / effect if without and effect else None,
                    "success": 1 - float(str(lost[0])) if lost else None,
                    "n": two[SEED]["n"],
                }
            )
    return [{column: row[column] for column in OUTCOME_COLUMNS} for row in rows]


def above(row: Mapping[str, object]) -> bool:
    """Whether the difference is positive and significant after the adjustment; False without a test."""
    return row["p_holm"] is not None and float(str(row["p_holm"])) < SIGNIFICANT and float(str(row["difference"])) > 0


PROMPT_COLUMNS = (
    *("editor", "arm", "mode", "budget_levels", "prompt", "objective", "metric", "effect", "control", "noise_effect"),
    *("ratio", "difference", "ci_low", "ci_high", "p", "p_holm", "win_rate", "n", "kept", "spread"),
)
"""As in `COLUMNS`, against noise of the same levels and against other seeds; `p_holm` is adjusted over the prompts of one arm and
control. The rows `spread` have the mean of the differences over prompts, and their standard deviation divided by that mean; 0
is an effect independent of the prompt."""


def prompt_rows(measured: Measured, config: EditingConfig) -> list[Row]:
    """Objective 2 by prompt, and for each arm the spread over prompts of the effect beyond each control. Leaves out prompts that
    one of several pictures has alone."""
    rows: list[Row] = []
    for budget in config.budgets:
        for arm in (arm for arm in measured.arms if arm not in CONTROLS):
            for control in (NOISE_LINF, SEED):
                by_prompt: list[Row] = []
                for prompt in measured.prompts:
                    kept = measured.kept([prompt])
                    if not kept or (measured.is_of_one_picture(prompt) and len(measured.pictures) > 1):
                        continue
                    one, against = in_both(
                        measured.values(kept, arm, budget, "2", VISIBILITY),
                        measured.values(kept, arm, budget, "2", VISIBILITY, control),
                    )
                    if not one:
                        continue
                    row = {**comparison(one, against), "prompt": prompt.name, "kept": measured.kept_share([prompt])}
                    by_prompt.append(row)
                by_prompt = with_holm(by_prompt, ())
                differences = [float(str(row["difference"])) for row in by_prompt]
                if len(differences) > 1:
                    mean = statistics.fmean(differences)
                    spread = statistics.stdev(differences) / abs(mean) if mean else None
                    by_prompt.append({"prompt": "spread", "difference": mean, "spread": spread})
                common = {"editor": measured.editor, "budget_levels": budget, "objective": "2", "metric": VISIBILITY}
                common |= {"arm": arm, "mode": ARMS[arm].mode, "control": control}
                rows += [{column: (row | common).get(column) for column in PROMPT_COLUMNS} for row in by_prompt]
    return rows


def _alone(
    measured: Measured,
    kept: Mapping[str, Sequence[str]],
    budget: int,
    objective: str,
    metric: str,
    methods: Sequence[str],
) -> dict[str, Values]:
    """Values of the controls that have a row of their own: noise as visible as the most visible method, and the references."""
    found = {SEED: measured.values(kept, "", budget, objective, metric, SEED)}
    if methods:
        most = {picture: _most_visible(measured, picture, budget, methods) for picture in kept}
        found[NOISE_VISIBLE] = {
            picture: value
            for picture, edits in kept.items()
            for value in measured.values(
                {picture: edits}, most[picture], budget, objective, metric, NOISE_VISIBLE
            ).values()
        }
    if all(UNRELATED in measured.entries[picture] for picture in kept):
        found[UNRELATED] = measured.values(kept, UNRELATED, budget, objective, metric)
    return {name: found[name] for name in (NOISE_VISIBLE, *REFERENCES) if name in found}


def _visibility_alone(
    measured: Measured, values: Values, name: str, budget: int, methods: Sequence[str]
) -> float | None:
    if name == NOISE_VISIBLE:
        return statistics.fmean(
            measured.visibility([picture], _most_visible(measured, picture, budget, methods), budget, NOISE_VISIBLE)
            for picture in values
        )
    return None if name in REFERENCES else measured.visibility(values, name, budget)


def _most_visible(measured: Measured, picture: str, budget: int, methods: Sequence[str]) -> str:
    entries = measured.entries[picture]
    return max(methods, key=lambda arm: float(entries[variant_of("", arm, budget, entries)]["visible"][VISIBILITY]))
