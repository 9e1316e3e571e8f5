"""What is finished, in a file that survives a kill: one JSON line a picture, appended before its output appears.

An output without a line therefore never came from this program, and a line whose output is missing is work to do again.
Lines are never changed. A line torn by a kill or a full disk proves nothing and is passed over.
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
    input, input_sha256: the picture as it was read; its path is for people, its digest for the proof.
    config_sha256: see `OutputOptions.digest`.
    weights_sha256: of the encoder.
    output, output_sha256: the file, its path below the output folder with `/` between names.
    version: of this program.
    seconds: what it took.
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
    """Appends to one file of the journal; every process of a run has its own.

    Args:
        folder: the state folder.
        part: of a process among several; None for the journal itself.
    """

    def __init__(self, folder: Path, *, part: int | None = None) -> None:
        self._path = folder / (_NAME if part is None else f"journal.{part}.jsonl")
        self._begun = False

    def append(self, *lines: LedgerEntry) -> None:
        """Add lines and wait until they are on the disk.

        Raises:
            OSError: they are not, or not wholly.
        """
        start = "" if self._begun or _ends_whole(self._path) else "\n"
        is_new = not self._path.exists()
        self._begun = False  # until it is: what fails half-way is followed by a new line
        with self._path.open("ab", buffering=0) as file:
            data = (start + "".join(f"{json.dumps(asdict(line))}\n" for line in lines)).encode("ascii")
            if file.write(data) != len(data):
                raise OSError(None, "only a part of a line could be written", str(self._path))
            os.fsync(file.fileno())
        if is_new:
            _keep_name(self._path)
        self._begun = True


def read_journal(folder: Path) -> dict[str, list[LedgerEntry]]:
    """All lines of the journal and its parts, by output.

    Raises:
        OSError: it is there and cannot be read.
    """
    found: dict[str, list[LedgerEntry]] = {}
    for path in (folder / _NAME, *sorted(folder.glob(_PARTS))):
        if not path.exists():
            continue
        with path.open("rb") as file:
            for line in _whole_lines(file):
                found.setdefault(line.output, []).append(line)
    return found


def merge_parts(folder: Path) -> None:
    """Append the parts that processes left to the journal and remove them. Doing it twice does no harm.

    Raises:
        OSError: the journal cannot be written.
    """
    journal = Journal(folder)
    for part in sorted(folder.glob(_PARTS)):
        with part.open("rb") as file:
            journal.append(*_whole_lines(file))
        part.unlink()


def _whole_lines(file: Iterator[bytes]) -> Iterator[LedgerEntry]:
    for text in file:
        try:
            values = json.loads(text)
            line = LedgerEntry(**{name: values[name] for name in _KINDS})
        except (ValueError, KeyError, TypeError):
            continue
        if all(isinstance(getattr(line, name), kinds) for name, kinds in _KINDS.items()):
            yield line


def _ends_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return True


def _keep_name(path: Path) -> None:
    """A new file's name is on the disk only when its folder is; Windows has no way to ask for it."""
    if os.name != "posix":
        return
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
