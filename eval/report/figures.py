"""Figures of benchmark tables. Each function maps rows to a matplotlib figure for light and dark backgrounds."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pca_protect.eval.arms.registry import ARMS, CONTROLS, NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.metrics.registry import VISIBILITY

Row = Mapping[str, Any]

_INK = "#010203"
"""Placeholder for the text colour; replaced by `currentColor` in SVG."""

_GREY, _BLUE, _ORANGE, _PINK = "#8c8c8c", "#4189d6", "#dd8420", "#c25c9b"
_FONT_SIZE = 10
_WIDTH = 8.0
_NEAR = 0.006
"""Points closer than this, in FLIP, share a label."""

_STYLE: dict[Any, Any] = {
    "font.size": _FONT_SIZE,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "pca_protect",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.titlesize": _FONT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


def forest(rows: Sequence[Row], objective: str) -> Figure:
    """Difference between every arm and each noise control, with 95 % intervals; right of the line is above noise."""
    asked = [row for row in rows if row["objective"] == objective and row["metric"] == VISIBILITY and row["control"]]
    arms = list(dict.fromkeys(_label(row) for row in asked))
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.42 * len(arms) + 1.3)
        for offset, (control, colour) in zip(
            (-0.13, 0.13), ((NOISE_LINF, _BLUE), (NOISE_VISIBLE, _ORANGE)), strict=True
        ):
            for row in asked:
                if row["control"] != control:
                    continue
                height = arms.index(_label(row)) + offset
                if row["ci_low"] is not None:
                    axes.plot([row["ci_low"], row["ci_high"]], [height, height], color=colour, linewidth=2)
                axes.plot(row["difference"], height, "o", color=colour, markersize=5)
            axes.plot([], [], "o-", color=colour, label=ARMS[control].what)
        axes.axvline(0, color=_INK, linewidth=0.8)
        axes.set_yticks(range(len(arms)), arms)
        axes.invert_yaxis()
        axes.set_xlabel("FLIP above the noise control, mean over pictures and 95 % interval")
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=1)
    return figure


def effect_by_visibility(rows: Sequence[Row], objective: str) -> Figure:
    """Every arm by visibility and effect on edits; up and left is better."""
    asked = [
        row
        for row in rows
        if row["objective"] == objective and row["metric"] == VISIBILITY and row["control"] in (None, NOISE_LINF)
    ]
    several = len({row["budget_levels"] for row in asked}) > 1
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.8)
        names: dict[tuple[float, float], list[str]] = {}
        for row in asked:
            colour = _GREY if row["arm"] in CONTROLS else _BLUE if row["mode"] else _ORANGE
            axes.plot(row["visibility"], row["effect"], "o", color=colour, markersize=6)
            place = (row["visibility"], row["effect"])
            near = next(
                (other for other in names if max(abs(a - b) for a, b in zip(other, place, strict=True)) < _NEAR), place
            )
            names.setdefault(near, []).append(f"{row['arm']} {row['budget_levels']}" if several else row["arm"])
        for place, together in names.items():
            axes.annotate(
                ", ".join(together), place, xytext=(5, 4), textcoords="offset points", fontsize=_FONT_SIZE - 2
            )
        for name, colour in (("noise", _GREY), ("methods from the literature", _ORANGE), ("posterior collapse", _BLUE)):
            axes.plot([], [], "o", color=colour, label=name)
        axes.margins(x=0.16, y=0.1)
        axes.set_xlabel("how visible the protection is: FLIP between protected and original")
        axes.set_ylabel(f"effect on edits, objective {objective} (FLIP)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, fontsize=_FONT_SIZE - 1)
    return figure


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
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(5.2)
        if across == "seconds":
            axes.set_xscale("log")
        axes.margins(x=0.16, y=0.1)
        for row in asked:
            axes.plot(row[across], row["effect"], "o", color=_KINDS[_kind(row)], markersize=6)
        for place, together in _grouped(asked, across).items():
            names = [f"{row['arm']} {row['budget_levels']}" if several else row["arm"] for row in together]
            axes.annotate(", ".join(names), place, xytext=(5, 3), textcoords="offset points", fontsize=_FONT_SIZE - 2)
        edge: list[tuple[float, float]] = []
        for row in sorted(asked, key=lambda row: (row[across], -row["effect"])):
            if not edge or row["effect"] > edge[-1][1]:
                edge.append((row[across], row["effect"]))
        axes.plot(*zip(*edge, strict=True), color=_INK, linewidth=0.8, linestyle=":")
        for kind in dict.fromkeys(_kind(row) for row in asked):
            axes.plot([], [], "o", color=_KINDS[kind], label=kind)
        what = "seconds for a protection" if across == "seconds" else f"visibility: {metric} distance to the original"
        axes.set_xlabel(what)
        axes.set_ylabel("effect on edits, objective 2 (FLIP)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, fontsize=_FONT_SIZE - 1)
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
    "noise": _GREY,
    "methods from the literature": _ORANGE,
    "posterior collapse as published": _BLUE,
    "this program": _PINK,
}


def heat_map(rows: Sequence[Row], objective: str) -> Figure:
    """Effect divided by that of noise: surrogates in rows, targets in columns, one panel per mode. A frame marks cells whose
    target is among the surrogates."""
    metric = "latent" if objective == "posterior" else VISIBILITY
    asked = [row for row in rows if row["objective"] == objective and row["metric"] == metric]
    modes = list(dict.fromkeys(row["mode"] for row in asked))
    with mpl.rc_context(_STYLE):
        surrogates = list(dict.fromkeys(row["surrogate"] for row in asked))
        figure = Figure(figsize=(_WIDTH, 0.42 * len(surrogates) + 1.6), layout="constrained")
        for axes, mode in zip(figure.subplots(1, len(modes), sharey=True, squeeze=False)[0], modes, strict=True):
            _heat_panel(axes, [row for row in asked if row["mode"] == mode], surrogates, mode)
    return figure


def purifier_bars(rows: Sequence[Row]) -> Figure:
    """Retained share of each mode's effect after each purifier, with 95 % intervals; a tick marks the share of noise."""
    arms = [arm for arm in dict.fromkeys(row["arm"] for row in rows) if arm not in CONTROLS]
    purifiers = list(dict.fromkeys(row["purifier"] for row in rows if row["purifier"] != "none"))
    colours = dict(zip(arms, (_BLUE, _ORANGE, _PINK, _GREY), strict=False))
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.42 * len(purifiers) + 1.2)
        thickness = 0.8 / len(arms)
        for place, arm in enumerate(arms):
            for row in rows:
                if row["arm"] != arm or row["purifier"] not in purifiers or row["retained"] is None:
                    continue
                height = purifiers.index(row["purifier"]) + (place - (len(arms) - 1) / 2) * thickness
                axes.barh(height, row["retained"], height=thickness * 0.9, color=colours[arm])
                if row["ci_low"] is not None:
                    axes.plot([row["ci_low"], row["ci_high"]], [height, height], color=_INK, linewidth=1)
                if row["noise_retained"] is not None:
                    axes.plot(row["noise_retained"], height, "|", color=_INK, markersize=9, markeredgewidth=1.5)
            axes.plot([], [], "s", color=colours[arm], label=arm)
        axes.plot([], [], "|", color=_INK, markersize=9, markeredgewidth=1.5, label="noise")
        axes.axvline(1, color=_INK, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(purifiers)), purifiers)
        axes.invert_yaxis()
        axes.set_xlabel("share of the effect on edits that is left")
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(arms) + 1)
    return figure


