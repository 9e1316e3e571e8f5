"""A benchmark's folder: a log of measurements that a rerun resumes from, and the tables made of it.

results.jsonl   one line a measurement, appended as soon as it is finished
results.csv     the rows of all tables
summary.json    {"command", "config", "environment", "tables": {name: [row, ...]}}
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pca_protect.errors import UsageError

Json = dict[str, Any]
"""A JSON object: strings, numbers, booleans, None, lists and such objects."""

Row = dict[str, object]
"""A line of a table: column -> plain value."""

_MAY_CHANGE = ("git_commit", "git_dirty")
"""Facts of the environment that may differ between the runs that fill one folder: committing finished measurements
would otherwise forbid to add the missing ones."""


OnProgress = Callable[[str, int, int], None]
"""Called with (what is being measured, units done, units in all)."""


@dataclass(frozen=True)
class Finished:
    """A benchmark's outcome.

    Attributes:
        tables: by name; `failures` where something could not be measured.
        paths: of the files written.
    """

    tables: dict[str, list[Row]]
    paths: tuple[Path, ...]


class Results:
    """The measurements of one benchmark with one configuration in one environment.

    Args:
        folder: where the files live; made if it does not exist.
        command: what a user would type to get here.
        config: every setting that decides what is measured.
        environment: see `environment.environment`.

    Raises:
        UsageError: the folder cannot be used, or holds measurements that are damaged, were edited, or were taken with
            another configuration or in another environment.
    """

    def __init__(
        self, folder: Path, *, command: str, config: Mapping[str, object], environment: Mapping[str, object]
    ) -> None:
        self._folder = folder
        self._log = folder / "results.jsonl"
        self._head: Json = {"command": command, "config": _plain(config), "environment": _plain(environment)}
        self._measured: dict[str, Json] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = self._whole_lines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{folder}: cannot hold results ({error}); choose another --out") from error
        for number, line in enumerate(lines, start=1):
            key, measured = self._read(line, number)
            self._measured[key] = measured

    def __contains__(self, key: str) -> bool:
        return key in self._measured

    def __getitem__(self, key: str) -> Json:
        return self._measured[key]

    def add(self, measurements: Mapping[str, Mapping[str, object]]) -> None:
        """Append finished measurements by key, all of them or none: those that belong together go in one call.

        Raises:
            ValueError: a number is not finite.
        """
        lines, as_read = "", {}
        for key, measured in measurements.items():
            entry = {"key": key, "measured": measured, **self._identity()}
            line = json.dumps({**entry, "sha256": _digest(entry)}, allow_nan=False)
            as_read[key] = json.loads(line)["measured"]
            lines += line + "\n"
        with self._log.open("a", encoding="utf-8") as log:
            log.write(lines)
            log.flush()
            os.fsync(log.fileno())
        self._measured |= as_read

    def write_tables(self, tables: Mapping[str, Sequence[Mapping[str, object]]]) -> tuple[Path, ...]:
        """Write `results.csv` and `summary.json` anew. Returns the paths of the folder's files."""
        summary, table = self._folder / "summary.json", self._folder / "results.csv"
        _replace(summary, json.dumps({**self._head, "tables": tables}, indent=2, allow_nan=False) + "\n")
        _replace(table, _csv(tables))
        return self._log, table, summary

    def _whole_lines(self) -> list[str]:
        """The log's lines. A last one without its end was being written when the run was killed: it is cut off."""
        if not self._log.exists():
            return []
        text = self._log.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            _replace(self._log, whole)
        return whole.splitlines()

    def _identity(self) -> Json:
        environment = {name: value for name, value in self._head["environment"].items() if name not in _MAY_CHANGE}
        return {**self._head, "environment": environment}

    def _read(self, line: str, number: int) -> tuple[str, Json]:
        where, remedy = f"{self._log} line {number}", "delete that file or choose another --out"
        try:
            entry = json.loads(line)
            written = entry.pop("sha256")
            key, measured = str(entry["key"]), dict(entry["measured"])
            head = {name: entry[name] for name in self._head}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{where}: is not a measurement of this program; {remedy}") from error
        if _digest(entry) != written:
            raise UsageError(f"{where}: was changed after it was written; {remedy}")
        differences = _differences(head, self._identity())
        if differences:
            raise UsageError(f"{where}: was measured with other settings ({'; '.join(differences)}); {remedy}")
        return key, measured


def _plain(values: Mapping[str, object]) -> Json:
    """The same as it comes back from a file: tuples are lists."""
    plain: Json = json.loads(json.dumps(values, allow_nan=False))
    return plain


def _digest(entry: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def _differences(then: Json, now: Json, prefix: str = "") -> list[str]:
    """`name: then -> now` for every value that differs, nested names joined by dots."""
    found = []
    for name in [*then, *(name for name in now if name not in then)]:
        before, after = then.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name}: {before} -> {after}")
    return found


def _csv(tables: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    rows = [{"table": name, **row} for name, table in tables.items() for row in table]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
