"""Sections about the tables of edits: outcomes, editing, rivals, frontier, prompts."""

from __future__ import annotations

from collections.abc import Sequence

from pca_protect.eval.arms.controls import CONTROL, REFERENCES, SEED
from pca_protect.eval.arms.registry import CONTROLS, NOISE_LINF
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.report import figures
from pca_protect.eval.report.section import FEW, Row, Section, cell, difference, drawn, number, percent, share
from pca_protect.eval.stats import LEAST_PICTURES

_HEADLINES = ("pca-diffusion", "pca-concentration")


def outcomes(name: str, rows: Sequence[Row]) -> list[Section]:
    sections = []
    for editor in dict.fromkeys(row["editor"] for row in rows):
        own = [row for row in rows if row["editor"] == editor]
        sections.append(
            Section(
                f"What protection does to edits by {editor}",
                [
                    *(_outcome(row) for row in own if row["arm"] in _HEADLINES),
                    "Moves: edits are further from the clean edit than clean edits with other seeds are from each other. "
                    "Fails: match with the prompt or quality falls further than another seed changes it; a different edit alone "
                    "is no failed edit. Tests at 5 %, adjusted by Holm over the methods.",
                ],
                [],
                [
                    *("arm", "levels", "effect", "other seeds", "moves", "more than noise", "than another picture's"),
                    *("fails", "in", "perturbation's copy", "edits that succeed", "pictures"),
                ],
                [
                    [
                        row["arm"],
                        str(row["budget_levels"]),
                        number(row["effect"]),
                        number(row["seed_line"]),
                        *(cell(row[word]) for word in ("moves", "beyond_noise", "own_picture", "fails", "fails_in")),
                        percent(row["carried"]),
                        percent(row["success"]),
                        str(row["n"]),
                    ]
                    for row in own
                ],
            )
        )
    return sections


def _outcome(row: Row) -> str:
    """The outcome of one arm in a sentence."""
    start = (
        f"{row['arm']} at {row['budget_levels']} levels: edits are {row['effect']:.3f} from the clean edit, "
        f"clean edits with other seeds {row['seed_line']:.3f}"
    )
    if row["moves"] is None:
        return f"{start}. {FEW}"
    moves = "moves edits" if row["moves"] else "does not move edits further than another seed does"
    fails = f"makes them fail ({row['fails_in']})" if row["fails"] else "does not make them fail"
    return f"{start}: it {moves} and {fails}."


def editing(name: str, rows: Sequence[Row]) -> list[Section]:
    sections = []
    for editor in dict.fromkeys(row["editor"] for row in rows):
        own = [row for row in rows if row["editor"] == editor]
        controls = [control for control in CONTROL if any(row["control"] == control for row in own)]
        pictures = max(row["n"] for row in own)
        sections.append(
            Section(
                f"Edits by {editor}",
                [
                    f"{pictures} pictures; {own[0]['kept']:.0%} of the clean edits follow the prompt and count. "
                    "Distances are FLIP, from 0 (equal) to 1. All other metrics are in results.csv."
                    + (f" {FEW}" if pictures < LEAST_PICTURES else ""),
                ],
                [
                    (
                        "Objective 2: how far edits are from the clean edit, above each control",
                        drawn(figures.forest(own, "2")),
                    ),
                    (
                        "Objective 1: how much closer to the original edits stay than the clean edit does, above each control",
                        drawn(figures.forest(own, "1")),
                    ),
                    ("Effect against visibility", drawn(figures.effect_by_visibility(own, "2"))),
                ],
                [
                    *("arm", "levels", "visible", "objective 2"),
                    *(f"above {CONTROL[control].short}" for control in controls),
                    *("without the perturbation's copy", "distance of sets", "objective 1", "above same levels"),
                    *("adherence lost", "blur added"),
                ],
                [
                    _editing_cells(own, arm, budget, controls)
                    for arm, budget in dict.fromkeys((r["arm"], r["budget_levels"]) for r in own)
                ],
            )
        )
    return sections


