"""One device, one job at a time; the others wait in the order they came."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pca_protect.errors import Cancelled

Result = TypeVar("Result")


@dataclass(frozen=True)
class Standing:
    """Where a job stands.

    Attributes:
        before: jobs that are done before this one begins; 0 for the one at work.
        doing: what is being done, a phrase; empty while it waits.
        share: of the work that is done, in [0, 1].
        seconds_left: until it is done, as fast as it went so far; None where nobody knows.
    """

    before: int
    doing: str
    share: float
    seconds_left: float | None


@dataclass(eq=False)
class Job(Generic[Result]):
    """Work that was handed in. Made by `Desk.hand_in`."""

    owner: str
    _desk: Desk = field(repr=False)
    _doing: str = ""
    _share: float = 0.0
    _began: float | None = None
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _finished: threading.Event = field(default_factory=threading.Event, repr=False)
    _result: Result | None = None
    _error: BaseException | None = None

    def report(self, doing: str, share: float | None = None) -> None:
        """From within the work: what is being done, and how much of all of it is. Time counts from the first share above 0 on.

        Raises:
            Cancelled: nobody wants it any more.
        """
        if self._stop.is_set():
            raise Cancelled("stopped; nothing was kept")
        self._doing = doing
        if share is not None:
            if share > 0 and self._began is None:
                self._began = time.monotonic()
                self._first = share
            self._share = share

    _first: float = 0.0

    def cancel(self) -> None:
        """Ends it at its next report, or before it begins."""
        self._stop.set()

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    @property
    def standing(self) -> Standing:
        left = None
        if self._began is not None and self._share > self._first:
            passed = time.monotonic() - self._began
            left = passed / (self._share - self._first) * (1 - self._share)
        return Standing(self._desk.jobs_before(self), self._doing, self._share, left)

    def result(self) -> Result:
        """Waits for it.

        Raises:
            Cancelled: it was.
            Exception: what the work raised.
        """
        self._finished.wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set together with `_finished`

    def _run(self, work: Callable[[Job[Result]], Result]) -> None:
        try:
            self.report("Starting")
            self._result = work(self)
        except BaseException as error:  # noqa: BLE001 - handed on by `result`
            self._error = error
        finally:
            self._desk._leave(self)
            self._finished.set()


class Desk:
    """Where jobs are handed in, by anybody, from any thread."""

    def __init__(self) -> None:
        self._queue: list[Job] = []  # type: ignore[type-arg]
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pca-protect-job")

    def hand_in(self, owner: str, work: Callable[[Job[Result]], Result]) -> Job[Result]:
        """Args:
        owner: whose it is, for `cancel`.
        work: is given its own job, to report to.
        """
        job: Job[Result] = Job(owner, self)
        with self._lock:
            self._queue.append(job)
        self._worker.submit(job._run, work)
        return job

    def cancel(self, owner: str) -> int:
        """All jobs of somebody; how many those were."""
        with self._lock:
            jobs = [job for job in self._queue if job.owner == owner]
        for job in jobs:
            job.cancel()
        return len(jobs)

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    def jobs_before(self, job: Job) -> int:  # type: ignore[type-arg]
        with self._lock:
            return self._queue.index(job) if job in self._queue else 0

    def close(self) -> None:
        """Cancels everything and takes nothing more."""
        with self._lock:
            jobs = list(self._queue)
        for job in jobs:
            job.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _leave(self, job: Job) -> None:  # type: ignore[type-arg]
        with self._lock:
            self._queue.remove(job)
