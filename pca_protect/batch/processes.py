"""Ranks and communication of several processes on one machine, started by `accelerate launch` or `torchrun`.

A single process has no overhead: torch is imported only if the launcher's environment variables announce several processes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, TypeVar

from pca_protect.config import Device
from pca_protect.errors import DeviceError, PcaProtectError

T = TypeVar("T")

_TIMEOUT = timedelta(days=30)
"""Timeout of collectives. It is long because one process may still have large pictures when others are done; a process that
dies is detected immediately."""


class Processes(Protocol):
    """The processes of a run. A `PcaProtectError` raised through these methods is raised in every process."""

    rank: int
    world: int

    def from_first(self, make: Callable[[], T]) -> T:
        """Call `make` in the first process; return or raise its result in every process."""

    def gather(self, value: T) -> list[T]:
        """The values of all processes, ordered by rank, in every process."""


def rank_and_world() -> tuple[int, int]:
    """Rank and number of processes, from the launcher's environment variables; `(0, 1)` without a launcher."""
    variables = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")]
    rank, world = (int(text) if text.isdigit() else 0 for text in variables)
    return (rank, world) if 0 <= rank < world else (0, 1)


@contextmanager
def all_processes(device: Device) -> Iterator[Processes]:
    """The processes of this run. All of them leave the context together.

    Raises:
        DeviceError: another process died.
    """
    if rank_and_world()[1] == 1:
        yield _SingleProcess()
        return
    group = _ProcessGroup(device)
    try:
        yield group
    except PcaProtectError:  # raised in every process
        group.leave()
        raise
    group.leave()


class _SingleProcess:
    rank = 0
    world = 1

    def from_first(self, make: Callable[[], T]) -> T:
        return make()

    def gather(self, value: T) -> list[T]:
        return [value]


class _ProcessGroup:
    def __init__(self, device: Device) -> None:
        import torch  # noqa: PLC0415 - not for a single process
        import torch.distributed  # noqa: PLC0415
        from accelerate import PartialState  # noqa: PLC0415

        for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):  # unused with gloo; accelerate requires them on some cards
            os.environ.setdefault(name, "1")
        cpu = device in ("cpu", "mps") or not torch.cuda.is_available()
        # Only small objects are exchanged, so gloo suffices on GPUs too. PartialState selects this process's GPU.
        state = PartialState(cpu=cpu, backend="gloo", timeout=_TIMEOUT)
        self.rank: int = state.process_index
        self.world: int = state.num_processes
        self._distributed = torch.distributed
        self._broken = False

    def from_first(self, make: Callable[[], T]) -> T:
        made: list[tuple[T | None, PcaProtectError | None]] = [(None, None)]
        if self.rank == 0:
            try:
                made = [(make(), None)]
            except PcaProtectError as error:
                made = [(None, error)]
        with self._detecting_failure():
            self._distributed.broadcast_object_list(made, src=0)
        ((value, failure),) = made
        if failure is not None:
            raise failure
        return value  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        values: list[T] = [value] * self.world
        with self._detecting_failure():
            self._distributed.all_gather_object(values, value)
        return values

    def leave(self) -> None:
        """Wait for the others, then leave the group. Ignores SIGTERM from here on: the launcher sends it once a process exits
        with an error, but the others exit with the same code, and the first must still print its summary."""
        if self._broken:
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.gather(None)
        self._distributed.destroy_process_group()

    @contextmanager
    def _detecting_failure(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo's error for a closed connection
            self._broken = True
            raise DeviceError(
                "another process of this run ended early; finished pictures are kept, run the same command again"
            ) from error
