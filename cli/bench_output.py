"""What all benchmarks print: progress on stderr, a short table and the files on stdout."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pca_protect.cli import console

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from pca_protect.eval.results import Finished, OnProgress

Row = Mapping[str, object]
Config = TypeVar("Config", bound="DataclassInstance")


def show(rows: Sequence[Row], paths: Sequence[Path]) -> None:
    """Aligned columns, then the files."""
    for line in _table(rows) if rows else []:
        console.result(line)
    for path in paths:
        console.result(str(path))


def finish(
    finished: Finished, table: str, columns: Sequence[str] = (), *, only: Callable[[Row], bool] = lambda row: True
) -> None:
    """Write the report beside a benchmark's tables, and show its most important rows.

    Args:
        table: with the rows to show.
        columns: of them; all if empty.
        only: which rows to show.
    """
    for failure in finished.tables.get("failures", []):
        console.warn(f"{failure['picture']}: {failure['reason']}; left out")
    folder = finished.paths[0].parent
    headline = [row for row in finished.tables[table] if only(row)]
    names = columns or list(dict.fromkeys(name for row in headline for name in row))
    rows = [{name: row.get(name) for name in names} for row in headline]
    show(rows, [*finished.paths, report_on(folder)])


def report_on(folder: Path) -> Path:
    """Write the page about one benchmark into its own folder."""
    from pca_protect.eval.report.page import write_report

    return write_report([folder], folder / "report.html")


def configured(config: Config, **values: Any) -> Config:  # noqa: ANN401 - whatever options have
    """A config with the options that were given, by the names of its fields; lists as tuples."""
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None and value != []
    }
    return replace(config, **given)


def progress(seconds_between: float = 10.0) -> OnProgress:
    """Says on stderr what is being measured, when it begins and now and then."""
    last_label, last_time = "", 0.0

    def report(label: str, done: int, turns: int) -> None:
        nonlocal last_label, last_time
        now = time.monotonic()
        if label != last_label or now - last_time >= seconds_between:
            console.say(f"measuring {label}: {done / turns:.0%}")
            last_label, last_time = label, now

    return report


def _table(rows: Sequence[Row]) -> list[str]:
    """Aligned text: a heading and a line for every row."""
    cells = [tuple(rows[0]), *(tuple(map(_cell, row.values())) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
