"""Output of all benchmarks: progress on stderr, a short table and paths of files on stdout."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pca_protect.cli import console
from pca_protect.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from pca_protect.eval.results import Finished, OnProgress

Row = Mapping[str, object]
Config = TypeVar("Config", bound="DataclassInstance")


def show(rows: Sequence[Row], paths: Sequence[Path]) -> None:
    """Print a table with aligned columns, then the paths."""
    for line in _table(rows) if rows else []:
        console.result(line)
    for path in paths:
        console.result(str(path))


def finish(
    finished: Finished, table: str, columns: Sequence[str] = (), *, only: Callable[[Row], bool] = lambda row: True
) -> None:
    """Write the report into a benchmark's folder and print the main rows.

    Args:
        table: name of the printed table.
        columns: printed columns; all if empty.
        only: selects the printed rows.
    """
    for failure in finished.tables.get("failures", []):
        console.warn(f"{failure['picture']}: {failure['reason']}; left out")
    for one in finished.tables.get("skipped", []):
        console.warn(f"{one['editor']}: {one['setting'] or one['arm']} is left out: {one['reason']}")
    blocked = sum(int(str(row["blocked"])) for row in finished.tables.get("blocked", []))
    if blocked:
        console.warn(f"safety checkers blacked out {blocked} edits, which are left out; see the table `blocked`")
    for one in finished.tables.get("blocked_prompts", []):
        console.warn(f"{one['picture']}: the safety checker of {one['editor']} blocks {one['prompt']!r}; left out")
    folder = finished.paths[0].parent
    headline = [row for row in finished.tables[table] if only(row)]
    names = columns or list(dict.fromkeys(name for row in headline for name in row))
    rows = [{name: row.get(name) for name in names} for row in headline]
    show(rows, [*finished.paths, report_on(folder)])


def report_on(folder: Path) -> Path:
    """Write the page about one benchmark into its own folder."""
    from pca_protect.eval.report.page import write_report

    return write_report([folder], folder / "report.html")


def pictures_from(images: Path | None, manifest: Path | None, prompt: Sequence[str]) -> dict[str, str]:
    """Arguments of a config of edits: the folder of pictures, or the manifest.

    Raises:
        UsageError: prompts are given beside a manifest.
    """
    if manifest is not None and prompt:
        raise UsageError(f"`prompt` {prompt[0]!r}: the manifest has the prompts of each picture; leave one out")
    return {"images": str(images or ""), "manifest": str(manifest or "")}


def configured(config: Config, **values: Any) -> Config:  # noqa: ANN401 - values of options
    """A config with the given options, by field name; lists become tuples. None and empty lists count as not given."""
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None and value != []
    }
    return replace(config, **given)


def progress(seconds_between: float = 10.0) -> OnProgress:
    """A callback that prints progress to stderr, at each new label and every `seconds_between`."""
    last_label, last_time = "", 0.0

    def report(label: str, done: int, turns: int) -> None:
        nonlocal last_label, last_time
        now = time.monotonic()
        if label != last_label or now - last_time >= seconds_between:
            console.say(f"measuring {label}: {done / turns:.0%}")
            last_label, last_time = label, now

    return report


def _table(rows: Sequence[Row]) -> list[str]:
    """Aligned lines: a header, then one line per row."""
    cells = [tuple(rows[0]), *(tuple(map(_cell, row.values())) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
