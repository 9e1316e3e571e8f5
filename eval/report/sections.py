"""The sections of a page: for each table a sentence with the outcome, figures, and a formatted table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from pca_protect.eval.arms.registry import ARMS, CONTROLS, NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.report import figures

Row = Mapping[str, Any]

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Section:
    """Attributes:
    title: heading.
    text: paragraphs.
    figures: (caption, SVG).
    head, rows: of the formatted table; rows have the length of the head.
    """

    title: str
    text: list[str]
    figures: list[tuple[str, Markup]] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def sections_of(summary: Mapping[str, Any]) -> list[Section]:
    """The sections about a benchmark's tables; unknown tables are shown unchanged."""
    found = []
    for name, rows in summary["tables"].items():
        if rows:
            found += _SECTIONS.get(name, _plain)(name, rows)
    return found


def _editing(name: str, rows: Sequence[Row]) -> list[Section]:
    sections = []
    for editor in dict.fromkeys(row["editor"] for row in rows):
        own = [row for row in rows if row["editor"] == editor]
        sections.append(
            Section(
                f"Edits by {editor}",
                [
                    *(_outcome(row) for row in own if _is_headline(row)),
                    f"{own[0]['n']} pictures; {own[0]['kept']:.0%} of the clean edits follow the prompt and count. "
                    "Distances are FLIP, from 0 (equal) to 1. All other metrics are in results.csv.",
                ],
                [
                    (
                        "Objective 2: how far edits are from the clean edit, above noise",
                        Markup(figures.svg(figures.forest(own, "2"))),
                    ),
                    (
                        "Objective 1: how much closer to the original edits stay than the clean edit does, above noise",
                        Markup(figures.svg(figures.forest(own, "1"))),
                    ),
                    (
                        "Effect against visibility",
                        Markup(figures.svg(figures.effect_by_visibility(own, "2"))),
                    ),
                ],
                [
                    *("arm", "levels", "visible", "objective 2", "above same levels", "above same visibility"),
                    *("objective 1", "above same levels", "adherence lost", "blur added"),
                ],
                [
                    _editing_cells(own, arm, budget)
                    for arm, budget in dict.fromkeys((r["arm"], r["budget_levels"]) for r in own)
                ],
            )
        )
    return sections


def _is_headline(row: Row) -> bool:
    return (
        row["arm"] in ("pca-diffusion", "pca-concentration") and row["objective"] == "2" and row["metric"] == VISIBILITY
    )


def _outcome(row: Row) -> str:
    """The outcome of one row as a sentence."""
    sentence = (
        f"{row['arm']} at {row['budget_levels']} levels moves edits {row['effect']:.3f} from the clean edit; "
        f"{ARMS[row['control']].what} {row['noise_effect']:.3f}"
    )
    if row["ci_low"] is None:
        return f"{sentence}. One picture: there are no statistics."
    verdict = (
        "more than noise"
        if row["ci_low"] > 0
        else "less than noise" if row["ci_high"] < 0 else "not told apart from noise"
    )  # fmt: skip
    interval = f"{row['ci_low']:+.3f} to {row['ci_high']:+.3f}"
    return f"{sentence}. Difference {row['difference']:+.3f}, 95 % interval {interval}: {verdict}."


def _editing_cells(rows: Sequence[Row], arm: str, budget: int) -> list[str]:
    def one(objective: str, metric: str = VISIBILITY, control: str | None = None) -> Row | None:
        wanted = {"arm": arm, "budget_levels": budget, "objective": objective, "metric": metric}
        if arm not in CONTROLS:
            wanted["control"] = control or NOISE_LINF
        return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)

    two, visible = one("2"), one("2", control=NOISE_VISIBLE)
    first = one("1")
    assert two is not None
    return [
        arm,
        str(budget),
        f"{two['visibility']:.3f}",
        f"{two['effect']:.3f}",
        difference(two),
        difference(visible),
        "" if first is None else f"{first['effect']:+.3f}",
        difference(first),
        _effect(one("adherence")),
        _effect(one("quality", "blur")),
    ]


def difference(row: Row | None) -> str:
    """A difference with its interval; a star marks significance in the adjusted test."""
    if row is None or row.get("control") is None:
        return ""
    if row["ci_low"] is None:
        return f"{row['difference']:+.3f}"
    p = row.get("p_holm", row.get("p"))
    star = "*" if p is not None and p < SIGNIFICANT else ""
    return f"{row['difference']:+.3f}{star} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"


def _effect(row: Row | None) -> str:
    return "" if row is None else f"{row['effect']:+.3f}"


def _rivals(name: str, rows: Sequence[Row]) -> list[Section]:
    return [
        Section(
            "Posterior collapse beside other methods",
            [
                "Paired on the same pictures, at equal budget, steps and precision. Above 0: posterior collapse has more effect."
            ],
            [],
            ["posterior collapse", "other method", "it needs", "objective", "effect", "the other's", "difference"],
            [
                [
                    row["arm"],
                    row["rival"],
                    row["needs"],
                    row["objective"],
                    f"{row['effect']:.3f}",
                    f"{row['rival_effect']:.3f}",
                    difference({**row, "control": row["rival"]}),
                ]
                for row in rows
            ],
        )
    ]


