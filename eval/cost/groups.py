"""Which arms the cost benchmark has, and which of them run side by side.

Arms that are compared with one another stand together and run in turns. On the CPU an arm holds no graph between its
turns, so together they need their weights and little more than the largest of their peaks: the large methods at 512 px 16 GB,
where their peaks of 9.4, 7.6 and 3.9 GB add up to 21. On a GPU each keeps what it once had, so large methods stand alone
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pca_protect.config import PRESETS
from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.cost.arm import Arm
from pca_protect.eval.cost.config import PCA, CostConfig
from pca_protect.eval.cost.random_unet import RandomUnet
from pca_protect.eval.editors.registry import EMBEDDED
from pca_protect.eval.pictures import made_picture, pictures_in, square_picture
from pca_protect.io.picture import Picture

CUDA_BATCHES = (4, 16)
EDITOR = "pocket-editor"
RANDOM_VAE = "SD architecture, random weights"
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
