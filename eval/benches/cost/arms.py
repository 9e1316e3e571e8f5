"""The arms of the cost benchmark, their groups for comparison, and their results. All are picklable values for subprocesses.

Arms of one group run one step at a time in turn. On the CPU an arm keeps no graph between steps, so a group needs the weights of
all arms plus about the largest peak: 16 GB for the large methods at 512 px, whose peaks of 9.4, 7.6 and 3.9 GB add up to 21. On a
GPU the caching allocator of each process keeps its peak, so large methods run alone there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pca_protect.config import ProtectConfig
from pca_protect.device_names import Precision
from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.benches.cost.config import PCA, CostConfig
from pca_protect.eval.benches.cost.random_models import RANDOM_VAE, RandomUnet
from pca_protect.eval.editors.registry import EMBEDDED
from pca_protect.eval.pictures import made_picture, pictures_in, square_picture
from pca_protect.io.picture import Picture
from pca_protect.presets import PRESETS

MODE = ProtectConfig.mode
"""Mode of all arms of this program and of the published loop; methods have their own."""

Run = Callable[[int, Callable[[], None]], object]
"""Called with (number of steps, callback after each step)."""

Prepared = tuple[Run, str, torch.dtype]
"""A run with all models loaded, and the resolved name and precision of the encoder."""


@dataclass(frozen=True)
class Arm:
    """One configuration to time.

    Attributes:
        name: `bare`: forward pass and input gradient of the encoder only; `diffusers`: those of diffusers' encoder. `paper`,
            `balanced`, `fast`: a complete `protect` with this preset. `published`: the authors' loop. `ours`: our loop with the
            preset `paper`, hence the same steps;
            `ours-little-memory` with gradient checkpoints, `ours-compiled` with an encoder under `torch.compile`,
            `ours-fast` with the number of steps of the preset `fast`.
            Any other name is a method of `eval/arms/registry.py`, with the optimiser of published posterior collapse.
        vae: a name for `load_surrogate`; for `published` a diffusers folder.
        picture: the input, repeated to fill a batch.
        device: resolved; a CUDA device other than the current one has an index.
        unet: only for methods that use one: an embedded editor, with its own copy of `vae`, or a random UNet behind `vae`.
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
    """The measurements of one arm.

    Attributes:
        vae, precision: as resolved.
        seconds: wall seconds of each run of all steps, for the whole batch, after loading and warm-up. Includes a method's
            computations on the clean picture before its first step.
        weights_megabytes: memory after loading, before the first step: on CUDA of the device's allocator, elsewhere of the
            process, including Python and PyTorch.
        peak_megabytes: peak of the same memory.
        note: empty, or the reason for missing seconds.
        first_seconds: wall seconds of the first step, including compilation, algorithm selection and allocation.
        operations: per step, see `operations_of_step`.
        matrix_rate: peak operations per second of the device in this precision, see `matrix_rate`.
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
    imports_torch: whether it imports torch, according to `python -X importtime`.
    """

    seconds: float
    imports_torch: bool


CUDA_BATCHES = (4, 16)
EDITOR = "pocket-editor"
LARGE_METHODS = ("advdm", "sds-minus", PCA)
"""One method that differentiates the UNet, one that only runs it, and one without. A step of the large architecture is too slow
to time further methods of equal cost."""


def groups_of(config: CostConfig, device: torch.device) -> list[list[Arm]]:
    """All arms, grouped by those that run in turn.

    Raises:
        UsageError, PictureError: no picture can be read.
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
        groups += [[replace(bf16, batch=batch)] for batch in CUDA_BATCHES]  # one per group: together they may not fit
    for size_px in config.sizes_px:
        first = replace(bare, vae=EMBEDDED[EDITOR], picture=_picture(config, size_px), precision="fp32")
        groups.append(_methods(first, config.methods, EDITOR))
    if config.unet_block_out_channels is not None:
        unet = RandomUnet(config.unet_block_out_channels, config.seed)
        large = _methods(published, [name for name in LARGE_METHODS if name in config.methods], unet)
        groups += [large] if device.type == "cpu" else [[arm] for arm in large]
    return groups


def _methods(like: Arm, names: Sequence[str], unet: str | RandomUnet) -> list[Arm]:
    """Copies of this arm under each method's name, with a UNet only if the method uses one."""
    return [replace(like, name=name, unet=unet if ARMS[name].needs == "denoiser" else None) for name in names]


def _picture(config: CostConfig, size_px: int) -> Picture:
    if config.images is None:
        return made_picture(size_px, config.seed)
    return square_picture(pictures_in(Path(config.images))[0], size_px)
