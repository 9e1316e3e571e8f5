"""What the arms of the cost benchmark are, which of them run side by side, and what comes out of them: values that travel
between processes.

Arms that are compared with one another run in turns. On the CPU an arm holds no graph between its turns, so together they
need their weights and little more than the largest of their peaks: the large methods at 512 px 16 GB, where their peaks of
9.4, 7.6 and 3.9 GB add up to 21. On a GPU each keeps what it once had, so large methods run alone there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pca_protect.config import PRESETS, Precision, ProtectConfig
from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.benches.cost.config import PCA, CostConfig
from pca_protect.eval.benches.cost.random_models import RANDOM_VAE, RandomUnet
from pca_protect.eval.editors.registry import EMBEDDED
from pca_protect.eval.pictures import made_picture, pictures_in, square_picture
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


@dataclass(frozen=True)
class Startup:
    """Attributes:
    seconds: median wall seconds of `protect --help`.
    imports_torch: whether it does, by Python's own log of imports.
    """

    seconds: float
    imports_torch: bool


CUDA_BATCHES = (4, 16)
EDITOR = "pocket-editor"
LARGE_METHODS = ("advdm", "sds-minus", PCA)
"""One that differentiates the UNet, one that only runs it, one that has none: a step of the large architecture is too
slow to measure methods that cost the same."""


def groups_of(config: CostConfig, device: torch.device) -> list[list[Arm]]:
    """All arms, those that run side by side together.

    Raises:
        UsageError, PictureError: there is no picture to be had.
    """
    bare = Arm(
        name="bare",
        vae=config.vae,
        picture=_picture(config, config.size_px),
        device=str(device),
        precision="auto",
        steps=config.steps,
        rounds=config.rounds,
        threads=torch.get_num_threads(),
    )
    # One step of the large architecture takes half a minute on a CPU core, and a fraction of a second on a GPU.
    steps = 1 if device.type == "cpu" else config.steps
    published = replace(bare, name="published", vae=RANDOM_VAE, precision="fp32", steps=steps)
    ours = replace(published, name="ours")
    little = replace(ours, name="ours-little-memory")
    groups = [[bare, replace(bare, name="paper"), replace(bare, name="balanced")], [published, ours, little]]
    if device.type == "cuda":
        groups[0].append(replace(bare, name="fast", steps=PRESETS["fast"].steps))
        bf16 = replace(ours, precision="bf16")
        fewer = replace(bf16, name="ours-fast", steps=PRESETS["fast"].steps)
        groups[-1] += [bf16, replace(bf16, name="ours-compiled"), fewer]
        groups += [[replace(bf16, batch=batch)] for batch in CUDA_BATCHES]  # one by one: they may not fit together
    for size_px in config.sizes_px:
        first = replace(bare, vae=EMBEDDED[EDITOR], picture=_picture(config, size_px), precision="fp32")
        groups.append(_methods(first, config.methods, EDITOR))
    if config.unet_block_out_channels is not None:
        unet = RandomUnet(config.unet_block_out_channels, config.seed)
        large = _methods(published, [name for name in LARGE_METHODS if name in config.methods], unet)
        groups += [large] if device.type == "cpu" else [[arm] for arm in large]
    return groups


def _methods(like: Arm, names: Sequence[str], unet: str | RandomUnet) -> list[Arm]:
    """Arms like this one, each with a UNet only if it looks through it."""
    return [replace(like, name=name, unet=unet if ARMS[name].needs == "denoiser" else None) for name in names]


def _picture(config: CostConfig, size_px: int) -> Picture:
    if config.images is None:
        return made_picture(size_px, config.seed)
    return square_picture(pictures_in(Path(config.images))[0], size_px)
