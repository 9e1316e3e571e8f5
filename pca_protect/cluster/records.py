"""The state of cluster runs, in write-once files, since buckets cannot append.

OUT/.pca_protect/planned/RUN.jsonl         outputs that a run may write; removed when the run ends
                 journal/RUN-NNNNNN.jsonl  finished pictures, one per line, read by later runs
                 records/RUN-NNNNNN.jsonl  full records, for other uses
                 errors/RUN.jsonl          failures of the run

An output that is listed in `planned` but not in `journal` was written by a run that died before it updated the journal.
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
"""Lines are written in batches. While pictures are being finished, a batch waits at most this long."""

_AT_ONCE = 200
"""Number of files read concurrently."""


@dataclass(frozen=True, slots=True)
class ClusterEntry(LedgerEntry):
    """A line of the journal, with values that are cheap to compare in a bucket.

    Attributes:
        input_bytes: size of the input in the listing.
        input_etag: ETag of the input in the listing; empty on disks.
        output_bytes: size of the output.
    """

    input_bytes: int
    input_etag: str
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Planned:
    """The outputs that a run planned, without suffixes, and the digests of its settings and weights."""

    config_sha256: str
    weights_sha256: str
    outputs: frozenset[str]


class Ledger:
    """Reads the state of earlier runs below the output root, and writes that of this run.

    Args:
        output: the storage of the outputs.
        listed: the objects in it.
        run: a unique name of this run.
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
        """Lines of earlier runs by input, latest last. Incomplete lines are skipped."""
        lines: dict[str, list[ClusterEntry]] = {}
        for text in self._read("journal"):
            line = _line(text)
            if line is not None:
                lines.setdefault(line.input, []).append(line)
        return lines

    def unfinished(self) -> list[Planned]:
        """The plans of runs that did not end."""
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
        """Write the plan of this run, before its outputs.

        Raises:
            UsageError: the output storage is not writable.
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
        """Add a finished picture to the journal and the records.

        Raises:
            PictureError: a batch of lines cannot be written.
        """
        self._lines.append(json.dumps(asdict(line)))
        self._records.append(record.as_json())
        if len(self._lines) >= _LINES or self._clock() - self._written >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the pending lines."""
        if not self._lines:
            return
        name = f"{self._run}-{self._part:06d}.jsonl"
        self._output.write(f"{STATE}/records/{name}", _text(self._records), replace=False)
        self._output.write(f"{STATE}/journal/{name}", _text(self._lines), replace=False)
        self._part += 1
        self._lines, self._records = [], []
        self._written = self._clock()

    def end(self, failures: Iterable[Failure], classified: Set[str]) -> None:
        """Write pending lines and failures, and remove plans whose outputs are all classified.

        Args:
            failures: the failed pictures of this run.
            classified: outputs that this run wrote, found finished or failed to write.
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
    is_valid = all(isinstance(getattr(line, name), (int, float) if name in _NUMBERS else str) for name in _NAMES)
    return line if is_valid else None


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("ascii")
