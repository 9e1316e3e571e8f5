"""Options under `Encoders and device` in the help."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pca_protect.cli.options.completion import starting

_device = partial(typer.Option, rich_help_panel="Encoders and device")

Tile = Annotated[
    int, _device(metavar="PX", help="Largest side of a window; larger pictures are processed in overlapping windows.")
]
MaxMemory = Annotated[
    int | None,
    _device(metavar="MB", help="Memory limit; windows and batches are made smaller to fit.", show_default=False),
]
Batch = Annotated[
    int | None,
    _device(metavar="N", help="Number of pictures of one size to process at once.", show_default=False),
]
DeviceName = Annotated[
    str,
    _device(
        metavar="auto|cpu|cuda[:N]|mps",
        help="Compute device.",
        autocompletion=starting(("auto", "cpu", "cuda", "mps")),
    ),
]
PrecisionName = Annotated[
    str,
    _device(
        metavar="auto|fp32|bf16|fp16",
        help="Floating-point precision of the encoder.",
        autocompletion=starting(("auto", "fp32", "bf16", "fp16")),
    ),
]
Offline = Annotated[bool, _device("--offline", help="Use no network: embedded, local and cached models only.")]
NoFallback = Annotated[
    bool,
    _device(
        "--no-fallback",
        help="If `auto` cannot use the Stable Diffusion VAE, exit with code 3 instead of using a test model.",
    ),
]
NoEvaluate = Annotated[
    bool, _device("--no-evaluate", help="Skip the comparison of the result with random noise; the pixels are the same.")
]
