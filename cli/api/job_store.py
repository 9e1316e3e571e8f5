"""Registry of jobs by id, for clients that poll. Used from the event loop only."""

from __future__ import annotations

import asyncio
from typing import Any

from pca_protect.cli.api.jobs import Done, Job
from pca_protect.cli.api.limits import Limits


class JobStore:
    """Keeps unfinished jobs, whose number the server limits, and finished ones for a limited time, number and size."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[str, Job[Any]] = {}
        self._finished: dict[str, int] = {}
        """Bytes of each finished job's result, oldest first."""

    def add(self, job: Job[Any]) -> None:
        self._jobs[job.id] = job
        asyncio.wrap_future(job.outcome).add_done_callback(lambda _: self._note_end(job))

    def get(self, job_id: str) -> Job[Any] | None:
        return self._jobs.get(job_id)

    def remove(self, job_id: str) -> Job[Any] | None:
        self._finished.pop(job_id, None)
        return self._jobs.pop(job_id, None)

    def _note_end(self, job: Job[Any]) -> None:
        if job.id not in self._jobs:
            return
        outcome = job.outcome.result()
        self._finished[job.id] = len(outcome.data) if isinstance(outcome, Done) else 0
        while len(self._finished) > self._limits.kept_results or (
            sum(self._finished.values()) > self._limits.kept_bytes and len(self._finished) > 1
        ):
            self.remove(next(iter(self._finished)))
        asyncio.get_running_loop().call_later(self._limits.kept_seconds, self.remove, job.id)
