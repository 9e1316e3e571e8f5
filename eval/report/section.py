"""A section of a page, and how its cells are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from pca_protect.eval.report import drawing
from pca_protect.eval.stats import LEAST_PICTURES, SIGNIFICANT

Row = Mapping[str, Any]

FEW = f"Fewer than {LEAST_PICTURES} pictures: there are neither intervals nor tests."


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


def drawn(figure: Figure) -> Markup:
    return Markup(drawing.svg(figure))


def difference(row: Row | None) -> str:
    """A difference with its interval; a star marks significance in the adjusted test."""
    if row is None or row.get("control") is None:
        return ""
    return interval(row["difference"], row["ci_low"], row["ci_high"], row.get("p_holm"))


def interval(value: float | None, low: float | None, high: float | None, p_holm: float | None) -> str:
    """A signed value, a star if p_holm is below 0.05, and the interval; what is None is left out."""
    if value is None:
        return ""
    star = "*" if p_holm is not None and p_holm < SIGNIFICANT else ""
    return f"{value:+.3f}{star}" + ("" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]")


def share(value: float | None, low: float | None, high: float | None) -> str:
    """A ratio with its interval."""
    if value is None:
        return ""
    return f"{value:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share in percent with its interval."""
    if value is None:
        return ""
    return f"{value:.0%}" + ("" if low is None or high is None else f" [{low:.0%}, {high:.0%}]")


def cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
