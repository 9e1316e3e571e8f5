"""One arm of the cost benchmark, in a process of its own, so that its memory is its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

import psutil
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from pca_protect import compute
from pca_protect.config import MODES, Precision, ProtectConfig
from pca_protect.errors import PcaProtectError
from pca_protect.eval.cost.published_loop import published_loop
from pca_protect.io.picture import Picture
from pca_protect.losses import posterior_collapse
from pca_protect.objective import CollapseObjective
from pca_protect.pixels import to_pixels
from pca_protect.protection import protect, run_recipe
from pca_protect.surrogates.adapter import Surrogate
from pca_protect.surrogates.load import load_surrogate

ArmName = Literal["bare", "paper", "balanced", "published", "ours"]
MODE = ProtectConfig.mode

Run = Callable[[int, Callable[[], None]], object]
"""Called with (steps, what to call after each of them)."""


@dataclass(frozen=True)
class Arm:
    """What to run.

    Attributes:
        name: `bare`: forward and input gradient of the encoder, nothing else. `paper`, `balanced`: a whole `protect` with
            this preset. `published`: the authors' loop. `ours`: our loop with the preset `paper`, so step for step the same.
        vae: what `load_surrogate` takes; for `published` a diffusers folder.
        picture: what to run on, repeated to fill a batch.
        device: resolved.
    """

    name: ArmName
    vae: str
    picture: Picture
    device: Literal["cpu", "cuda", "mps"]
    precision: Precision
    steps: int
    rounds: int
    threads: int
    batch: int = 1


@dataclass(frozen=True)
class Measured:
    """What came out.

    Attributes:
        vae, precision: as resolved.
        seconds: wall seconds of each run of all steps, for the whole batch, model loaded and warmed up.
        weights_megabytes: memory after loading, before the first step (of the device's allocator on CUDA, of the process
            elsewhere, there with Python and PyTorch themselves).
        peak_megabytes: the same at its highest.
        note: empty, or why there are no seconds.
    """

    vae: str
    precision: str
    seconds: list[float]
    weights_megabytes: float
    peak_megabytes: float
    note: str = ""


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
    run, vae, dtype = _PREPARE[arm.name](arm)
    precision = str(dtype).removeprefix("torch.")
    weights = _megabytes_now(device)
    try:
        run(1, lambda: None)  # warms up: allocates, compiles, chooses algorithms
        wait_for_turn()
        seconds = [_timed(run, arm.steps, device, wait_for_turn) for _ in range(arm.rounds)]
    except torch.OutOfMemoryError:
        return Measured(vae, precision, [], weights, compute.peak_megabytes(device), "out of memory")
    return Measured(vae, precision, seconds, weights, compute.peak_megabytes(device))


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


Prepared = tuple[Run, str, torch.dtype]


def _bare(arm: Arm) -> Prepared:
    surrogate, clean = _surrogate_and_pixels(arm)

    def run(steps: int, on_step: Callable[[], None]) -> None:
        for _ in range(steps):
            pixels = clean.clone().requires_grad_()
            posterior = surrogate.posterior(pixels)
            torch.autograd.grad(posterior_collapse(posterior.mean, posterior.logvar).sum(), pixels)
            on_step()

    return run, surrogate.name, surrogate.dtype


def _protect(arm: Arm) -> Prepared:
    surrogate = load_surrogate(arm.vae, device=arm.device, precision=arm.precision)

    def run(steps: int, on_step: Callable[[], None]) -> None:
        config = ProtectConfig(mode=MODE, preset=arm.name, steps=steps)
        protect(arm.picture, config, surrogate=surrogate, on_step=lambda done, of, loss: on_step())

    return run, surrogate.name, surrogate.dtype


def _ours(arm: Arm) -> Prepared:
    surrogate, clean = _surrogate_and_pixels(arm)

    def run(steps: int, on_step: Callable[[], None]) -> None:
        config = ProtectConfig(mode=MODE, preset="paper", steps=steps)
        objective = CollapseObjective(surrogate, *config.objective, clean)
        run_recipe(clean, objective, config, on_step=lambda done, of, values: on_step())

    return run, surrogate.name, surrogate.dtype


def _published(arm: Arm) -> Prepared:
    vae: AutoencoderKL = AutoencoderKL.from_pretrained(arm.vae).to(arm.device).eval()
    clean = to_pixels(arm.picture).to(arm.device)
    mode = MODES[MODE]
    for parameter in vae.encoder.parameters():
        parameter.detach().sum()  # weights mapped from a file come into memory, and into the count, when first read

    def run(steps: int, on_step: Callable[[], None]) -> None:
        ascend = mode.direction == "up"
        published_loop(vae, clean, target_variance=mode.target_variance, ascend=ascend, steps=steps, on_step=on_step)

    return run, arm.vae, vae.dtype


_PREPARE: dict[ArmName, Callable[[Arm], Prepared]] = {
    "bare": _bare,
    "paper": _protect,
    "balanced": _protect,
    "published": _published,
    "ours": _ours,
}


def _surrogate_and_pixels(arm: Arm) -> tuple[Surrogate, Tensor]:
    surrogate = load_surrogate(arm.vae, device=arm.device, precision=arm.precision)
    return surrogate, to_pixels(arm.picture).to(arm.device).repeat(arm.batch, 1, 1, 1)


def _megabytes_now(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 1e6
    return float(psutil.Process().memory_info().rss) / 1e6
