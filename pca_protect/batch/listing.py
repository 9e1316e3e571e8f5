"""Lists of pictures as files: what `Request.errors` names, and `Request.from_file`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pca_protect.batch.outcome import Failure
from pca_protect.errors import UsageError
from pca_protect.io.discover import Listed
from pca_protect.io.plan import check_folder


def read_list(path: Path) -> list[Listed]:
    """One picture a line: a plain path, or a JSON object with `input` and, for its place in the output tree, `root`.

    Args:
        path: the list; `-` is standard input.

    Raises:
        UsageError: it cannot be read, or a line cannot be a path.
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"`from_file={path}`: cannot be read ({error.strerror}); check the name") from error
    listed = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        text = os.fsdecode(line.removesuffix(b"\r"))
        if not text:
            continue
        entry = _from_json(text) or Listed(text)
        if not entry.path or "\0" in entry.path + entry.root:
            raise UsageError(f"`from_file={path}`: line {number} is no path; one a line, or what `errors` wrote")
        listed.append(entry)
    return listed


def check_errors_file(path: Path) -> None:
    """Raises:
    UsageError: the list of errors cannot be written there, or would replace a file that is no such list.
    """
    check_folder(path.parent)
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            first = file.readline(100_000)
    except OSError as error:
        raise UsageError(f"`errors={path}`: cannot be written ({error.strerror}); choose another name") from error
    if first and _from_json(os.fsdecode(first)) is None:
        raise UsageError(f"`errors={path}`: exists already and is no list of errors; choose another name")


def write_errors(path: Path, failures: Iterable[Failure]) -> None:
    """One JSON object a line: `input`, `root`, `error`. Written whole or not at all; empty where nothing failed.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(json.dumps(asdict(failure)) + "\n" for failure in failures), encoding="ascii")
    temporary.replace(path)


def _from_json(text: str) -> Listed | None:
    if not text.startswith("{"):
        return None
    try:
        entry = json.loads(text)
    except ValueError:
        return None  # a file may be called that
    if not isinstance(entry, dict) or not isinstance(entry.get("input"), str):
        return None
    return Listed(entry["input"], str(entry.get("root") or ""))