def prompt_dots(rows: Sequence[Row]) -> Figure:
    """Effect of each arm above noise, by prompt, with 95 % intervals."""
    asked = [row for row in rows if row["prompt"] != "spread"]
    arms, prompts = ([*dict.fromkeys(row[name] for row in asked)] for name in ("arm", "prompt"))
    colours = dict(zip(arms, (_BLUE, _ORANGE, _PINK, _GREY), strict=False))
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.55 * len(prompts) + 1.2)
        for row in asked:
            height = prompts.index(row["prompt"]) + (arms.index(row["arm"]) - (len(arms) - 1) / 2) * 0.18
            colour = colours.get(row["arm"], _GREY)
            if row["ci_low"] is not None:
                axes.plot([row["ci_low"], row["ci_high"]], [height, height], color=colour, linewidth=2)
            axes.plot(row["difference"], height, "o", color=colour, markersize=5)
        for arm in arms:
            axes.plot([], [], "o-", color=colours.get(arm, _GREY), label=arm)
        axes.axvline(0, color=_INK, linewidth=0.8)
        axes.set_yticks(range(len(prompts)), prompts)
        axes.invert_yaxis()
        axes.set_xlabel("FLIP above noise of the same budget, objective 2")
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=min(3, len(arms)))
    return figure


def svg(figure: Figure) -> str:
    """Inline SVG for a page: scales with its column, uses the page's text colour, and has deterministic bytes."""
    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
    width, height = (round(inches * 72) for inches in figure.get_size_inches())
    head = f'<svg role="img" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return head + drawing[drawing.index(">") + 1 :]


def png(figure: Figure) -> bytes:
    """PNG on a white background, for documents without SVG support."""
    data = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(data, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return data.getvalue()


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


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
