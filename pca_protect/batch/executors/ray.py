"""Executes a run on a Ray cluster. Needs the extra `cluster`.

Each worker is an actor with its own encoder that runs the pipeline on a few pictures at a time, reads them from their store and
writes its outputs itself, so only records are returned.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pca_protect.batch.executors.dispatch import Dispatch, SameEncoder
from pca_protect.batch.executors.execution import Execution
from pca_protect.batch.outcome import EncoderInfo, Outcome
from pca_protect.config import ProtectConfig
from pca_protect.errors import DeviceError, PcaProtectError, UsageError, first_line
from pca_protect.io.plan import Job

if TYPE_CHECKING:
    from pca_protect.batch.worker import WorkerConfig

_TOGETHER_ON_GPU = 16
_PIPELINES = 2
"""Calls of an actor at the same time: one optimises while the other reads and writes."""


def require_ray() -> None:
    """Raises:
    UsageError: the extra is missing.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # opt out of Ray's usage statistics
    # Ray's C++ backend logs to stderr; the log files in /tmp/ray are complete.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the coming default; its absence is a warning
    try:
        import ray  # noqa: F401, PLC0415 - of an extra
    except ImportError as error:
        raise UsageError(
            f"`engine=ray` needs a package that is not installed ({first_line(error)}); run pip install 'pca-protect[cluster]'"
        ) from error


def execute(execution: Execution, *, jobs: int | None, address: str | None) -> None:
    """Protect pictures on a cluster. See `Executor`.

    Args:
        jobs: number of workers, each with one GPU if there are any, else one CPU core; None for all of them.
        address: address of a Ray cluster; None for RAY_ADDRESS, or if that is unset, Ray on this machine only.

    Raises:
        UsageError: the number of workers has to be given.
        DeviceError: the cluster cannot be reached, or ended the run.
    """
    import ray  # noqa: PLC0415 - of an extra

    with _connected(address, jobs):
        size = _pool_size(execution.work.config, jobs, ray.cluster_resources())  # type: ignore[no-untyped-call]
        pool = _Pool(execution, size)
        try:
            pool.run()
        except ray.exceptions.RayError as error:
            raise DeviceError(
                f"the Ray cluster ended the run ({first_line(error)}); run the same command again to resume"
            ) from error
        finally:
            pool.end()


class Protector:
    """The actor: loads the encoder once and protects pictures.

    Args:
        folder: current folder of the run, for relative names.
    """

    def __init__(self, work: WorkerConfig, in_folder: str, name: str, folder: str) -> None:
        self._work = work
        with suppress(OSError):  # absolute names work without it
            os.chdir(folder)
        self._in_folder = in_folder
        self._name = name

    def load(self) -> EncoderInfo | PcaProtectError:
        """Load the encoder."""
        from contextlib import ExitStack  # noqa: PLC0415

        from pca_protect.batch.ledger import Segment  # noqa: PLC0415
        from pca_protect.batch.output_lock import worker_lock  # noqa: PLC0415
        from pca_protect.batch.worker import stages_of  # noqa: PLC0415 - torch

        try:
            surrogate = self._work.load()
        except PcaProtectError as error:
            return error
        segment = None
        if self._in_folder:
            self._held = ExitStack()
            self._held.enter_context(worker_lock(Path(self._in_folder), self._name))
            segment = Segment(Path(self._in_folder), self._name)
        self._stages = stages_of(self._work, lambda: surrogate, segment=segment)
        return EncoderInfo.of(surrogate)

    def protect(self, jobs: list[Job]) -> list[Outcome] | PcaProtectError:
        """The outcomes of some pictures, or the error that ends the run."""
        from pca_protect.batch.pipeline import run_pipeline  # noqa: PLC0415 - torch

        outcomes: list[Outcome] = []
        try:
            run_pipeline(jobs, self._stages, outcomes.append)
        except PcaProtectError as error:
            return error
        return outcomes

    def close(self) -> None:
        """Release the lock."""
        if self._in_folder:
            self._held.close()


@dataclass
class _Worker:
    """An actor; `alone` if it tries suspects one by one. `calls` are the references of its unfinished calls."""

    number: int
    actor: Any
    alone: bool
    calls: set[Any] = field(default_factory=set)


