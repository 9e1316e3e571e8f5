"""Figures of benchmark tables. Each function maps rows to a matplotlib figure for light and dark backgrounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from pca_protect.eval.arms.controls import CONTROL, NOISE_SPECTRUM, REFERENCES, SEED, SHUFFLED, UNRELATED
from pca_protect.eval.arms.registry import ARMS, CONTROLS, NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.report.drawing import (
    BLUE,
    FONT_SIZE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    RED,
    STYLE,
    WIDTH,
    drawn,
    line,
)

Row = Mapping[str, Any]

_CONTROL_COLOURS = {
    SEED: RED,
    NOISE_LINF: BLUE,
    NOISE_VISIBLE: ORANGE,
    NOISE_SPECTRUM: PINK,
    SHUFFLED: GREEN,
}
_NEAR = 0.006
"""Points closer than this, in FLIP, share a label."""


def forest(rows: Sequence[Row], objective: str) -> Figure:
    """Difference between every arm and each control, with 95 % intervals; right of the line is above the control."""
    asked = [row for row in rows if row["objective"] == objective and row["metric"] == VISIBILITY and row["control"]]
    arms = list(dict.fromkeys(_label(row) for row in asked))
    controls = [control for control in CONTROL if any(row["control"] == control for row in asked)]
    with mpl.rc_context(STYLE):
        figure, axes = drawn((0.14 + 0.14 * len(controls)) * len(arms) + 1.5)
        for number, control in enumerate(controls):
            offset, colour = (number - (len(controls) - 1) / 2) * 0.8 / len(controls), _CONTROL_COLOURS[control]
            for row in asked:
                if row["control"] != control:
                    continue
                height = arms.index(_label(row)) + offset
                if row["ci_low"] is not None:
                    axes.plot([row["ci_low"], row["ci_high"]], [height, height], color=colour, linewidth=2)
                axes.plot(row["difference"], height, "o", color=colour, markersize=4)
            axes.plot([], [], "o-", color=colour, label=CONTROL[control].what)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(arms)), arms)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlabel("FLIP above the control, mean over pictures and 95 % interval")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.1, 1.0), ncols=1, fontsize=FONT_SIZE - 2)
    return figure


def effect_by_visibility(rows: Sequence[Row], objective: str) -> Figure:
    """Every arm by visibility and effect on edits; up and left is better."""
    asked = [
        row
        for row in rows
        if row["objective"] == objective and row["metric"] == VISIBILITY and row["control"] in (None, NOISE_LINF)
    ]
    lines = {row["arm"]: row["effect"] for row in asked if row["arm"] in REFERENCES}
    asked = [row for row in asked if row["arm"] not in REFERENCES]
    several = len({row["budget_levels"] for row in asked}) > 1
    with mpl.rc_context(STYLE):
        figure, axes = drawn(4.8)
        for name, effect in lines.items():
            line(axes, effect, _REFERENCE_LABELS[name])
        names: dict[tuple[float, float], list[str]] = {}
        for row in asked:
            colour = GREY if row["arm"] in CONTROLS else BLUE if row["mode"] else ORANGE
            axes.plot(row["visibility"], row["effect"], "o", color=colour, markersize=6)
            place = (row["visibility"], row["effect"])
            near = next(
                (other for other in names if max(abs(a - b) for a, b in zip(other, place, strict=True)) < _NEAR), place
            )
            names.setdefault(near, []).append(f"{row['arm']} {row['budget_levels']}" if several else row["arm"])
        for place, together in names.items():
            axes.annotate(", ".join(together), place, xytext=(5, 4), textcoords="offset points", fontsize=FONT_SIZE - 2)
        for name, colour in (("noise", GREY), ("methods from the literature", ORANGE), ("posterior collapse", BLUE)):
            axes.plot([], [], "o", color=colour, label=name)
        axes.margins(x=0.16, y=0.1)
        axes.set_xlabel("how visible the protection is: FLIP between protected and original")
        axes.set_ylabel(f"effect on edits, objective {objective} (FLIP)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, fontsize=FONT_SIZE - 1)
    return figure


_REFERENCE_LABELS = {SEED: "clean edits with other seeds", UNRELATED: "edits of an unrelated picture"}


def frontier(rows: Sequence[Row], across: str, metric: str = VISIBILITY) -> Figure:
    """Every arm of the table `frontier` by effect on edits and cost; up and left is better. A line joins the Pareto front.

    Args:
        across: `visibility` or `seconds`.
        metric: of visibility.
    """
    asked = [row for row in rows if row["metric"] == metric and row[across] is not None and row["effect"] is not None]
    if across == "seconds":
        asked = [row for row in asked if row["arm"] not in CONTROLS]
    several = len({row["budget_levels"] for row in asked}) > 1
    with mpl.rc_context(STYLE):
        figure, axes = drawn(5.2)
        if across == "seconds":
            axes.set_xscale("log")
        axes.margins(x=0.16, y=0.1)
        if asked[0].get("seed_line") is not None:
            line(axes, asked[0]["seed_line"], _REFERENCE_LABELS[SEED])
        for row in asked:
            axes.plot(row[across], row["effect"], "o", color=_KINDS[_kind(row)], markersize=6)
        for place, together in _grouped(asked, across).items():
            names = [f"{row['arm']} {row['budget_levels']}" if several else row["arm"] for row in together]
            axes.annotate(", ".join(names), place, xytext=(5, 3), textcoords="offset points", fontsize=FONT_SIZE - 2)
        edge: list[tuple[float, float]] = []
        for row in sorted(asked, key=lambda row: (row[across], -row["effect"])):
            if not edge or row["effect"] > edge[-1][1]:
                edge.append((row[across], row["effect"]))
        axes.plot(*zip(*edge, strict=True), color=INK, linewidth=0.8, linestyle=":")
        for kind in dict.fromkeys(_kind(row) for row in asked):
            axes.plot([], [], "o", color=_KINDS[kind], label=kind)
        what = "seconds for a protection" if across == "seconds" else f"visibility: {metric} distance to the original"
        axes.set_xlabel(what)
        axes.set_ylabel("effect on edits, objective 2 (FLIP)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, fontsize=FONT_SIZE - 1)
    return figure


def _kind(row: Row) -> str:
    arm = ARMS[row["arm"]]
    if arm.name in CONTROLS:
        return "noise"
    if not arm.mode:
        return "methods from the literature"
    return "posterior collapse as published" if arm.preset == "paper" else "this program"


def _grouped(rows: Sequence[Row], across: str) -> dict[tuple[float, float], list[Row]]:
    """Rows grouped by proximity of their points, which then share a label; keyed by the point of the first."""

    def place(row: Row) -> tuple[float, float]:
        return (math.log(row[across]) if across == "seconds" else row[across]), row["effect"]

    spans = [max(values) - min(values) or 1.0 for values in zip(*map(place, rows), strict=True)]
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: row["effect"]):
        for group in groups:
            apart = [abs(a - b) / span for a, b, span in zip(place(row), place(group[0]), spans, strict=True)]
            if apart[0] < _LABEL[0] and apart[1] < _LABEL[1]:
                group.append(row)
                break
        else:
            groups.append([row])
    return {(group[0][across], group[0]["effect"]): group for group in groups}


_LABEL = (0.12, 0.03)
"""Points closer than this fraction of the axes' range share a label."""

