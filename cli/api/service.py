"""The state of the server: encoders, queue, kept results, metrics; admission and the end of the program."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from pca_protect.cli.api.failures import UNKNOWN_FORMAT, failure_of
from pca_protect.cli.api.job_queue import JobQueue
from pca_protect.cli.api.job_store import JobStore
from pca_protect.cli.api.jobs import Failure, Job, Outcome
from pca_protect.cli.api.limits import Limits
from pca_protect.cli.api.metrics import Metrics
from pca_protect.cli.api.options import ProtectRequest
from pca_protect.cli.api.work import SOURCE, CheckWork, Computer, ProtectWork
from pca_protect.config import ProtectConfig
from pca_protect.io.formats import KNOWN
from pca_protect.io.header import Header, header_of
from pca_protect.surrogates.encoder import AnySurrogate

AnyWork = ProtectWork | CheckWork
STOPPING = Failure(503, "the server is stopping; try again in a moment")
_POLL_SECONDS = 0.05


class Service:
    """Made on the event loop's thread and used there, except for the queue's worker.

    Args:
        surrogate: the encoders of every request.
        base: settings that requests do not choose.
        default: see `protect_request`; `base` if None.
        presets: that requests may choose; the first is the default.
    """

    def __init__(
        self,
        surrogate: AnySurrogate,
        *,
        base: ProtectConfig,
        default: ProtectConfig | None = None,
        presets: Sequence[str],
        limits: Limits,
    ) -> None:
        self.base, self.default, self.presets, self.limits = base, default or base, tuple(presets), limits
        self.surrogate = surrogate
        self.store = JobStore(limits)
        self._computer = Computer(surrogate, max_pixels=limits.max_pixels)
        self.queue: JobQueue[AnyWork] = JobQueue(self._run, at_once=self._at_once, failure=failure_of)
        self.metrics = Metrics(waiting=lambda: len(self.queue))
        self.stopping = False
        self._uploading = 0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Context in which a request is read and its job submitted.

        Raises:
            HTTPException: the server is stopping, or as many requests as it takes are uploading, waiting or running.
        """
        if self.stopping:
            raise HTTPException(STOPPING.status, STOPPING.detail, {"Retry-After": "5"})
        if self._uploading + len(self.queue) >= self.limits.max_jobs:
            seconds = max(1, min(600, math.ceil(self.queue.seconds_per_job)))
            raise HTTPException(
                429,
                f"{self.limits.max_jobs} requests are in progress, which is the limit; try again in {seconds} s",
                {"Retry-After": str(seconds)},
            )
        self._uploading += 1
        try:
            yield
        finally:
            self._uploading -= 1

    async def submit_protect(self, data: bytes, request: ProtectRequest) -> Job[AnyWork]:
        """Raises:
        HTTPException: the data is no picture, a picture over a limit, or an output of this program.
        """
        header = await self._header(data)
        if header.ours:
            raise HTTPException(422, f"{SOURCE}: is an output of this program; send the original")
        work = ProtectWork(data, request, header.suffix.removeprefix("."))
        return self._submit(work, kind=(request, header.width, header.height))

    async def submit_check(self, data: bytes, original: bytes | None, *, seed: int) -> Job[AnyWork]:
        """Raises as `submit_protect`."""
        for given in (data, original):
            if given is not None:
                await self._header(given)
        return self._submit(CheckWork(data, original, seed), kind=None)

    async def drain(self, seconds: float, *, hurry: Callable[[], bool]) -> None:
        """Refuse new jobs, settle the waiting ones and wait for the running ones, which are settled after some time.

        Args:
            hurry: whether to settle them now.
        """
        self.stopping = True
        self.queue.refuse_waiting(STOPPING)
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.queue.running and loop.time() < until and not hurry():
            await asyncio.sleep(_POLL_SECONDS)
        self.queue.settle_running(STOPPING)

    async def _header(self, data: bytes) -> Header:
        header = await run_in_threadpool(lambda: header_of(io.BytesIO(data), SOURCE, max_pixels=self.limits.max_pixels))
        if header is None:
            raise HTTPException(
                UNKNOWN_FORMAT, f"{SOURCE}: is not in a recognised image format ({KNOWN}); check the file"
            )
        return header

    def _submit(self, work: AnyWork, *, kind: tuple[ProtectRequest, int, int] | None) -> Job[AnyWork]:
        job: Job[AnyWork] = Job(work, kind=kind, limit_seconds=self.limits.job_seconds)
        job.outcome.add_done_callback(lambda _: self.metrics.observe_job(job.state, job.seconds or 0.0))
        self.queue.submit(job)
        return job

    def _run(self, jobs: list[Job[AnyWork]]) -> list[Outcome]:
        self.metrics.observe_batch(len(jobs))
        return self._computer.run(jobs)

    def _at_once(self, job: Job[AnyWork]) -> int:
        if not isinstance(job.kind, tuple):
            return 1
        request, width, height = job.kind
        return self._computer.at_once(request, width, height)
