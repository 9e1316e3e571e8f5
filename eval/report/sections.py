"""The sections of a page: for each table a sentence with the outcome, figures, and a formatted table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pca_protect.eval.report import edits, figures, judged
from pca_protect.eval.report.section import Row, Section, cell, difference, drawn, interval, number, percent


def sections_of(summary: Mapping[str, Any]) -> list[Section]:
    """The sections about a benchmark's tables, outcomes first; unknown tables are shown unchanged."""
    tables = summary["tables"]
    found = []
    for name in sorted(tables, key=lambda name: name not in ("outcomes", "judge")):
        if tables[name]:
            found += _SECTIONS.get(name, _plain)(name, tables[name])
    return found


def _transfer(name: str, rows: Sequence[Row]) -> list[Section]:
    figure = [("How far posteriors move, as a multiple of noise", drawn(figures.heat_map(rows, "posterior")))]
    if any(row["objective"] == "2" for row in rows):
        figure.append(("How far edits move, as a multiple of noise", drawn(figures.heat_map(rows, "2"))))
    return [
        Section(
            "Transfer between encoders",
            [
                "Rows: surrogate; columns: encoder measured on. A frame marks encoders that were protected against; all other "
                "cells are transfer. Encoders with equal weights count as one. Above other seeds: distance of edits minus that "
                "between clean edits with other seeds.",
            ],
            figure,
            [
                *("protected against", "measured on", "mode", "what", "effect", "noise", "ratio", "above noise"),
                *("other seeds", "above other seeds"),
            ],
            [
                [
                    row["surrogate"],
                    (row["editor"] or row["target"]) + (" (same encoder)" if row["same_encoder"] else ""),
                    row["mode"],
                    "edits" if row["objective"] == "2" else row["metric"],
                    number(row["effect"]),
                    number(row["noise_effect"]),
                    "" if row["ratio"] is None else f"{row['ratio']:.2f}",
                    "" if row["difference"] is None else difference(row),
                    number(row.get("seed_line")),
                    interval(*(row.get(key) for key in ("above_seed", "seed_ci_low", "seed_ci_high", "seed_p_holm"))),
                ]
                for row in rows
            ],
        )
    ]


def _purify(name: str, rows: Sequence[Row]) -> list[Section]:
    line = rows[0].get("seed_line")
    return [
        Section(
            "What is left after purifying",
            [
                "The distance between the edits of the purified protected picture and of the purified clean one, minus that of "
                "purified noise of the same budget, as a share of the same without a purifier. 0: no more than noise is left. "
                f"{rows[0]['n']} pictures. A purifier also degrades the picture: the column 'changes the picture' is FLIP "
                "between the clean picture before and after."
                + (f" Clean edits with other seeds: {line:.3f}." if line else ""),
            ],
            [("Share of the effect above noise, by purifier", drawn(figures.purifier_bars(rows)))],
            ["purifier", "arm", "effect", "of what exceeds noise", "above noise", "of all", "changes the picture"],
            [
                [
                    row["what"],
                    row["arm"],
                    f"{row['effect']:.3f}",
                    percent(*(row.get(key) for key in ("retained_above_noise", "above_ci_low", "above_ci_high"))),
                    interval(
                        row["difference"],
                        *(row.get(key) for key in ("difference_ci_low", "difference_ci_high", "p_holm")),
                    ),
                    percent(row["retained"], row["ci_low"], row["ci_high"]),
                    f"{row['changes_picture']:.3f}",
                ]
                for row in rows
            ],
        )
    ]


def _plain(name: str, rows: Sequence[Row]) -> list[Section]:
    """The unchanged table without empty columns."""
    columns = [column for column in rows[0] if any(row.get(column) not in (None, "") for row in rows)]
    return [
        Section(name.capitalize(), [], [], columns, [[cell(row.get(column)) for column in columns] for row in rows])
    ]


_SECTIONS = {
    "outcomes": edits.outcomes,
    "editing": edits.editing,
    "rivals": edits.rivals,
    "frontier": edits.frontier,
    "prompts": edits.prompts,
    "transfer": _transfer,
    "purify": _purify,
    "judge": judged.judge,
    "answers": judged.answers,
}