_KINDS = {
    "noise": GREY,
    "methods from the literature": ORANGE,
    "posterior collapse as published": BLUE,
    "this program": PINK,
}


def heat_map(rows: Sequence[Row], objective: str) -> Figure:
    """Effect divided by that of noise: surrogates in rows, targets in columns, one panel per mode. A frame marks cells whose
    target is among the surrogates."""
    metric = "latent" if objective == "posterior" else VISIBILITY
    asked = [row for row in rows if row["objective"] == objective and row["metric"] == metric]
    modes = list(dict.fromkeys(row["mode"] for row in asked))
    with mpl.rc_context(STYLE):
        surrogates = list(dict.fromkeys(row["surrogate"] for row in asked))
        figure = Figure(figsize=(WIDTH, 0.42 * len(surrogates) + 1.6), layout="constrained")
        for axes, mode in zip(figure.subplots(1, len(modes), sharey=True, squeeze=False)[0], modes, strict=True):
            _heat_panel(axes, [row for row in asked if row["mode"] == mode], surrogates, mode)
    return figure


def purifier_bars(rows: Sequence[Row]) -> Figure:
    """Share of each arm's effect above noise that is left after each purifier, with 95 % intervals."""
    arms = [arm for arm in dict.fromkeys(row["arm"] for row in rows) if arm not in CONTROLS]
    purifiers = list(dict.fromkeys(row["purifier"] for row in rows if row["purifier"] != "none"))
    colours = dict(zip(arms, (BLUE, ORANGE, PINK, GREY), strict=False))
    with mpl.rc_context(STYLE):
        figure, axes = drawn(0.42 * len(purifiers) + 1.2)
        thickness = 0.8 / len(arms)
        for place, arm in enumerate(arms):
            colour = colours.get(arm, GREY)
            for row in rows:
                if row["arm"] != arm or row["purifier"] not in purifiers or row["retained_above_noise"] is None:
                    continue
                height = purifiers.index(row["purifier"]) + (place - (len(arms) - 1) / 2) * thickness
                axes.barh(height, row["retained_above_noise"], height=thickness * 0.9, color=colour)
                if row.get("above_ci_low") is not None:
                    axes.plot([row["above_ci_low"], row["above_ci_high"]], [height, height], color=INK, linewidth=1)
            axes.plot([], [], "s", color=colour, label=arm)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(purifiers)), purifiers)
        axes.invert_yaxis()
        axes.set_xlabel("share of the effect above noise of the same budget that is left; 0: no more than noise")
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(arms))
    return figure


