"""The ledger of finished pictures: JSON Lines below `OUT/.pca_protect/ledger/`, in segments of one writer each.

A folder's segment gets a line before each output appears, synced to disk, and another after it with the output's time. An output
without a line is therefore not from this program, and a line without its output is a pending picture. A bucket cannot append:
see `bucket_ledger`. Lines are never changed. Incomplete lines, from a kill or a full disk, are skipped. At the end of a run small
segments are merged, see `merge`.

Files of earlier versions are read as well: `.pca_protect/journal.jsonl`, `journal.RANK.jsonl` and `journal/RUN-NNNNNN.jsonl`.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from pca_protect.batch.store import Store
from pca_protect.errors import UsageError

STATE = ".pca_protect"
SEGMENTS = f"{STATE}/ledger"
_VERSION = 2
HEADER = json.dumps({"ledger": _VERSION}) + "\n"
"""First line of a segment."""


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
    input_bytes, input_tag: size and tag of the picture's file when it was listed, see `Source`; 0 and empty if unknown.
    output_bytes, output_tag: size and tag of the output; 0 and empty if unknown.
    written: the output is in place; earlier lines of this output are then superseded.
    test_only: see `Record`; False in lines of earlier versions.
    """

    input: str
    input_sha256: str
    config_sha256: str
    weights_sha256: str
    output: str
    output_sha256: str
    version: str
    seconds: float
    input_bytes: int = 0
    input_tag: str = ""
    output_bytes: int = 0
    output_tag: str = ""
    written: bool = False
    test_only: bool = False


class Known(NamedTuple):
    """What a line proves. Tags are hashes that are valid in this process only; 0 if unknown."""

    input_sha256: bytes
    output_sha256: bytes
    settings: int
    input_bytes: int
    input_tag: int
    output_bytes: int
    output_tag: int
    test_only: bool


_ROW = struct.Struct("<32s32sIQqQq?")


class Ledger:
    """All lines by output, packed: a million take less than 400 MB.

    Args:
        texts: lines of all segments, in the order in which they were written.

    Raises:
        UsageError: a segment was written by a newer version.
    """

    def __init__(self, texts: Iterable[bytes] = ()) -> None:
        self._rows: dict[str, bytes | tuple[bytes, ...]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._pairs: list[tuple[str, str]] = []
        for values in valid_lines(texts):
            self._add(values)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def of(self, output: str) -> list[Known]:
        """What is known about an output."""
        rows = self._rows.get(output, ())
        return [Known(*_ROW.unpack(row)) for row in ((rows,) if isinstance(rows, bytes) else rows)]

    def settings_of(self, known: Known) -> tuple[str, str]:
        """Digests of the request and of the weights."""
        return self._pairs[known.settings]

    def _add(self, values: dict[str, object]) -> None:
        try:
            settings = (str(values["config_sha256"]), str(values["weights_sha256"]))
            number = self._numbers.setdefault(settings, len(self._pairs))
            if number == len(self._pairs):
                self._pairs.append(settings)
            row = _ROW.pack(
                bytes.fromhex(values["input_sha256"]),  # type: ignore[arg-type]  # a wrong type is caught
                bytes.fromhex(values["output_sha256"]),  # type: ignore[arg-type]
                number,
                values.get("input_bytes", 0),
                tag_hash(values.get("input_tag") or values.get("input_etag") or ""),
                values.get("output_bytes", 0),
                tag_hash(values.get("output_tag", "")),
                values.get("test_only", False),
            )
        except (KeyError, TypeError, ValueError, struct.error):
            return
        output = str(values["output"])
        earlier = () if values.get("written") else self._rows.get(output, ())
        earlier = (earlier,) if isinstance(earlier, bytes) else earlier
        if row not in earlier:
            self._rows[output] = (*earlier, row) if earlier else row


def tag_hash(tag: object) -> int:
    return hash(tag) if tag else 0


def valid_lines(texts: Iterable[bytes]) -> Iterator[dict[str, object]]:
    """The JSON objects with an output. Raises as `Ledger` does."""
    for text in texts:
        try:
            values = json.loads(text)
        except ValueError:
            continue
        if not isinstance(values, dict):
            continue
        if isinstance(values.get("output"), str):
            yield values
        elif isinstance(version := values.get("ledger"), int) and version > _VERSION:
            raise UsageError(
                f"the ledger of finished pictures has format {version} of a newer version of this program; update it, or "
                "choose another `output`"
            )


def segments_of(store: Store) -> list[str]:
    """The places of all segments, oldest first.

    Raises:
        UsageError: the store cannot be listed.
    """
    places = [stored.place for stored in store.listed(STATE) if stored.place.endswith(".jsonl")]
    old = [place for place in places if place.startswith((f"{STATE}/journal.", f"{STATE}/journal/"))]
    new = [place for place in places if place.startswith(f"{SEGMENTS}/") and not place.endswith(".plan.jsonl")]
    return sorted(old) + sorted(new)


def read_ledger(store: Store) -> Ledger:
    """Raises:
    UsageError: a segment cannot be read, or was written by a newer version.
    """
    return Ledger(lines_of(store, segments_of(store)))


def lines_of(store: Store, places: list[str]) -> Iterator[bytes]:
    """The lines of segments. Raises as `read_ledger` does."""
    if not store.is_local:
        for content in store.read_many(places):
            yield from content.splitlines()
        return
    for place in places:
        try:
            with store.path(place).open("rb") as file:
                yield from file
        except OSError as error:
            raise UsageError(
                f"{error.filename}: the ledger of finished pictures cannot be read ({error.strerror}); check its permissions"
            ) from error


class LedgerWriter(Protocol):
    """Writes the lines of one worker or run."""

    def append(self, entry: LedgerEntry) -> None:
        """Raises:
        OSError: the line was not written.
        """


class Segment:
    """A segment in a folder, created with its first line. Threads may share it.

    Args:
        folder: the output folder.
        name: unique name of the writer; names sort by time.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / SEGMENTS / f"{name}.jsonl"
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._ends_cleanly = True

    def append(self, entry: LedgerEntry) -> None:
        """Append a line. A line without `written` is synced to disk.

        Raises:
            OSError: the line was not written.
        """
        with self._lock:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("xb", buffering=0)
                self._write(HEADER)
                _sync_folder(self._path)
            self._write(("" if self._ends_cleanly else "\n") + json.dumps(asdict(entry)) + "\n")
            if not entry.written:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, text: str) -> None:
        assert self._file is not None
        self._ends_cleanly = False  # a failed write may leave a partial line, so the next one starts with a newline
        data = text.encode("ascii")
        if self._file.write(data) != len(data):
            raise OSError(None, "a line could only be written in part", str(self._path))
        self._ends_cleanly = True


def new_name() -> str:
    """A unique name of a run. Names sort by time."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}-{nanoseconds:09}-{uuid.uuid4().hex[:8]}"


def entry_of(values: dict[str, object]) -> LedgerEntry | None:
    """A line as an entry; None if a field is missing."""
    try:
        return LedgerEntry(**{name: values[name] for name in _NAMES if name in values})  # type: ignore[arg-type]
    except TypeError:
        return None


_NAMES = [field.name for field in fields(LedgerEntry)]


def _sync_folder(path: Path) -> None:
    """Sync the folder, so that the entry of a new file is on disk. Windows has no such call."""
    if os.name != "posix":
        return
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
