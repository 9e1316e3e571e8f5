"""The Ray interface: connects to a cluster, runs a pool of workers and yields their results.

Ray Data passes each picture's bytes from a fetching task to an actor of the pool. Each actor has its own encoder and writes
its outputs itself, so only records are returned. Ray retries the tasks of a lost worker without limit. Attempts are therefore
counted, and a picture that repeatedly crashes its worker is reported as failed.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pca_protect.cluster.fetch import Counter, fetch
from pca_protect.cluster.plan import Task
from pca_protect.cluster.storage import EXTRA
from pca_protect.config import ProtectConfig
from pca_protect.errors import DeviceError, ModelError, PcaProtectError, UsageError, first_line

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.data import Dataset

    from pca_protect.cluster.worker import Result, WorkerConfig

_TOGETHER_ON_GPU = 16
_TASKS_A_BLOCK = 64


def require_ray() -> None:
    """Raises:
    UsageError: the extra is missing.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # opt out of Ray's usage statistics
    # Ray's C++ backend logs to stderr; the log files in /tmp/ray are complete.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray.data  # noqa: F401, PLC0415 - of an extra
    except ImportError as error:
        raise UsageError(
            f"`engine=ray` needs a package that is not installed ({first_line(error)}); run {EXTRA}"
        ) from error


def results_of(
    tasks: Sequence[Task], worker_config: WorkerConfig, *, workers: int | None, address: str | None
) -> Generator[Result, None, None]:
    """Yield the result of every task in order of completion.

    Args:
        workers, address: see `cluster.run`.

    Raises:
        ModelError: a worker loaded a different encoder.
        DeviceError: the cluster cannot be reached, or ended the run.
    """
    import ray  # noqa: PLC0415 - of an extra

    with _connected(address, workers):
        pool = _pool(worker_config.config, workers, ray.cluster_resources())  # type: ignore[no-untyped-call]
        try:
            for row in _dataset(tasks, worker_config, pool).iter_rows():
                yield pickle.loads(row["result"])  # trusted: pickled by our workers
        except ray.exceptions.RayError as error:
            raise _explained(error) from error


@dataclass(frozen=True)
class _Pool:
    size: int
    num_gpus: int

    @property
    def num_cpus(self) -> int:
        return 0 if self.num_gpus else 1


def _pool(config: ProtectConfig, workers: int | None, resources: dict[str, float]) -> _Pool:
    gpus = int(resources.get("GPU", 0))
    on_gpu = config.device.startswith("cuda") or (config.device == "auto" and gpus > 0)
    available = 1 if config.device == "mps" else gpus if on_gpu else int(resources.get("CPU", 0))
    return _Pool(workers or max(1, available), 1 if on_gpu else 0)


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[None]:
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
        quiet |= {"include_dashboard": False, "num_cpus": workers}
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


def _dataset(tasks: Sequence[Task], worker_config: WorkerConfig, pool: _Pool) -> Dataset:
    """The Ray Data pipeline, with one block per picture: results arrive immediately, and a lost worker loses only its own."""
    import ray  # noqa: PLC0415 - of an extra
    from ray.data import ActorPoolStrategy, DataContext  # noqa: PLC0415

    from pca_protect.cluster.worker import Protector  # noqa: PLC0415 - torch

    for name in ("ray.data", "ray.data.dataset"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = 1
    counter: Any = ray.remote(Counter).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    blocks = max(min(len(tasks), 2 * pool.size), math.ceil(len(tasks) / _TASKS_A_BLOCK))
    with DataContext.current(context):
        rows = ray.data.from_items([{"task": pickle.dumps(task)} for task in tasks], override_num_blocks=blocks)
        fetched = rows.map_batches(fetch, batch_size=1, num_cpus=0, concurrency=min(blocks, 2 * pool.size))
        return fetched.map_batches(
            Protector,
            fn_constructor_args=(worker_config, _RemoteTries(counter)),
            batch_size=worker_config.config.batch or (_TOGETHER_ON_GPU if pool.num_gpus else 1),
            compute=ActorPoolStrategy(min_size=1, max_size=pool.size, initial_size=pool.size),
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
        )


class _RemoteTries:
    """An `AttemptTracker` that calls a `Counter` actor."""

    def __init__(self, counter: ActorHandle[Any]) -> None:
        self._counter = counter

    def together(self, urls: Sequence[str]) -> bool:
        return bool(self._ask("together", urls))

    def alone(self, url: str) -> int:
        return int(str(self._ask("alone", url)))

    def end(self, urls: Sequence[str]) -> None:
        self._ask("end", urls)

    def _ask(self, method: str, argument: object) -> object:
        import ray  # noqa: PLC0415 - of an extra

        return ray.get(getattr(self._counter, method).remote(argument))


def _explained(error: Exception) -> PcaProtectError:
    """The error of this package that a worker raised, else one with the first line of Ray's message."""
    ours = re.findall(r"pca_protect\.errors\.(\w+): (.+)", str(error))
    if ours:
        name, sentence = ours[-1]
        return (ModelError if name == "ModelError" else DeviceError)(sentence)
    return DeviceError(f"the Ray cluster ended the run ({first_line(error)}); run the same command again to resume")
