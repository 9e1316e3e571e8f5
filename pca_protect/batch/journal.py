"""The journal of finished pictures: a crash-safe JSON Lines file, one line per picture, appended before its output appears.

An output without a line is therefore not from this program, and a line without its output is a pending picture. Lines are
never changed. Incomplete lines, from a kill or a full disk, are skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

_NAME = "journal.jsonl"
_PARTS = "journal.*.jsonl"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Attributes:
    input: path of the picture, for information only.
    input_sha256: digest of the picture's file.
    config_sha256: see `Request.digest`.
    weights_sha256: digest of the encoder.
    output: path relative to the output folder, with `/` as separator.
    output_sha256: digest of the output.
    version: version of this program.
    seconds: duration of optimisation and evaluation.
    """

    input: str
    input_sha256: str
    config_sha256: str
    weights_sha256: str
    output: str
    output_sha256: str
    version: str
    seconds: float


_KINDS = {field.name: (int, float) if field.name == "seconds" else (str,) for field in fields(LedgerEntry)}


class Journal:
    """Appends to one file of the journal. Each process of a run has its own file.

    Args:
        folder: the state folder.
        part: rank of a process among several; None for the main file.
    """

    def __init__(self, folder: Path, *, part: int | None = None) -> None:
        self._path = folder / (_NAME if part is None else f"journal.{part}.jsonl")
        self._ends_cleanly = False

    def append(self, *lines: LedgerEntry) -> None:
        """Append lines and sync them to disk.

        Raises:
            OSError: not all of them were written.
        """
        start = "" if self._ends_cleanly or _ends_with_newline(self._path) else "\n"
        is_new = not self._path.exists()
        self._ends_cleanly = False  # a failed write may leave a partial line, so the next one starts with a newline
        with self._path.open("ab", buffering=0) as file:
            data = (start + "".join(f"{json.dumps(asdict(line))}\n" for line in lines)).encode("ascii")
            if file.write(data) != len(data):
                raise OSError(None, "a line could only be written in part", str(self._path))
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(self._path)
        self._ends_cleanly = True


def read_journal(folder: Path) -> dict[str, list[LedgerEntry]]:
    """All lines of the journal and its parts, by output.

    Raises:
        OSError: a file of the journal exists and cannot be read.
    """
    lines: dict[str, list[LedgerEntry]] = {}
    for path in (folder / _NAME, *sorted(folder.glob(_PARTS))):
        if not path.exists():
            continue
        with path.open("rb") as file:
            for line in _valid_lines(file):
                lines.setdefault(line.output, []).append(line)
    return lines


def merge_parts(folder: Path) -> None:
    """Append the parts of all processes to the main file and remove them. Idempotent.

    Raises:
        OSError: the journal cannot be written.
    """
    journal = Journal(folder)
    for part in sorted(folder.glob(_PARTS)):
        with part.open("rb") as file:
            journal.append(*_valid_lines(file))
        part.unlink()


def _valid_lines(file: Iterator[bytes]) -> Iterator[LedgerEntry]:
    for text in file:
        try:
            values = json.loads(text)
            line = LedgerEntry(**{name: values[name] for name in _KINDS})
        except (ValueError, KeyError, TypeError):
            continue
        if all(isinstance(getattr(line, name), kinds) for name, kinds in _KINDS.items()):
            yield line


def _ends_with_newline(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return True


def _sync_folder(path: Path) -> None:
    """Sync the folder, so that the entry of a new file is on disk. Windows has no such call."""
    if os.name != "posix":
        return
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