def _editing_cells(rows: Sequence[Row], arm: str, budget: int, controls: Sequence[str]) -> list[str]:
    alone = arm in (*CONTROLS, *REFERENCES)

    def one(objective: str, metric: str = VISIBILITY, control: str = NOISE_LINF) -> Row | None:
        wanted = {"arm": arm, "budget_levels": budget, "objective": objective, "metric": metric}
        wanted["control"] = None if alone else control
        return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)

    two, first, sets = one("2"), one("1"), one("sets", "rms", SEED)
    assert two is not None
    return [
        arm,
        str(budget),
        number(two["visibility"]),
        number(two["effect"]),
        *(difference(None if alone else one("2", control=control)) for control in controls),
        _effect(one("2-without")),
        difference(sets) if sets and not alone else _effect(sets),
        _effect(first),
        difference(first),
        _effect(one("adherence")),
        _effect(one("quality", "blur")),
    ]


def _effect(row: Row | None) -> str:
    return "" if row is None else f"{row['effect']:+.3f}"


def rivals(name: str, rows: Sequence[Row]) -> list[Section]:
    return [
        Section(
            "Posterior collapse beside other methods",
            [
                "Paired on the same pictures, at equal budget, steps and precision. Above 0: posterior collapse has more effect. "
                f"Alike: the difference lies within {rows[0]['margin']:.3f}, a tenth of the distance between clean edits "
                "with other seeds (two one-sided tests, p below 0.05)."
            ],
            [],
            [
                "posterior collapse",
                "other method",
                "it needs",
                "objective",
                "effect",
                "the other's",
                "difference",
                "alike",
            ],
            [
                [
                    row["arm"],
                    row["rival"],
                    row["needs"],
                    row["objective"],
                    f"{row['effect']:.3f}",
                    f"{row['rival_effect']:.3f}",
                    difference({**row, "control": row["rival"]}),
                    ""
                    if row["p_alike"] is None
                    else f"{'yes' if row['p_alike'] < 0.05 else 'no'}, p = {row['p_alike']:.2g}",
                ]
                for row in rows
            ],
        )
    ]


def prompts(name: str, rows: Sequence[Row]) -> list[Section]:
    if len({row["prompt"] for row in rows} - {"spread"}) < 2:
        return []
    return [
        Section(
            "One protection, many prompts",
            [
                "The same protected picture, edited with every prompt. Spread is the standard deviation over prompts of the "
                "effect above the control, divided by its mean; 0 is an effect independent of the prompt.",
            ],
            [("By prompt", drawn(figures.prompt_dots(rows)))],
            ["arm", "prompt", "effect", "control", "above it", "pictures", "kept", "spread"],
            [
                [
                    row["arm"],
                    row["prompt"],
                    number(row["effect"]),
                    CONTROL[row["control"]].short,
                    f"{row['difference']:+.3f}" if row["prompt"] == "spread" else difference(row),
                    "" if row["n"] is None else str(row["n"]),
                    percent(row["kept"]),
                    "" if row["spread"] is None else f"{row['spread']:.2f}",
                ]
                for row in rows
            ],
        )
    ]


def frontier(name: str, rows: Sequence[Row]) -> list[Section]:
    sections = []
    for editor in dict.fromkeys(row["editor"] for row in rows):
        own = [row for row in rows if row["editor"] == editor]
        metrics = list(dict.fromkeys(row["metric"] for row in own))
        arms = list(dict.fromkeys((row["arm"], row["budget_levels"]) for row in own))
        found = {(row["arm"], row["budget_levels"], row["metric"]): row for row in own}
        timed = any(row["seconds"] is not None for row in own)
        sections.append(
            Section(
                f"What effect costs, in edits by {editor}",
                [
                    "Effect, visibility in several metrics and seconds, as multiples of the published loop's in mode diffusion "
                    f"on the same {own[0]['n']} pictures, with 95 % intervals. Better: more effect, less of the others. "
                    "At the native budget, effect mostly ranks visibility: compare arms with noise of equal visibility.",
                ],
                [
                    *(
                        (f"Effect against {what}", drawn(figures.frontier(own, across, metric)))
                        for what, across, metric in (
                            *((f"visibility in {metric}", "visibility", metric) for metric in metrics),
                            *([("seconds", "seconds", VISIBILITY)] if timed else []),
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
                        _share(found[arm, budget, VISIBILITY], "effect_share", "effect_ci_low", "effect_ci_high"),
                        *(_share(found[arm, budget, metric], "share", "ci_low", "ci_high") for metric in metrics),
                        cell(found[arm, budget, VISIBILITY]["seconds_share"]),
                    ]
                    for arm, budget in arms
                ],
            )
        )
    return sections


def _share(row: Row, *columns: str) -> str:
    value, low, high = (row[column] for column in columns)
    return share(value, low, high)
