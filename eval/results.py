"""A benchmark's folder: a log of measurements from which a rerun resumes, and the tables computed from it.

results.jsonl   one line per measurement, appended as soon as it is finished
results.csv     the rows of all tables
summary.json    {"command", "config", "environment", "environments", "tables": {name: [row, ...]}}

The configuration decides the measurements: a rerun with another one is refused. The environment describes the machine and
is recorded with every measurement: a rerun on another machine continues the log, and `environments` lists all of them.
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

from pca_protect.errors import UsageError, quoted

Json = dict[str, Any]
"""A JSON object: strings, numbers, booleans, None, lists and nested objects."""

Row = dict[str, object]
"""A row of a table: column -> plain value."""

_MAY_CHANGE = ("git_commit", "git_dirty")
"""Values of the environment that are not compared, even where times are measured. A commit of finished measurements changes
them; comparing them would make every interrupted benchmark impossible to resume."""

_PRECISION = "config.precision"
_SHOWN, _SHOWN_CHARACTERS = 2, 60
"""Differences in a message, and characters of each."""

OnProgress = Callable[[str, int, int], None]
"""Called with (label, units done, total units)."""


@dataclass(frozen=True)
class Finished:
    """A benchmark's outcome.

    Attributes:
        tables: by name; `failures` lists pictures that could not be measured.
        paths: of the files written.
    """

    tables: dict[str, list[Row]]
    paths: tuple[Path, ...]


class Results:
    """The measurements of one benchmark with one configuration.

    Args:
        folder: holds the files; created if missing.
        command: the command line of the benchmark, for `summary.json`.
        config: every setting that determines the measurements.
        environment: of this run, see `environment.environment`.
        timed: times are measured, so the environment decides as the configuration does.

    Raises:
        UsageError: the folder cannot be used, or its log is damaged, was edited, or has another configuration, or
            another environment if `timed`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        command: str,
        config: Mapping[str, object],
        environment: Mapping[str, object],
        timed: bool = False,
    ) -> None:
        self._folder = folder
        self._log = folder / "results.jsonl"
        self._head: Json = {"command": command, "config": _plain(config), "environment": _plain(environment)}
        self._compared = tuple(self._head) if timed else ("command", "config")
        self._environments: list[Json] = []
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

    @property
    def environments(self) -> Sequence[Json]:
        """The distinct environments of the measurements, in order of appearance, without the commit."""
        return self._environments

    def add(self, measurements: Mapping[str, Mapping[str, object]]) -> None:
        """Append finished measurements by key, all or none. Pass measurements that belong together in one call.

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
        self._took_part(self._identity()["environment"])

    def write_tables(self, tables: Mapping[str, Sequence[Mapping[str, object]]]) -> tuple[Path, ...]:
        """Write or replace `results.csv` and `summary.json`. Returns the paths of the folder's files."""
        summary, table = self._folder / "summary.json", self._folder / "results.csv"
        _replace(
            summary,
            json.dumps({**self._head, "environments": self._environments, "tables": tables}, indent=2, allow_nan=False)
            + "\n",
        )
        _replace(table, _csv(tables))
        return self._log, table, summary

    def _whole_lines(self) -> list[str]:
        """The complete lines of the log. Truncates a partial last line, left by a killed run."""
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

    def _took_part(self, environment: Json) -> None:
        if environment not in self._environments:
            self._environments.append(environment)

    def _read(self, line: str, number: int) -> tuple[str, Json]:
        """The key and the measurement of a line of the log, whose environment is noted."""
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
        then, now = ({name: one[name] for name in self._compared} for one in (head, self._identity()))
        differences = _differences(then, now)
        if [name for name, _ in differences] == [_PRECISION]:
            remedy = f"give `precision={then['config']['precision']}`, or choose another --out"
        if differences:
            raise UsageError(f"{where}: was measured with other settings ({_listed(differences)}); {remedy}")
        self._took_part(head["environment"])
        return key, measured


def _plain(values: Mapping[str, object]) -> Json:
    """The values after a JSON round trip: tuples become lists."""
    plain: Json = json.loads(json.dumps(values, allow_nan=False))
    return plain


def _digest(entry: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def _differences(then: Json, now: Json, prefix: str = "") -> list[tuple[str, str]]:
    """Name and `then -> now` of every changed value; dots join nested names."""
    found: list[tuple[str, str]] = []
    for name in [*then, *(name for name in now if name not in then)]:
        before, after = then.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append((f"{prefix}{name}", f"{before} -> {after}"))
    return found


def _listed(differences: Sequence[tuple[str, str]]) -> str:
    """The first differences, for a message."""
    shown = "; ".join(f"{name}: {quoted(change, _SHOWN_CHARACTERS)}" for name, change in differences[:_SHOWN])
    more = len(differences) - _SHOWN
    return f"{shown}; {more} more" if more > 0 else shown


def _csv(tables: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    rows = [{"table": name, **row} for name, table in tables.items() for row in table]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