def _prompts(name: str, rows: Sequence[Row]) -> list[Section]:
    if len({row["prompt"] for row in rows} - {"spread"}) < 2:
        return []
    return [
        Section(
            "One protection, many prompts",
            [
                "The same protected picture, edited with every prompt. Spread is the standard deviation over prompts of the "
                "effect above noise, divided by its mean; 0 is an effect independent of the prompt.",
            ],
            [("By prompt", Markup(figures.svg(figures.prompt_dots(rows))))],
            ["arm", "prompt", "effect", "above same levels", "pictures", "kept", "spread"],
            [
                [
                    row["arm"],
                    row["prompt"],
                    "" if row["effect"] is None else f"{row['effect']:.3f}",
                    f"{row['difference']:+.3f}" if row["prompt"] == "spread" else difference(row),
                    "" if row["n"] is None else str(row["n"]),
                    "" if row["kept"] is None else f"{row['kept']:.0%}",
                    "" if row["spread"] is None else f"{row['spread']:.2f}",
                ]
                for row in rows
            ],
        )
    ]


def _transfer(name: str, rows: Sequence[Row]) -> list[Section]:
    drawn = [
        ("How far posteriors move, as a multiple of noise", Markup(figures.svg(figures.heat_map(rows, "posterior"))))
    ]
    if any(row["objective"] == "2" for row in rows):
        drawn.append(("How far edits move, as a multiple of noise", Markup(figures.svg(figures.heat_map(rows, "2")))))
    return [
        Section(
            "Transfer between encoders",
            [
                "Rows: surrogate; columns: encoder measured on. A frame marks encoders that were protected against; all other "
                "cells are transfer. Encoders with equal weights count as one.",
            ],
            drawn,
            ["protected against", "measured on", "mode", "what", "effect", "noise", "ratio", "above noise"],
            [
                [
                    row["surrogate"],
                    (row["editor"] or row["target"]) + (" (same encoder)" if row["same_encoder"] else ""),
                    row["mode"],
                    "edits" if row["objective"] == "2" else row["metric"],
                    "" if row["effect"] is None else f"{row['effect']:.3f}",
                    "" if row["noise_effect"] is None else f"{row['noise_effect']:.3f}",
                    "" if row["ratio"] is None else f"{row['ratio']:.2f}",
                    "" if row["difference"] is None else difference(row),
                ]
                for row in rows
            ],
        )
    ]


def _purify(name: str, rows: Sequence[Row]) -> list[Section]:
    def interval(row: Row) -> str:
        if row["retained"] is None:
            return ""
        return f"{row['retained']:.0%}" + (
            "" if row["ci_low"] is None else f" [{row['ci_low']:.0%}, {row['ci_high']:.0%}]"
        )

    return [
        Section(
            "What is left after purifying",
            [
                "The distance between the edits of the purified protected picture and of the purified clean one, as a share of "
                f"the distance without a purifier. {rows[0]['n']} pictures. A purifier also degrades the picture: the column "
                "'changes the picture' is FLIP between the clean picture before and after.",
            ],
            [("Retained share by purifier", Markup(figures.svg(figures.purifier_bars(rows))))],
            ["purifier", "arm", "effect", "retained", "of what exceeds noise", "changes the picture"],
            [
                [
                    row["what"],
                    row["arm"],
                    f"{row['effect']:.3f}",
                    interval(row),
                    "" if row["retained_above_noise"] is None else f"{row['retained_above_noise']:.0%}",
                    f"{row['changes_picture']:.3f}",
                ]
                for row in rows
            ],
        )
    ]


def _frontier(name: str, rows: Sequence[Row]) -> list[Section]:
    def share(row: Row, value: str, low: str, high: str) -> str:
        if row[value] is None:
            return ""
        return f"{row[value]:.2f}" + ("" if row[low] is None else f" [{row[low]:.2f}, {row[high]:.2f}]")

    sections = []
    for editor in dict.fromkeys(row["editor"] for row in rows):
        own = [row for row in rows if row["editor"] == editor]
        metrics = list(dict.fromkeys(row["metric"] for row in own))
        arms = list(dict.fromkeys((row["arm"], row["budget_levels"]) for row in own))
        found = {(row["arm"], row["budget_levels"], row["metric"]): row for row in own}
        sections.append(
            Section(
                f"What effect costs, in edits by {editor}",
                [
                    "Effect, visibility in several metrics and seconds, as multiples of the published loop's in mode diffusion "
                    f"on the same {own[0]['n']} pictures, with 95 % intervals. Better: more effect, less of the others.",
                ],
                [
                    *(
                        (f"Effect against {what}", Markup(figures.svg(figures.frontier(own, across, metric))))
                        for what, across, metric in (
                            *((f"visibility in {metric}", "visibility", metric) for metric in metrics),
                            ("seconds", "seconds", VISIBILITY),
                        )
                    ),
                ],
                [
                    "arm",
                    "levels",
                    "effect",
                    "times the published",
                    *(f"visible, {metric}" for metric in metrics),
                    "seconds",
                ],
                [
                    [
                        arm,
                        str(budget),
                        f"{found[arm, budget, VISIBILITY]['effect']:.3f}",
                        share(found[arm, budget, VISIBILITY], "effect_share", "effect_ci_low", "effect_ci_high"),
                        *(share(found[arm, budget, metric], "share", "ci_low", "ci_high") for metric in metrics),
                        _cell(found[arm, budget, VISIBILITY]["seconds_share"]),
                    ]
                    for arm, budget in arms
                ],
            )
        )
    return sections


def _plain(name: str, rows: Sequence[Row]) -> list[Section]:
    """The unchanged table without empty columns."""
    columns = [column for column in rows[0] if any(row.get(column) not in (None, "") for row in rows)]
    return [
        Section(name.capitalize(), [], [], columns, [[_cell(row.get(column)) for column in columns] for row in rows])
    ]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_SECTIONS = {
    "editing": _editing,
    "rivals": _rivals,
    "frontier": _frontier,
    "prompts": _prompts,
    "transfer": _transfer,
    "purify": _purify,
}