def prompt_dots(rows: Sequence[Row]) -> Figure:
    """Effect of each arm by prompt, above noise and above other seeds, with 95 % intervals."""
    asked = [row for row in rows if row["prompt"] != "spread"]
    arms, prompts, controls = ([*dict.fromkeys(row[name] for row in asked)] for name in ("arm", "prompt", "control"))
    colours = dict(zip(arms, (BLUE, ORANGE, PINK, GREEN, RED, INK), strict=False))
    apart = 0.8 / len(arms)
    with mpl.rc_context(STYLE):
        height = max(0.55, 0.14 * len(arms)) * len(prompts) + 1.6
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        for axes, control in zip(
            figure.subplots(1, len(controls), sharey=True, squeeze=False)[0], controls, strict=True
        ):
            for row in asked:
                if row["control"] != control:
                    continue
                height = prompts.index(row["prompt"]) + (arms.index(row["arm"]) - (len(arms) - 1) / 2) * apart
                colour = colours.get(row["arm"], GREY)
                if row["ci_low"] is not None:
                    axes.plot([row["ci_low"], row["ci_high"]], [height, height], color=colour, linewidth=2)
                axes.plot(row["difference"], height, "o", color=colour, markersize=5)
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_yticks(range(len(prompts)), prompts)
            axes.set_ylim(len(prompts) - 0.5, -0.5)
            axes.set_xlabel(f"FLIP above {CONTROL[control].what}", fontsize=FONT_SIZE - 1)
        handles = [Line2D([], [], marker="o", color=colours.get(arm, GREY), label=arm) for arm in arms]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(3, len(arms)))
    return figure


def _label(row: Row) -> str:
    return f"{row['arm']} ({row['budget_levels']})"


def _heat_panel(axes: Axes, rows: Sequence[Row], surrogates: Sequence[str], mode: str) -> None:
    key = "target" if rows[0]["editor"] is None else "editor"
    targets = list(dict.fromkeys(row[key] for row in rows))
    ratios = [[float("nan")] * len(targets) for _ in surrogates]
    for row in rows:
        if row["ratio"] is not None:
            ratios[surrogates.index(row["surrogate"])][targets.index(row[key])] = row["ratio"]
    mesh = axes.pcolormesh(ratios, cmap="cividis", vmin=1, edgecolors="face", linewidth=0.1)
    middle = (mesh.norm.vmin + mesh.norm.vmax) / 2  # type: ignore[operator]  # both are set by drawing
    for row in rows:
        down, across = surrogates.index(row["surrogate"]), targets.index(row[key])
        ratio = ratios[down][across]
        colour = "#ffffff" if ratio < middle else "#000000"
        axes.text(across + 0.5, down + 0.5, f"{ratio:.1f}", ha="center", va="center", color=colour)
        if row["same_encoder"]:
            axes.add_patch(
                Rectangle((across + 0.04, down + 0.06), 0.92, 0.88, fill=False, edgecolor="#e0403a", linewidth=1.8)
            )
    axes.set_xticks([place + 0.5 for place in range(len(targets))], targets, rotation=25, ha="right")
    axes.set_yticks([place + 0.5 for place in range(len(surrogates))], surrogates)
    axes.set_ylim(len(surrogates), 0)
    axes.set_title(f"{mode}: times the effect of noise")
    if rows[0].get("seed_line"):
        lines = {row[key]: row["seed_line"] / row["noise_effect"] for row in rows if row["noise_effect"]}
        told = ", ".join(f"{target} {line:.1f}" for target, line in lines.items())
        axes.set_xlabel(f"other seeds: {told}", fontsize=FONT_SIZE - 2)
