"""Arms of a comparison in processes of their own, one step at a time in turns: what else the machine does meanwhile
slows all of them alike, and each one's memory is its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from types import TracebackType

from pca_protect.errors import DeviceError, PcaProtectError
from pca_protect.eval.cost.arm import Arm, Measured
from pca_protect.eval.cost.process import serve


def run_in_turns(arms: Sequence[Arm], *, on_turn: Callable[[], None]) -> list[Measured]:
    """Run all arms to their end. `on_turn` is called after every step of any of them, loading and warming up included.

    Raises:
        PcaProtectError: what an arm raised.
        DeviceError: an arm's process died.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(_ArmProcess(arm)) for arm in arms]
        waiting = list(processes)
        while waiting:
            for process in list(waiting):
                process.take_turn()
                on_turn()
                if process.measured:
                    waiting.remove(process)
        return [process.measured for process in processes if process.measured]


class _ArmProcess:
    """Starts with its first turn, so that loading one arm does not slow another."""

    def __init__(self, arm: Arm) -> None:
        context = get_context("spawn")
        self._arm = arm
        self._baton, self._its_baton = context.Pipe()
        self._process = context.Process(target=serve, args=(self._its_baton,), daemon=True)
        self._started = False
        self.measured: Measured | None = None

    def take_turn(self) -> None:
        try:
            if self._started:
                self._baton.send(None)
            else:
                self._process.start()
                self._its_baton.close()
                self._started = True
                self._baton.send(self._arm)
            answer = self._baton.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._process.join()
            raise DeviceError(
                f"the process of arm `{self._arm.name}` ended with exit code {self._process.exitcode}; "
                "if the machine ran out of memory, try a smaller --size"
            ) from error
        if isinstance(answer, PcaProtectError):
            raise answer
        self.measured = answer

    def __enter__(self) -> _ArmProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._baton.close()
        if self._started:
            self._process.terminate()
            self._process.join()