class _Pool:
    def __init__(self, execution: Execution, size: int) -> None:
        self._execution = execution
        self._dispatch = Dispatch(execution.jobs)
        self._size = min(size, len(execution.jobs))
        on_gpu = _on_gpu(execution.work.config)
        self._resources = {"num_cpus": 0, "num_gpus": 1} if on_gpu else {"num_cpus": 1, "num_gpus": 0}
        self._together = execution.work.config.batch or (_TOGETHER_ON_GPU if on_gpu else 1)
        self._workers: dict[int, _Worker] = {}
        self._same = SameEncoder()
        self._started = 0

    def run(self) -> None:
        import ray  # noqa: PLC0415 - of an extra

        for _ in range(self._size):
            self._start()
        while calls := {call: worker for worker in self._workers.values() for call in worker.calls}:
            ready, _ = ray.wait(list(calls), num_returns=1)
            worker = calls[ready[0]]
            try:
                result = ray.get(ready[0])
            except ray.exceptions.RayActorError as error:
                self._lost(worker, first_line(error))
                continue
            worker.calls.discard(ready[0])
            self._take(worker, result)

    def end(self) -> None:
        """End the actors."""
        import ray  # noqa: PLC0415 - of an extra

        for worker in self._workers.values():
            ray.kill(worker.actor)

    def _start(self, *, alone: bool = False) -> None:
        import ray  # noqa: PLC0415 - of an extra

        number = self._started
        self._started += 1
        execution = self._execution
        options: dict[str, Any] = {**self._resources, "max_restarts": 0, "max_concurrency": _PIPELINES}
        remote: Any = ray.remote(Protector).options(**options)  # ray's types do not know methods of actors
        name = f"{execution.run}-{number}"
        actor = remote.remote(execution.work, execution.in_folder, name, str(Path.cwd()))
        self._workers[number] = _Worker(number, actor, alone, {actor.load.remote()})

    def _take(self, worker: _Worker, result: EncoderInfo | PcaProtectError | list[Outcome]) -> None:
        """Take the result of a call, and make the next ones."""
        if isinstance(result, PcaProtectError):
            raise result
        if isinstance(result, EncoderInfo):
            if self._same.check(result):
                self._execution.loaded(result)
        else:
            for outcome in result:
                self._dispatch.settle(worker.number, outcome)
                self._execution.report(outcome)
        while len(worker.calls) < (1 if worker.alone else _PIPELINES):
            jobs = self._next_jobs(worker)
            if not jobs:
                break
            worker.calls.add(worker.actor.protect.remote(jobs))
        if not worker.calls:
            self._finish(worker)

    def _next_jobs(self, worker: _Worker) -> list[Job]:
        if self._execution.stopping():
            return []
        number = 1 if worker.alone else self._together
        jobs = (self._dispatch.take(worker.number, alone=worker.alone) for _ in range(number))
        return [job for job in jobs if job is not None]

    def _finish(self, worker: _Worker) -> None:
        import ray  # noqa: PLC0415 - of an extra

        ray.get(worker.actor.close.remote())
        ray.kill(worker.actor)
        del self._workers[worker.number]
        self._replace()

    def _lost(self, worker: _Worker, reason: str) -> None:
        del self._workers[worker.number]
        for failure in self._dispatch.lost(worker.number, reason):
            self._execution.report(failure)
        self._replace()

    def _replace(self) -> None:
        """Start another worker if there is work for it."""
        if self._execution.stopping():
            return
        if self._dispatch.suspects:
            self._start(alone=True)
        elif self._dispatch.pending and len(self._workers) < self._size:
            self._start()


def _on_gpu(config: ProtectConfig) -> bool:
    import ray  # noqa: PLC0415 - of an extra

    gpus = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
    return config.device.startswith("cuda") or (config.device == "auto" and gpus > 0)


def _pool_size(config: ProtectConfig, jobs: int | None, resources: dict[str, float]) -> int:
    if jobs is not None:
        return jobs
    on_gpu = config.device.startswith("cuda") or (config.device == "auto" and resources.get("GPU", 0) > 0)
    available = 1 if config.device == "mps" else int(resources.get("GPU" if on_gpu else "CPU", 0))
    if not available:
        raise UsageError(
            f"`device={config.device}`: the Ray cluster has none now; give the number of workers with `jobs`, so that the "
            "cluster can grow"
        )
    return available


@contextmanager
def _connected(address: str | None, jobs: int | None) -> Iterator[None]:
    """Use the cluster of this process if connected, else connect to `address`, else start Ray on this machine.

    Raises:
        DeviceError: the cluster cannot be reached or started.
    """
    import ray  # noqa: PLC0415 - of an extra

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        quiet |= {"include_dashboard": False, "num_cpus": jobs}
    else:
        _require_listening(address)
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise DeviceError(
            f"Ray cluster {address}: cannot be reached ({first_line(error)}); check the address and that it is running"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_listening(address: str) -> None:
    """Check that the address accepts connections. Ray itself would retry for minutes.

    Raises:
        DeviceError: the address does not.
    """
    host, separator, port = address.rpartition(":")
    if "//" in address or not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise DeviceError(
            f"Ray cluster {address}: cannot be reached ({error.strerror or error}); check the address and that it is running"
        ) from error
