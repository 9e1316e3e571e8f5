"""Reads the list of `Request.from_file` and writes the list of failures to `Request.errors`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pca_protect.batch.outcome import Failure
from pca_protect.errors import UsageError
from pca_protect.io.plan import check_folder
from pca_protect.io.source import Listed


def read_list(path: Path, *, null_separated: bool = False) -> list[Listed]:
    """Read a list of pictures, one per line: a path, or a JSON object with `input` and optionally `root`, see `Listed`.

    Args:
        path: the list; `-` is standard input.
        null_separated: the list is of paths that end with a null byte, as `find -print0` writes it.

    Raises:
        UsageError: the list cannot be read, or a line is not a path.
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"`from_file={path}`: cannot be read ({error.strerror}); check the name") from error
    if null_separated:
        return [Listed(os.fsdecode(name)) for name in data.split(b"\0") if name]
    listed = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        text = os.fsdecode(line.removesuffix(b"\r"))
        if not text:
            continue
        entry = _from_json(text) or Listed(text)
        if not entry.path or "\0" in entry.path + entry.root:
            raise UsageError(
                f"`from_file={path}`: line {number} is not a path; give one path per line, or a file that `errors` wrote"
            )
        listed.append(entry)
    return listed


def check_errors_file(path: Path) -> None:
    """Raises:
    UsageError: the list of errors cannot be written to `path`, or would replace a file that is not a list of errors.
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
        raise UsageError(f"`errors={path}`: exists and is not a list of errors; choose another name")


def write_errors(path: Path, failures: Iterable[Failure]) -> None:
    """Write one JSON object per line with `input`, `root` and `error`, atomically. The file is empty if nothing failed.

    Raises:
        OSError: the list cannot be written.
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
        return None  # a file name may start with a brace
    if not isinstance(entry, dict) or not isinstance(entry.get("input"), str):
        return None
    return Listed(entry["input"], str(entry.get("root") or ""))
