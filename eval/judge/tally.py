"""From votes to the tables `judge` and `answers`."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pca_protect.eval.arms.controls import SEED
from pca_protect.eval.arms.registry import ARMS, CONTROLS, NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.judge.questions import QUESTIONS
from pca_protect.eval.results import Row
from pca_protect.eval.saved_edits import CLEAN, OTHER_SEED
from pca_protect.eval.stats import comparison, with_holm

COLUMNS = (
    *("judge", "editor", "arm", "mode", "budget_levels", "question", "effect", "control", "noise_effect", "ratio"),
    *("difference", "ci_low", "ci_high", "p", "p_holm", "win_rate", "n"),
)
"""`effect`: mean vote of the arm, see `Vote`; `noise_effect`: that of the control. The control is `seed` (clean edits with other
seeds), noise of the same levels, or for the question `follows` also the clean edit. `p_holm` is adjusted over the arms with the
same editor, budget, question and control. Rows of controls have no comparison."""

ANSWER_COLUMNS = ("judge", "question", "answers", "nonsense", "votes", "disagree", "first_option")
"""`answers`: asked; `nonsense`: share that is neither option, or blank. `votes`: pairs of edits with both orders answered;
`disagree`: share of them in which the orders disagree, which is position bias. `first_option`: share of the first option."""


@dataclass(frozen=True)
class Vote:
    """A judge's opinion of one edit. Larger is worse.

    Attributes:
        variant: `CLEAN`, `OTHER_SEED` or `ARM BUDGET`.
        question: `follows`: 1 if the edit does not show what was asked for, else 0. `better`, `intact`: 1 if the clean edit is
            preferred, 0 if this one is, 0.5 without a preference.
        choices: the answers, None for nonsense; two for a pair of edits whose order was swapped.
        value: None without a valid answer.
    """

    editor: str
    picture: str
    variant: str
    question: str
    choices: tuple[str | None, ...]
    value: float | None


def pair_value(choices: Sequence[str | None], of_clean: Sequence[str]) -> float | None:
    """The vote on a pair of edits.

    Args:
        choices: of the options; an answer per order.
        of_clean: the option of the clean edit in each order.

    Returns:
        0.5 if the orders disagree; None if an answer is nonsense.
    """
    if None in choices:
        return None
    preferred = {choice == clean for choice, clean in zip(choices, of_clean, strict=True)}
    return 0.5 if len(preferred) > 1 else float(preferred.pop())


def judged_variants(variants: Iterable[str], arms: Sequence[str] = ()) -> list[str]:
    """The variants that judges see: clean edits, noise of the same levels, and methods at a budget.

    Args:
        arms: restricts the methods; empty for all.
    """
    names = list(variants)
    found = [name for name in (CLEAN, OTHER_SEED) if name in names]
    for arm in ARMS:
        if arm != NOISE_VISIBLE and (not arms or arm in (*arms, NOISE_LINF)):
            found += sorted(name for name in names if re.fullmatch(rf"{re.escape(arm)} \d+", name))
    return found


def judge_rows(votes: Sequence[Vote], judge: str) -> list[Row]:
    """The table `judge`, see `COLUMNS`."""
    rows: list[Row] = []
    for editor in dict.fromkeys(vote.editor for vote in votes):
        for question in QUESTIONS:
            asked = [vote for vote in votes if (vote.editor, vote.question) == (editor, question.name)]
            values = {variant: _by_picture(asked, variant) for variant in dict.fromkeys(one.variant for one in asked)}
            common: Row = {"judge": judge, "editor": editor, "question": question.name}
            rows += [common | row for row in _alone(values)]
            rows += [common | row for row in _compared(values)]
    rows = with_holm(rows, ("editor", "budget_levels", "question", "control"))
    return [{column: row.get(column) for column in COLUMNS} for row in rows]


def answer_rows(votes: Sequence[Vote], judge: str) -> list[Row]:
    """The table `answers`, see `ANSWER_COLUMNS`."""
    rows: list[Row] = []
    for question in QUESTIONS:
        own = [vote for vote in votes if vote.question == question.name]
        choices = [choice for vote in own for choice in vote.choices]
        swapped = [vote for vote in own if len(vote.choices) > 1 and vote.value is not None]
        valid = [choice for choice in choices if choice is not None]
        rows.append(
            {
                "judge": judge,
                "question": question.name,
                "answers": len(choices),
                "nonsense": 1 - len(valid) / len(choices) if choices else None,
                "votes": len(swapped),
                "disagree": sum(vote.value == 0.5 for vote in swapped) / len(swapped) if swapped else None,
                "first_option": sum(choice == question.options[0] for choice in valid) / len(valid) if valid else None,
            }
        )
    return [{column: row[column] for column in ANSWER_COLUMNS} for row in rows if row["answers"]]


def _by_picture(votes: Sequence[Vote], variant: str) -> dict[str, float]:
    """Picture -> mean vote over its prompts; without pictures that have no valid vote."""
    found: dict[str, list[float]] = {}
    for vote in votes:
        if vote.variant == variant and vote.value is not None:
            found.setdefault(vote.picture, []).append(vote.value)
    return {picture: statistics.fmean(values) for picture, values in found.items()}


def _alone(values: Mapping[str, Mapping[str, float]]) -> list[Row]:
    rows: list[Row] = []
    for variant, found in values.items():
        arm, budget = _arm(variant)
        if arm in (CLEAN, SEED, *CONTROLS) and found:
            effect = statistics.fmean(found.values())
            rows.append({"arm": arm, "mode": "", "budget_levels": budget, "effect": effect, "n": len(found)})
    return rows


def _compared(values: Mapping[str, Mapping[str, float]]) -> list[Row]:
    rows: list[Row] = []
    for variant, found in values.items():
        arm, budget = _arm(variant)
        if budget is None or arm in CONTROLS:
            continue
        controls = {SEED: OTHER_SEED, NOISE_LINF: f"{NOISE_LINF} {budget}", CLEAN: CLEAN}
        for control, of_control in controls.items():
            against = values.get(of_control, {})
            both = {picture: value for picture, value in found.items() if picture in against}
            if both:
                about: Row = {"arm": arm, "mode": ARMS[arm].mode, "budget_levels": budget, "control": control}
                rows.append(about | comparison(both, against))
    return rows


def _arm(variant: str) -> tuple[str, int | None]:
    """Arm and budget in levels; clean edits have no budget."""
    if variant in (CLEAN, OTHER_SEED):
        return SEED if variant == OTHER_SEED else CLEAN, None
    arm, _, budget = variant.partition(" ")
    return arm, int(budget)
