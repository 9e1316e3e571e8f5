"""A first-in, first-out queue with one worker thread, which can take jobs of a kind together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic

from pca_protect.cli.api.failures import UNEXPECTED
from pca_protect.cli.api.jobs import Failure, Job, Outcome, Work
from pca_protect.errors import Cancelled, PcaProtectError

_FIRST_GUESS_SECONDS = 5.0
_RECENT = 0.2
"""Weight of the latest job in the running mean of durations."""


class JobQueue(Generic[Work]):
    """Args:
    run: computes jobs of one kind and returns their outcomes; may raise. After an error in a batch, its jobs are run one by one.
    at_once: how many jobs of this one's kind fit into a batch.
    failure: translates an error of a job.
    """

    def __init__(
        self,
        run: Callable[[list[Job[Work]]], list[Outcome]],
        *,
        at_once: Callable[[Job[Work]], int],
        failure: Callable[[PcaProtectError], Failure],
    ) -> None:
        self._run, self._at_once, self._failure = run, at_once, failure
        self._waiting: list[Job[Work]] = []
        self._running: list[Job[Work]] = []
        self._closed = False
        self._changed = threading.Condition()
        self.seconds_per_job = _FIRST_GUESS_SECONDS
        """Running mean."""
        self._worker = threading.Thread(target=self._serve, name="pca-protect-job", daemon=True)
        self._worker.start()

    def submit(self, job: Job[Work]) -> None:
        with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()

    def __len__(self) -> int:
        """Jobs that wait or run. A settled job runs until its computation has stopped."""
        with self._changed:
            self._drop_settled()
            return len(self._waiting) + len(self._running)

    @property
    def running(self) -> int:
        with self._changed:
            return len(self._running)

    def position(self, job: Job[Any]) -> int:
        """Jobs before this one; 0 for one that runs or has ended."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + len(self._running)

    def refuse_waiting(self, outcome: Failure) -> None:
        """Settles the waiting jobs, so that the worker ends after the running ones. For the end of the program."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for job in waiting:
            job.settle(outcome)

    def settle_running(self, outcome: Failure) -> None:
        with self._changed:
            running = list(self._running)
        for job in running:
            job.settle(outcome)

    def join(self, seconds: float) -> bool:
        """Waits for the worker's end after `refuse_waiting`; whether it ended in time."""
        self._worker.join(seconds)
        return not self._worker.is_alive()

    def _serve(self) -> None:
        while (jobs := self._next()) is not None:
            self._compute(jobs)
            for job in jobs:
                job.release()
                self.seconds_per_job += _RECENT * ((job.seconds or 0.0) / len(jobs) - self.seconds_per_job)
            with self._changed:
                self._running = []
                self._changed.notify_all()
            del jobs, job

    def _next(self) -> list[Job[Work]] | None:
        """Waits for jobs and begins them; None once the queue is closed and empty."""
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                self._drop_settled()
                if not self._waiting:
                    if self._closed:
                        return None
                    continue
                first = self._waiting.pop(0)
                self._running = [first]
            fellows = self._fellows(first, self._at_once(first) - 1)
            for job in (first, *fellows):
                job.begin()
            return [first, *fellows]

    def _drop_settled(self) -> None:
        for job in self._waiting:
            if job.settled:
                job.release()
        self._waiting = [job for job in self._waiting if not job.settled]

    def _fellows(self, first: Job[Work], most: int) -> list[Job[Work]]:
        """Takes further waiting jobs of the same kind."""
        if most < 1 or first.kind is None:
            return []
        with self._changed:
            same = [job for job in self._waiting if job.kind == first.kind and not job.settled][:most]
            self._waiting = [job for job in self._waiting if job not in same]
            self._running = [first, *same]
        return same

    def _compute(self, jobs: list[Job[Work]]) -> None:
        try:
            outcomes = self._run(jobs)
        except Cancelled:
            return  # every job is settled
        except PcaProtectError as error:
            self._retry(jobs, self._failure(error))
        except Exception:  # a bug in one job must not stop the worker
            logging.getLogger(__name__).exception("a job failed")
            self._retry(jobs, UNEXPECTED)
        else:
            for job, outcome in zip(jobs, outcomes, strict=True):
                job.settle(outcome)

    def _retry(self, jobs: list[Job[Work]], failure: Failure) -> None:
        if len(jobs) == 1:
            jobs[0].settle(failure)
            return
        for job in jobs:
            if not job.settled:
                self._compute([job])
