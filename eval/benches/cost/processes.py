"""Arms of a comparison in processes of their own, one step at a time in turns: what else the machine does meanwhile slows all
of them alike, and each one's memory is its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType

import psutil
import torch

from pca_protect.device import is_out_of_memory, peak_megabytes, reset_peak
from pca_protect.errors import DeviceError, PcaProtectError
from pca_protect.eval.benches.cost.arms import Arm, Measured, Prepared, Run
from pca_protect.eval.benches.cost.operations import matrix_rate, operations_of_step
from pca_protect.eval.benches.cost.programs import PROGRAMS, method


def serve(baton: Connection) -> None:
    """Entry point of the process. Whoever holds the other end of `baton` decides when to go on.

    Receives an `Arm`. Sends None when ready to run it and again after every step, waiting for an answer each time, and
    in the end a `Measured`, or a `PcaProtectError` instead.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the parent, whose end then ends the waiting

    def wait_for_turn() -> None:
        baton.send(None)
        baton.recv()

    try:
        arm = baton.recv()
        try:
            baton.send(_measure(arm, wait_for_turn))
        except PcaProtectError as error:
            baton.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        return


def _measure(arm: Arm, wait_for_turn: Callable[[], None]) -> Measured:
    torch.set_num_threads(arm.threads)
    device = torch.device(arm.device)
    run, vae, dtype = _prepare(arm)
    precision = str(dtype).removeprefix("torch.")
    weights = _megabytes_now(device)
    reset_peak(device)
    try:
        first = _timed(run, 1, device, lambda: None)  # warms up: allocates, compiles, chooses algorithms
        wait_for_turn()
        seconds = [_timed(run, arm.steps, device, wait_for_turn) for _ in range(arm.rounds)]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return Measured(vae, precision, [], weights, peak_megabytes(device), "out of memory")
    peak = peak_megabytes(device)
    return Measured(
        vae,
        precision,
        seconds,
        weights,
        peak,
        first_seconds=first,
        operations=operations_of_step(run),
        matrix_rate=matrix_rate(device, dtype),
    )


def _prepare(arm: Arm) -> Prepared:
    return PROGRAMS.get(arm.name, method)(arm)


def _timed(run: Run, steps: int, device: torch.device, wait_for_turn: Callable[[], None]) -> float:
    """Wall seconds of one run, the waiting after each step not counted."""
    stopwatch = _Stopwatch(device)
    run(steps, lambda: stopwatch.paused(wait_for_turn))
    return stopwatch.stop()


class _Stopwatch:
    """Wall time with the pauses taken out; the device's queue is emptied whenever the clock is read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = 0.0
        self._start()

    def paused(self, wait: Callable[[], None]) -> None:
        self.stop()
        wait()
        self._start()

    def stop(self) -> float:
        self._synchronize()
        self._seconds += time.perf_counter() - self._started
        return self._seconds

    def _start(self) -> None:
        self._synchronize()
        self._started = time.perf_counter()

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()


def _megabytes_now(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 1e6
    if device.type == "mps":
        return torch.mps.current_allocated_memory() / 1e6
    return float(psutil.Process().memory_info().rss) / 1e6


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
