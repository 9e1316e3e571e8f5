"""Sections about the tables of blind judges: judge, answers."""

from __future__ import annotations

from collections.abc import Sequence

from pca_protect.eval.report.section import FEW, Row, Section, difference, number, percent
from pca_protect.eval.stats import LEAST_PICTURES


def judge(name: str, rows: Sequence[Row]) -> list[Section]:
    few = f" {FEW}" if max(row["n"] for row in rows) < LEAST_PICTURES else ""
    return [
        Section(
            f"Blind judge: {rows[0]['judge']}",
            [
                "Failing or worse: for follows, the share of edits that do not show what was asked for; for better "
                "and intact, the share of pairs in which the clean edit follows the instruction better or looks less "
                f"damaged. 0.5 is no preference. The judge does not know which edit is which.{few}",
            ],
            [],
            [
                "editor",
                "arm",
                "levels",
                "question",
                "failing or worse",
                "control",
                "of the control",
                "above control",
                "pictures",
            ],
            [
                [
                    row["editor"],
                    row["arm"],
                    "" if row["budget_levels"] is None else str(row["budget_levels"]),
                    row["question"],
                    number(row["effect"]),
                    row["control"] or "",
                    number(row["noise_effect"]),
                    difference(row),
                    str(row["n"]),
                ]
                for row in rows
            ],
        )
    ]


def answers(name: str, rows: Sequence[Row]) -> list[Section]:
    return [
        Section(
            "How good the judge is",
            [
                "Invalid: neither of the two words, or blank. Position bias: share of pairs whose swapped order reversed the "
                "preference; they count as no preference. First option: share of yes or A; half of the answers A is unbiased.",
            ],
            [],
            ["question", "answers", "invalid", "pairs in both orders", "position bias", "first option"],
            [
                [
                    row["question"],
                    str(row["answers"]),
                    percent(row["nonsense"]),
                    str(row["votes"]),
                    percent(row["disagree"]),
                    percent(row["first_option"]),
                ]
                for row in rows
            ],
        )
    ]
