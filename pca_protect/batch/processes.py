"""Several processes on one machine, started by `accelerate launch` or `torchrun`: who is who, and what they tell each other.

A process alone pays nothing for this: torch is imported only where the launcher's variables say that there are others.
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

_PATIENCE = timedelta(days=30)
"""One process may have large pictures left when the others are done. A process that dies is noticed at once."""


class Processes(Protocol):
    """The processes of a run. Whatever is raised as `PcaProtectError` through these is raised in all of them."""

    rank: int
    world: int

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns or raises in the first process, in all of them."""

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank, in all of them."""


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are, from the launcher's variables."""
    variables = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")]
    rank, world = (int(text) if text.isdigit() else 0 for text in variables)
    return (rank, world) if 0 <= rank < world else (0, 1)


@contextmanager
def all_processes(device: Device) -> Iterator[Processes]:
    """The processes of this run, to be left by all of them together.

    Raises:
        DeviceError: one of them is gone.
    """
    if rank_and_world()[1] == 1:
        yield _Alone()
        return
    together = _Together(device)
    try:
        yield together
    except PcaProtectError:  # which all of them raise
        together.part()
        raise
    together.part()


class _Alone:
    rank = 0
    world = 1

    def from_first(self, make: Callable[[], T]) -> T:
        return make()

    def gather(self, value: T) -> list[T]:
        return [value]


class _Together:
    def __init__(self, device: Device) -> None:
        import torch  # noqa: PLC0415 - a process alone does not pay for it here
        import torch.distributed  # noqa: PLC0415
        from accelerate import PartialState  # noqa: PLC0415

        for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):  # not used here; accelerate insists on some cards
            os.environ.setdefault(name, "1")
        cpu = device in ("cpu", "mps") or not torch.cuda.is_available()
        # Nothing but small objects is exchanged, so gloo serves GPUs as well; it sets this process's GPU as the current one.
        state = PartialState(cpu=cpu, backend="gloo", timeout=_PATIENCE)
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
        with self._noticing():
            self._distributed.broadcast_object_list(made, src=0)
        ((value, failure),) = made
        if failure is not None:
            raise failure
        return value  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        values: list[T] = [value] * self.world
        with self._noticing():
            self._distributed.all_gather_object(values, value)
        return values

    def part(self) -> None:
        """Wait for the others. From here on a launcher that ends those still there, because one left with an exit code,
        is not listened to: they are leaving with the same one, and the first may have something to say."""
        if self._broken:
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.gather(None)
        self._distributed.destroy_process_group()

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what gloo raises when a connection is closed
            self._broken = True
            raise DeviceError(
                "another process of this run ended early; what is finished is kept, run the same command again"
            ) from error
