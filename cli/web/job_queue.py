"""A first-in, first-out queue that runs one job at a time."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pca_protect.errors import Cancelled, PcaProtectError, UsageError, first_line

Result = TypeVar("Result")

MAX_WAITING_JOBS = 20
"""Limit for all visitors together."""

_STOPPED = "stopped; nothing was kept"
_CLOSING_SECONDS = 5.0


@dataclass(frozen=True)
class JobStatus:
    """The progress of a job.

    Attributes:
        jobs_ahead: jobs that run before this one; 0 for the running job.
        phase: of the work, as a phrase; empty before the job runs.
        share: of the work that is done, in [0, 1].
        seconds_left: extrapolated from the rate at the last report, counting down since; None if unknown.
        stopping: the job is cancelled and ends after the current step.
        parts: the state of each part of the work by its name: a picture of several.
    """

    jobs_ahead: int
    phase: str
    share: float
    seconds_left: float | None
    stopping: bool
    parts: dict[str, str]


class Job(Generic[Result]):
    """Submitted work. Created by `JobQueue.submit`."""

    def __init__(self, queue: JobQueue, work: Callable[[Job[Result]], Result], *, limit_seconds: float) -> None:
        self._queue, self._limit_seconds, self._began = queue, limit_seconds, math.inf
        self._work: Callable[[Job[Result]], Result] | None = work
        self._stop, self._finished = threading.Event(), threading.Event()
        self._phase, self._share = "", 0.0
        self._first_report: tuple[float, float] | None = None
        """Time and value of the first share above 0."""
        self._expected_end: float | None = None
        self._parts: dict[str, str] = {}
        self._result: Result | None = None
        self._error: PcaProtectError | None = None

    def set_progress(self, phase: str, share: float | None = None) -> None:
        """Called by the work: the current phase and the share that is done.

        Raises:
            Cancelled: the job is cancelled.
            UsageError: the job has run for longer than the queue's limit.
        """
        if self._stop.is_set():
            raise Cancelled(_STOPPED)
        if time.monotonic() - self._began > self._limit_seconds:
            raise UsageError(
                f"the job took longer than {self._limit_seconds:g} s, the limit of this page; choose a faster preset, a smaller "
                "picture or fewer pictures"
            )
        self._phase = phase
        if share is None or share == self._share:
            return
        self._share = share
        if self._first_report is None:
            self._first_report = (time.monotonic(), share)
            return
        began, first = self._first_report
        if share > first:
            now = time.monotonic()
            self._expected_end = now + (now - began) / (share - first) * (1 - share)

    def set_part(self, name: str, state: str) -> None:
        """Called by the work: the state of a part, in a word."""
        self._parts = {**self._parts, name: state}

    def cancel(self) -> None:
        """Ends a waiting job at once and a running job at its next report."""
        self._stop.set()
        if self._queue.remove(self):
            self._end(error=Cancelled(_STOPPED))

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    @property
    def status(self) -> JobStatus:
        left = None if self._expected_end is None else max(0.0, self._expected_end - time.monotonic())
        return JobStatus(
            self._queue.position(self), self._phase, self._share, left, self._stop.is_set(), dict(self._parts)
        )

    def result(self) -> Result:
        """Waits until the job ends.

        Raises:
            PcaProtectError: raised by the work; `Cancelled` for a cancelled job.
        """
        self._finished.wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set before `_finished`

    def run(self) -> None:
        """Runs the work and stores its result or error. Called once, by the queue."""
        assert self._work is not None
        self._began = time.monotonic()
        try:
            self.set_progress("Starting")
            result = self._work(self)
        except PcaProtectError as error:
            self._end(error=error)
        except Exception as error:
            logging.getLogger(__name__).exception("a job failed")
            self._end(error=PcaProtectError(f"the job failed unexpectedly ({first_line(error)}); please report it"))
        else:
            self._end(result=result)

    def _end(self, *, result: Result | None = None, error: PcaProtectError | None = None) -> None:
        """Stores the outcome without a traceback, which would keep the pictures and tensors of the work alive."""
        if error is not None:
            error.__cause__ = error.__context__ = None
            error = error.with_traceback(None)
        self._result, self._error, self._work = result, error, None
        self._finished.set()


class JobQueue:
    """A worker thread and its waiting jobs. Thread-safe.

    Args:
        limit_seconds: time from the start of a job's work to its failure, checked at each of its reports.
    """

    def __init__(self, *, limit_seconds: float = math.inf) -> None:
        self._limit_seconds = limit_seconds
        self._waiting: list[Job[Any]] = []
        self._running: Job[Any] | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._serve, name="pca-protect-job", daemon=True)
        self._worker.start()

    def submit(self, work: Callable[[Job[Result]], Result]) -> Job[Result]:
        """Appends a job.

        Args:
            work: called with its job, for `set_progress`.

        Raises:
            UsageError: the queue is full or closed.
        """
        job: Job[Result] = Job(self, work, limit_seconds=self._limit_seconds)
        with self._changed:
            if self._closed:
                raise UsageError("the server of this page is stopping; start it again, then reload the page")
            if len(self._waiting) >= MAX_WAITING_JOBS:
                raise UsageError(f"{len(self._waiting)} jobs are waiting already; try again when some of them are done")
            self._waiting.append(job)
            self._changed.notify()
        return job

    @property
    def busy(self) -> bool:
        with self._changed:
            return self._running is not None or bool(self._waiting)

    @property
    def has_waiting(self) -> bool:
        with self._changed:
            return bool(self._waiting)

    def position(self, job: Job[Any]) -> int:
        """Number of jobs that run before this one."""
        with self._changed:
            return self._waiting.index(job) + (self._running is not None) if job in self._waiting else 0

    def remove(self, job: Job[Any]) -> bool:
        """Removes a waiting job. Returns False if the job is not waiting."""
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            return True

    def close(self) -> None:
        """Cancels all jobs and waits up to 5 s for the running one."""
        with self._changed:
            self._closed = True
            jobs = [*self._waiting, *([self._running] if self._running else [])]
            self._changed.notify()
        for job in jobs:
            job.cancel()
        self._worker.join(_CLOSING_SECONDS)

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._running = self._waiting.pop(0)
            job.run()
            with self._changed:
                self._running = None
            del job
