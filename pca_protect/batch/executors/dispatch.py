"""Hands jobs to workers, and finds the picture that crashes them.

A worker that is lost had several pictures in hand. Each of them is then tried alone, so that a picture that repeatedly crashes
its worker is reported as failed and the others are protected.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace

from pca_protect.batch.outcome import EncoderInfo, Failure, Outcome
from pca_protect.errors import DeviceError, ModelError
from pca_protect.io.plan import Job

TRIES = 3
"""Number of worker crashes after which a picture is reported as failed, or the run ends if no worker gets a picture."""


class Dispatch:
    """The pictures of a run: pending, suspected of crashing a worker, or in the hands of one. Large pictures come first, so that
    the last ones are short; equal sizes beside one another, so that they form batches."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.pending = deque(sorted(jobs, key=lambda job: (-job.source.pixels, job.source.width_px)))
        self.suspects: deque[Job] = deque()
        self._held: dict[int, list[Job]] = {}
        self._crashes: Counter[str] = Counter()
        self._without_picture = 0

    def take(self, worker: int, *, alone: bool = False) -> Job | None:
        """The next job for a worker; None if there is none.

        Args:
            alone: take a suspect.
        """
        jobs = self.suspects if alone else self.pending
        if not jobs:
            return None
        job = jobs.popleft()
        self._held.setdefault(worker, []).append(job)
        return job

    def settle(self, worker: int, outcome: Outcome) -> None:
        """Take a job with an outcome from its worker."""
        self._without_picture = 0
        path = outcome.job.source.path
        held = self._held[worker]
        held.remove(next(job for job in held if job.source.path == path))

    def lost(self, worker: int, reason: str) -> list[Outcome]:
        """Make suspects of the jobs in a lost worker's hands. Returns the failures of those that crashed too many.

        Raises:
            DeviceError: several workers in a row had none, so they did not get as far as a picture.
        """
        held = self._held.pop(worker, [])
        self._without_picture = 0 if held else self._without_picture + 1
        if self._without_picture >= TRIES:
            raise DeviceError(
                f"{TRIES} workers ended while they loaded the encoder ({reason}); check their memory, or lower `jobs`"
            )
        failures = []
        for job in held:
            self._crashes[job.target] += 1
            if self._crashes[job.target] < TRIES:
                # The lost worker may have written the output.
                self.suspects.append(replace(job, replace=True))
                continue
            path = job.source.path
            sentence = (
                f"{path}: crashed its worker {TRIES} times (out of memory or decoder crash); protect it separately"
            )
            failures.append(Outcome(job, failure=Failure(path, job.source.root, sentence)))
        return failures


class SameEncoder:
    """Checks that all workers loaded the same encoder."""

    def __init__(self) -> None:
        self._first: EncoderInfo | None = None

    def check(self, info: EncoderInfo) -> bool:
        """Whether this is the first worker.

        Raises:
            ModelError: another worker loaded other weights.
        """
        if self._first is None:
            self._first = info
            return True
        if info.digest != self._first.digest:
            raise ModelError(
                f"{info.name}: a worker loaded it from {info.origin}, and another loaded other weights from "
                f"{self._first.origin}; put the same files on every machine"
            )
        return False
