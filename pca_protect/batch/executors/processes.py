"""Executes a run in several processes of this machine, one per GPU or with a share of the CPU's threads each.

Each process runs the pipeline and asks for the next picture when it has room for one, so that no process waits for another.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pca_protect.batch.executors.dispatch import Dispatch, SameEncoder
from pca_protect.batch.executors.execution import Execution
from pca_protect.batch.outcome import EncoderInfo, Outcome
from pca_protect.errors import PcaProtectError
from pca_protect.io.plan import Job

_NEXT = "next"
"""A worker's request for a job."""

_END_SECONDS = 15.0
"""How long an interrupted worker may take to write what it has protected."""


def worker_count(jobs: int | None, device: str) -> int:
    """Number of processes: `jobs`, or one per GPU where there are several and `device` selects none of them, or 1."""
    if jobs is not None:
        return jobs
    return max(1, _gpus()) if device in ("auto", "cuda") else 1


def execute(execution: Execution, processes: int) -> None:
    """Protect pictures in several processes. See `Executor`."""
    pool = _Pool(execution, min(processes, len(execution.jobs)))
    try:
        pool.run()
    finally:
        pool.end()


@dataclass(frozen=True)
class _Worker:
    """A process; `alone` if it tries suspects one by one."""

    number: int
    process: SpawnProcess
    connection: Connection
    alone: bool


class _Pool:
    def __init__(self, execution: Execution, size: int) -> None:
        self._execution = execution
        self._size = size
        self._dispatch = Dispatch(execution.jobs)
        self._workers: dict[Connection, _Worker] = {}
        self._same = SameEncoder()
        self._started = 0

    def run(self) -> None:
        for _ in range(self._size):
            self._start()
        while self._workers:
            for ready in connection.wait(list(self._workers)):
                self._receive(self._workers[ready])  # type: ignore[index]  # all are connections

    def end(self) -> None:
        """Let the workers write what they have protected, and report it. Does nothing after `run` returned."""
        for worker in self._workers.values():
            worker.process.terminate()
        while self._workers and (ready := connection.wait(list(self._workers), _END_SECONDS)):
            for one in ready:
                worker = self._workers[one]  # type: ignore[index]
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    self._forget(worker)
                    continue
                if isinstance(message, Outcome):
                    self._execution.report(message)
        for worker in list(self._workers.values()):
            worker.process.kill()
            self._forget(worker)

    def _start(self, *, alone: bool = False) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        number = self._started
        self._started += 1
        work = self._execution.work
        gpus = _gpus() if work.config.device in ("auto", "cuda") else 0
        if gpus:
            work = replace(work, config=replace(work.config, device=f"cuda:{number % gpus}"))
        arguments = (theirs, work, self._execution.in_folder, f"{self._execution.run}-{number}", self._size, alone)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self._workers[ours] = _Worker(number, process, ours, alone)

    def _receive(self, worker: _Worker) -> None:
        dispatch = self._dispatch
        try:
            message = worker.connection.recv()
            if message == _NEXT:
                stopping = self._execution.stopping()
                worker.connection.send(None if stopping else dispatch.take(worker.number, alone=worker.alone))
                return
        except (EOFError, OSError):
            self._ended(worker)
            return
        if isinstance(message, PcaProtectError):
            raise message
        if isinstance(message, EncoderInfo):
            if self._same.check(message):
                self._execution.loaded(message)
        else:
            dispatch.settle(worker.number, message)
            self._execution.report(message)

    def _ended(self, worker: _Worker) -> None:
        """Replace a worker that ended, if there is work for another."""
        self._forget(worker)
        if worker.process.exitcode != 0:
            for failure in self._dispatch.lost(worker.number, f"exit code {worker.process.exitcode}"):
                self._execution.report(failure)
        if self._execution.stopping():
            return
        if self._dispatch.suspects:
            self._start(alone=True)
        elif self._dispatch.pending and len(self._workers) < self._size:
            self._start()

    def _forget(self, worker: _Worker) -> None:
        del self._workers[worker.connection]
        worker.connection.close()
        worker.process.join()


def _gpus() -> int:
    import torch  # noqa: PLC0415 - not before there is work

    return torch.cuda.device_count()


class _Terminated(SystemExit):
    """Raised by the signal that `_Pool.end` sends."""


def _serve(pipe: Connection, work: object, in_folder: str, name: str, processes: int, alone: bool) -> None:
    """The main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    signal.signal(signal.SIGTERM, _terminate)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(BrokenPipeError, ConnectionResetError, _Terminated):  # nobody is interested any more
        try:
            _protect(pipe, work, in_folder, name, processes, alone)
        except PcaProtectError as error:
            pipe.send(error)
    pipe.close()
    os._exit(0)  # PyTorch takes a second to leave, and everything is closed


def _protect(pipe: Connection, work: object, in_folder: str, name: str, processes: int, alone: bool) -> None:
    import torch  # noqa: PLC0415 - in worker processes

    from pca_protect.batch.ledger import Segment  # noqa: PLC0415
    from pca_protect.batch.output_lock import worker_lock  # noqa: PLC0415
    from pca_protect.batch.pipeline import run_pipeline  # noqa: PLC0415
    from pca_protect.batch.worker import WorkerConfig, stages_of  # noqa: PLC0415
    from pca_protect.device import respect_quota  # noqa: PLC0415

    assert isinstance(work, WorkerConfig)
    if "OMP_NUM_THREADS" not in os.environ:
        respect_quota()
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    with ExitStack() as cleanup:
        segment = None
        if in_folder:
            cleanup.enter_context(worker_lock(Path(in_folder), name))
            segment = cleanup.enter_context(closing(Segment(Path(in_folder), name)))
        surrogate = work.load()
        pipe.send(EncoderInfo.of(surrogate))
        stages = stages_of(work, lambda: surrogate, segment=segment)
        for jobs in ([job] for job in _asked(pipe)) if alone else [_asked(pipe)]:
            run_pipeline(jobs, stages, pipe.send, look_ahead=0, groups_ahead=1)


def _asked(pipe: Connection) -> Iterator[Job]:
    """Jobs from the parent, until it has no more."""
    while True:
        pipe.send(_NEXT)
        job = pipe.recv()
        if job is None:
            return
        yield job


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated(0)


def _end_with_parent() -> None:
    """End at once if the parent process was killed: another run may begin."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
