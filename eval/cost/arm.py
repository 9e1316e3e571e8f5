"""What one arm of the cost benchmark is, and what comes out of it: values that travel between processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pca_protect.config import Precision, ProtectConfig
from pca_protect.eval.cost.random_unet import RandomUnet
from pca_protect.io.picture import Picture

MODE = ProtectConfig.mode
"""Of every arm that is this program or the published loop; methods have their own."""

Run = Callable[[int, Callable[[], None]], object]
"""Called with (steps, what to call after each of them)."""

Prepared = tuple[Run, str, torch.dtype]
"""A run with everything loaded, and the name and precision of the encoder as resolved."""


@dataclass(frozen=True)
class Arm:
    """What to run.

    Attributes:
        name: `bare`: forward and input gradient of the encoder, nothing else. `paper`, `balanced`, `fast`: a whole `protect`
            with this preset. `published`: the authors' loop. `ours`: our loop with the preset `paper`, so step for step the
            same; `ours-little-memory` with checkpoints, `ours-compiled` with an encoder that `torch.compile` translated,
            `ours-fast` with as many steps as the preset `fast` takes.
            Anything else is a method of `eval/arms/registry.py`, optimised as published posterior collapse is.
        vae: what `load_surrogate` takes; for `published` a diffusers folder.
        picture: what to run on, repeated to fill a batch.
        device: resolved; a CUDA device other than the current one with its index.
        unet: for methods that look through one, and for no other arm: an embedded editor, whose own copy of `vae` then
            stands in front of it, or random weights behind `vae`.
    """

    name: str
    vae: str
    picture: Picture
    device: str
    precision: Precision
    steps: int
    rounds: int
    threads: int
    batch: int = 1
    unet: str | RandomUnet | None = None


@dataclass(frozen=True)
class Measured:
    """What came out.

    Attributes:
        vae, precision: as resolved.
        seconds: wall seconds of each run of all steps, for the whole batch, model loaded and warmed up. What a method has
            to find out about the clean picture before its first step is part of it.
        weights_megabytes: memory after loading, before the first step (of the device's allocator on CUDA, of the process
            elsewhere, there with Python and PyTorch themselves).
        peak_megabytes: the same at its highest.
        note: empty, or why there are no seconds.
        first_seconds: wall seconds of the first step, with what is compiled, chosen and allocated in it.
        operations: of a step, see `operations_of_step`.
        matrix_rate: operations a second that the device does at best in this precision, see `matrix_rate`.
    """

    vae: str
    precision: str
    seconds: list[float]
    weights_megabytes: float
    peak_megabytes: float
    note: str = ""
    first_seconds: float | None = None
    operations: int | None = None
    matrix_rate: float | None = None
