"""Counts the outcomes of a run, and decides when it stops early."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pca_protect.batch.bucket_ledger import BucketLedger
from pca_protect.batch.outcome import Failure, Outcome, Summary
from pca_protect.io.plan import Job


@dataclass
class Tally:
    """Results so far.

    Attributes:
        pending: number of pictures that are to be protected.
        finished, skipped: see `Summary`.
        folder: see `Summary`.
        max_failures: see `Request`.
        writer: the ledger of a bucket; None if workers write it.
        on_outcome: called with every outcome.
    """

    pending: int
    finished: int
    skipped: int
    folder: bool
    max_failures: int | None
    writer: BucketLedger | None
    on_outcome: Callable[[Outcome], None]
    started: float = field(default_factory=time.perf_counter)
    protected: int = 0
    left_out: list[tuple[Job, str]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    refused: int = 0
    stopped: str = ""

    def refuse(self, job: Job) -> None:
        """Add a picture that cannot be processed."""
        self.refused += 1
        self._fail(Outcome(job, failure=Failure(job.source.path, job.source.root, job.problem)))

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a pending picture."""
        if outcome.failure is not None:
            self._fail(outcome)
            return
        if outcome.left_out:
            self.left_out.append((outcome.job, outcome.left_out))
        else:
            self.protected += 1
            if outcome.entry is not None and self.writer is not None:
                self.writer.append(outcome.entry)
        self.on_outcome(outcome)

    def is_stopping(self) -> bool:
        return bool(self.stopped)

    def summary(self) -> Summary:
        """The counts; what has no outcome yet is left."""
        done = self.protected + len(self.left_out) + len(self.failures) - self.refused
        summary = Summary(
            protected=self.protected,
            finished=self.finished,
            skipped=self.skipped,
            left_out=len(self.left_out),
            left=self.pending - done,
            failures=tuple(self.failures),
            seconds=time.perf_counter() - self.started,
            stopped=self.stopped,
            folder=self.folder,
        )
        assert summary.left >= 0, f"{-summary.left} pictures have more than one outcome"
        return summary

    def _fail(self, outcome: Outcome) -> None:
        assert outcome.failure is not None
        self.failures.append(outcome.failure)
        if outcome.no_room:
            self.stopped = "nothing more can be written; make room or choose another folder with -o"
        elif self.max_failures is not None and len(self.failures) >= self.max_failures and not self.stopped:
            failed = f"{len(self.failures)} picture{'s' if len(self.failures) > 1 else ''} failed"
            self.stopped = f"{failed}, the limit of `max_failures={self.max_failures}`"
        self.on_outcome(outcome)
