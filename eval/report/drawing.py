"""Style of figures: colours for light and dark backgrounds, and export to SVG and PNG."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"
"""Placeholder for the text colour; replaced by `currentColor` in SVG."""

GREY, BLUE, ORANGE, PINK = "#8c8c8c", "#4189d6", "#dd8420", "#c25c9b"
RED, GREEN = "#d6453d", "#5f9e48"
FONT_SIZE = 10
WIDTH = 8.0

STYLE: dict[Any, Any] = {
    "font.size": FONT_SIZE,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "pca_protect",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": FONT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def line(axes: Axes, effect: float, label: str) -> None:
    """A horizontal line across a figure of effects, labelled at the left end."""
    axes.axhline(effect, color=RED, linewidth=1, linestyle="--")
    axes.annotate(
        label,
        (0, effect),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=FONT_SIZE - 2,
    )


def svg(figure: Figure) -> str:
    """Inline SVG for a page: scales with its column, uses the page's text colour, and has deterministic bytes."""
    text = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor")
    width, height = (round(inches * 72) for inches in figure.get_size_inches())
    head = f'<svg role="img" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return head + drawing[drawing.index(">") + 1 :]


def png(figure: Figure) -> bytes:
    """PNG on a white background, for documents without SVG support."""
    data = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(data, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return data.getvalue()


def drawn(height: float) -> tuple[Figure, Axes]:
    """A figure of the page's width, and its axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()
