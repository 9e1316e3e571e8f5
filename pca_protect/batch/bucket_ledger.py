"""The ledger in a bucket, which cannot append: lines are written in batches after their outputs, and a plan before them.

OUT/.pca_protect/ledger/RUN-NNNNNN.jsonl   finished pictures
                        RUN.plan.jsonl     outputs that a run may write; removed when the run ends

An output that is planned, has no line and carries this program's marker was written by a run that died before it wrote the line.
Earlier versions kept plans in `.pca_protect/planned/`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Container
from dataclasses import asdict, dataclass

from pca_protect.batch.ledger import HEADER, SEGMENTS, STATE, LedgerEntry
from pca_protect.batch.store import Store
from pca_protect.errors import PcaProtectError, UsageError
from pca_protect.io.plan import SUFFIXES

_LINES = 1000
_SECONDS = 10.0
"""While pictures are being finished, a batch waits at most this long."""


class BucketLedger:
    """Writes the lines of a run in batches."""

    def __init__(self, store: Store, run: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._run = run
        self._clock = clock
        self._flushed = clock()
        self._part = 0
        self._lines: list[str] = []

    def append(self, entry: LedgerEntry) -> None:
        """Add a line. A batch that cannot be written is tried again with the next one, see `flush`."""
        self._lines.append(json.dumps(asdict(entry)) + "\n")
        if len(self._lines) >= _LINES or self._clock() - self._flushed >= _SECONDS:
            self.flush()

    def flush(self) -> str:
        """Write the pending lines. Returns why they could not be written; empty if they were."""
        if not self._lines:
            return ""
        self._part += 1  # a new name for each attempt: a failed one may have been stored
        self._flushed = self._clock()
        place = f"{SEGMENTS}/{self._run}-{self._part:06d}.jsonl"
        try:
            self._store.write(place, (HEADER + "".join(self._lines)).encode("ascii"), overwrite=True)
        except PcaProtectError as error:
            return str(error)
        self._lines = []
        return ""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The outputs that a run planned, with or without suffixes, and the digests of its settings and weights."""

    place: str
    config_sha256: str
    weights_sha256: str
    outputs: frozenset[str]


def write_plan(store: Store, run: str, config_sha256: str, weights_sha256: str, outputs: Collection[str]) -> RunPlan:
    """Write the plan of a run, before its outputs.

    Raises:
        UsageError: the store is not writable.
    """
    plan = RunPlan(plan_place(run), config_sha256, weights_sha256, frozenset(outputs))
    try:
        store.write(plan.place, _content(plan, plan.outputs), overwrite=True)
    except PcaProtectError as error:
        raise UsageError(f"-o {store.root}: cannot be written to ({error})") from error
    return plan


def read_plans(store: Store, places: Collection[str]) -> list[RunPlan]:
    """The plans of runs that did not end.

    Args:
        places: everything below the state folder.

    Raises:
        UsageError: a plan cannot be read.
    """
    found = sorted(place for place in places if place.endswith(".plan.jsonl") or place.startswith(f"{STATE}/planned/"))
    plans = []
    for place, content in zip(found, store.read_many(found), strict=True):
        first, *rest = content.splitlines() or [b""]
        try:
            settings = json.loads(first)
            outputs = frozenset(json.loads(text) for text in rest)
            plans.append(RunPlan(place, settings["config_sha256"], settings["weights_sha256"], outputs))
        except (ValueError, KeyError, TypeError):
            continue
    return plans


def planned_in(plans: Collection[RunPlan], place: str) -> list[RunPlan]:
    """The plans with this output."""
    names = {place, *(place.removesuffix(suffix) for suffix in SUFFIXES)}
    return [plan for plan in plans if names & plan.outputs]


def end_plans(store: Store, unexplained: Container[str]) -> None:
    """Remove all plans, or reduce them to their outputs that exist without an explanation.

    Args:
        unexplained: outputs without a line that the run did not classify.

    Raises:
        UsageError, PictureError: the store cannot be read or written.
    """
    for plan in read_plans(store, [stored.place for stored in store.listed(STATE)]):
        kept = [
            output
            for output in plan.outputs
            if any(place in unexplained for place in (output, *(output + suffix for suffix in SUFFIXES)))
        ]
        if not kept:
            store.remove(plan.place)
        elif len(kept) < len(plan.outputs):
            store.write(plan.place, _content(plan, kept), overwrite=True)


def plan_place(run: str) -> str:
    return f"{SEGMENTS}/{run}.plan.jsonl"


def _content(plan: RunPlan, outputs: Collection[str]) -> bytes:
    settings = {"ledger": 2, "config_sha256": plan.config_sha256, "weights_sha256": plan.weights_sha256}
    lines = [json.dumps(settings), *(json.dumps(output) for output in sorted(outputs))]
    return "".join(f"{line}\n" for line in lines).encode("ascii")
