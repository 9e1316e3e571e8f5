"""What a cluster run remembers beside its outputs, in files that are written once, since nothing is appended in a bucket.

OUT/.pca_protect/planned/RUN.jsonl       outputs that a run is going to write; removed when it ends, however many it wrote
                 journal/RUN-NNNNNN.jsonl  what is finished, one line a picture: what a rerun goes by
                 records/RUN-NNNNNN.jsonl  the full records, for people and for other programs
                 errors/RUN.jsonl          what failed in that run

An output without a line in `journal` that is named in `planned` was written by a run that died before it could say so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from pca_protect.batch.journal import LedgerEntry
from pca_protect.batch.output_lock import STATE
from pca_protect.cluster.storage import Storage, Stored
from pca_protect.errors import PictureError, UsageError

if TYPE_CHECKING:
    from pca_protect.batch.outcome import Failure
    from pca_protect.record import Record

_LINES = 1000
_SECONDS = 10.0
"""Lines wait for others to be written with, but never longer than this while pictures are being finished."""

_AT_ONCE = 200
"""Files of lines that are read side by side."""


@dataclass(frozen=True, slots=True)
class ClusterEntry(LedgerEntry):
    """A line of the journal, with what is cheap to compare in a bucket.

    Attributes:
        input_bytes, input_etag: of the input as it was listed; the mark is empty on disks.
        output_bytes: the output's length.
    """

    input_bytes: int
    input_etag: str
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Planned:
    """Outputs, without their suffixes, that a run was going to write, and with which settings and weights."""

    config_sha256: str
    weights_sha256: str
    outputs: frozenset[str]


class Ledger:
    """Reads what earlier runs left below an output's root, and writes what this one does.

    Args:
        output: the storage of the outputs.
        listed: what lies in it.
        run: a name that no other run has.
    """

    def __init__(
        self, output: Storage, listed: Iterable[Stored], run: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output = output
        self._places = sorted(stored.place for stored in listed if stored.place.startswith(f"{STATE}/"))
        self._run = run
        self._clock = clock
        self._written = clock()
        self._part = 0
        self._lines: list[str] = []
        self._records: list[str] = []
        self._plans: dict[str, Planned] = {}

    def finished(self) -> dict[str, list[ClusterEntry]]:
        """Lines of earlier runs by input, the latest last. A line that is not whole proves nothing and is passed over."""
        found: dict[str, list[ClusterEntry]] = {}
        for text in self._read("journal"):
            line = _line(text)
            if line is not None:
                found.setdefault(line.input, []).append(line)
        return found

    def unfinished(self) -> list[Planned]:
        """What runs that did not end were going to write."""
        for place in self._of("planned"):
            first, *rest = self._output.read_many([place])[0].splitlines() or [b""]
            try:
                settings = json.loads(first)
                outputs = frozenset(json.loads(text) for text in rest)
                self._plans[place] = Planned(settings["config_sha256"], settings["weights_sha256"], outputs)
            except (ValueError, KeyError, TypeError):
                continue
        return list(self._plans.values())

    def announce(self, planned: Planned) -> None:
        """Say what is going to be written, before it is.

        Raises:
            UsageError: nothing can be written there.
        """
        settings = {"config_sha256": planned.config_sha256, "weights_sha256": planned.weights_sha256}
        lines = [json.dumps(settings), *(json.dumps(output) for output in sorted(planned.outputs))]
        place = f"{STATE}/planned/{self._run}.jsonl"
        try:
            self._output.write(place, _text(lines), replace=False)
        except PictureError as error:
            raise UsageError(f"-o {self._output.root}: cannot be written to ({error})") from error
        self._plans[place] = planned

    def add(self, line: ClusterEntry, record: Record) -> None:
        """Remember a finished picture.

        Raises:
            PictureError: that cannot be written.
        """
        self._lines.append(json.dumps(asdict(line)))
        self._records.append(record.as_json())
        if len(self._lines) >= _LINES or self._clock() - self._written >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait."""
        if not self._lines:
            return
        name = f"{self._run}-{self._part:06d}.jsonl"
        self._output.write(f"{STATE}/records/{name}", _text(self._records), replace=False)
        self._output.write(f"{STATE}/journal/{name}", _text(self._lines), replace=False)
        self._part += 1
        self._lines, self._records = [], []
        self._written = self._clock()

    def end(self, failures: Iterable[Failure], classified: Set[str]) -> None:
        """Write what waits and what failed, and withdraw the plans that are classified.

        Args:
            classified: the outputs that this run made, found finished or failed at.
        """
        self.flush()
        lines = [json.dumps(asdict(failure)) for failure in failures]
        if lines:
            self._output.write(f"{STATE}/errors/{self._run}.jsonl", _text(lines), replace=False)
        for place, planned in self._plans.items():
            if planned.outputs <= classified:
                self._output.remove(place)

    def _of(self, kind: str) -> list[str]:
        return [place for place in self._places if place.startswith(f"{STATE}/{kind}/")]

    def _read(self, kind: str) -> Iterator[bytes]:
        places = self._of(kind)
        for start in range(0, len(places), _AT_ONCE):
            for content in self._output.read_many(places[start : start + _AT_ONCE]):
                yield from content.splitlines()


_NAMES = {field.name for field in fields(ClusterEntry)}
_NUMBERS = {"seconds", "input_bytes", "output_bytes"}


def _line(text: bytes) -> ClusterEntry | None:
    try:
        values = json.loads(text)
        line = ClusterEntry(**{name: values[name] for name in _NAMES})
    except (ValueError, KeyError, TypeError):
        return None
    whole = all(isinstance(getattr(line, name), (int, float) if name in _NUMBERS else str) for name in _NAMES)
    return line if whole else None


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("ascii")
