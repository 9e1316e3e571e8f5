"""One device, one job at a time; the others wait in the order they came."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pca_protect.errors import Cancelled, PcaProtectError, UsageError, first_line

Result = TypeVar("Result")

MOST_JOBS = 20
"""Of all visitors together."""

_STOPPED = "stopped; nothing was kept"
_CLOSING_SECONDS = 5.0


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands.

    Attributes:
        before: jobs that are done before this one begins; 0 for the one at work.
        doing: what is being done, a phrase; empty while it waits.
        share: of the work that is done, in [0, 1].
        seconds_left: until it is done, as fast as it went so far; None where nobody knows.
        stopping: it was cancelled, and ends with the step it is at.
    """

    before: int
    doing: str
    share: float
    seconds_left: float | None
    stopping: bool


class Job(Generic[Result]):
    """Work that was handed in. Made by `JobQueue.hand_in`."""

    def __init__(self, queue: JobQueue, work: Callable[[Job[Result]], Result]) -> None:
        self._queue = queue
        self._work: Callable[[Job[Result]], Result] | None = work
        self._stop, self._finished = threading.Event(), threading.Event()
        self._doing, self._share = "", 0.0
        self._first: tuple[float, float] | None = None
        """When the first share above 0 was reported, and which."""
        self._result: Result | None = None
        self._error: PcaProtectError | None = None

    def report(self, doing: str, share: float | None = None) -> None:
        """From within the work: what is being done, and how much of all of it is.

        Raises:
            Cancelled: nobody wants it any more.
        """
        if self._stop.is_set():
            raise Cancelled(_STOPPED)
        self._doing = doing
        if share is not None:
            if share > 0 and self._first is None:
                self._first = (time.monotonic(), share)
            self._share = share

    def cancel(self) -> None:
        """Ends it now if it waits, and with the next report if it has begun."""
        self._stop.set()
        if self._queue.withdraw(self):
            self._end(error=Cancelled(_STOPPED))

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    @property
    def job_status(self) -> JobStatus:
        left = None
        if self._first is not None and self._share > self._first[1]:
            began, share = self._first
            left = (time.monotonic() - began) / (self._share - share) * (1 - self._share)
        return JobStatus(self._queue.jobs_before(self), self._doing, self._share, left, self._stop.is_set())

    def result(self) -> Result:
        """Waits for it.

        Raises:
            PcaProtectError: what the work raised; `Cancelled` if it was.
        """
        self._finished.wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set before it was finished

    def run(self) -> None:
        """The work, whatever becomes of it. For the queue, once."""
        assert self._work is not None
        try:
            self.report("Starting")
            result = self._work(self)
        except PcaProtectError as error:
            self._end(error=error)
        except Exception as error:
            logging.getLogger(__name__).exception("a job failed")
            self._end(error=PcaProtectError(f"this failed unexpectedly ({first_line(error)}); please report it"))
        else:
            self._end(result=result)

    def _end(self, *, result: Result | None = None, error: PcaProtectError | None = None) -> None:
        """Keeps what came of it alone: a traceback would hold on to the pictures and tensors that were worked with."""
        if error is not None:
            error.__cause__ = error.__context__ = None
            error = error.with_traceback(None)
        self._result, self._error, self._work = result, error, None
        self._finished.set()


class JobQueue:
    """Where jobs are handed in, by anybody, from any thread."""

    def __init__(self) -> None:
        self._waiting: list[Job[Any]] = []
        self._at_work: Job[Any] | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._serve, name="pca-protect-job", daemon=True)
        self._worker.start()

    def hand_in(self, work: Callable[[Job[Result]], Result]) -> Job[Result]:
        """Args:
            work: is given its own job, to report to.

        Raises:
            UsageError: too many wait already, or it is closed.
        """
        job: Job[Result] = Job(self, work)
        with self._changed:
            if self._closed:
                raise UsageError("the page is being closed; nothing new is begun")
            if len(self._waiting) >= MOST_JOBS:
                raise UsageError(f"{len(self._waiting)} jobs are waiting already; try again when some of them are done")
            self._waiting.append(job)
            self._changed.notify()
        return job

    @property
    def busy(self) -> bool:
        with self._changed:
            return self._at_work is not None or bool(self._waiting)

    def jobs_before(self, job: Job[Any]) -> int:
        with self._changed:
            return self._waiting.index(job) + (self._at_work is not None) if job in self._waiting else 0

    def withdraw(self, job: Job[Any]) -> bool:
        """Whether it was still waiting; it is not any more."""
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            return True

    def close(self) -> None:
        """Cancels everything, and waits a while for the step at work."""
        with self._changed:
            self._closed = True
            jobs = [*self._waiting, *([self._at_work] if self._at_work else [])]
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
                job = self._at_work = self._waiting.pop(0)
            job.run()
            with self._changed:
                self._at_work = None
            del job
