"""Options under `Strength` in the help."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pca_protect.cli.options.completion import starting
from pca_protect.presets import SURVIVE

_strength = partial(typer.Option, rich_help_panel="Strength")
_SURVIVE = "; ".join(f"{name}: {processing.summary}" for name, processing in SURVIVE.items())

Until = Annotated[
    str | None,
    _strength(
        metavar="GAIN|PRESET",
        help=(
            "Stop when the latent shift is GAIN times that of random noise on every encoder and at every scale, and scale the "
            "change down to it. A preset's name takes the gain that this preset reaches on the picture."
        ),
        show_default=False,
    ),
]
Survive = Annotated[
    str | None,
    _strength(
        metavar="|".join(SURVIVE),
        autocompletion=starting(SURVIVE),
        help=f"Make the protection survive processing. {_SURVIVE}.",
        show_default=False,
    ),
]
ForUnknown = Annotated[
    bool,
    _strength(
        "--for-unknown",
        help="With several --vae: protect against encoders that are not given, at the price of strength on those that are.",
    ),
]
Universal = Annotated[
    str,
    _strength(
        metavar="auto|never|FILE",
        autocompletion=starting(("auto", "never")),
        help=(
            "Universal perturbation of the presets instant and fast. `auto` takes the one in `pca-protect universal list`; for a "
            "folder it trains a missing one on the folder's pictures first if that pays."
        ),
    ),
]
Steps = Annotated[
    int | None,
    _strength(metavar="N", help="Number of gradient steps. Default: the preset's.", show_default=False),
]
TargetVariance = Annotated[
    str | None,
    _strength(
        metavar="V",
        help="Target variance of the loss: a number, or `posterior` for that of the clean picture. Default: the mode's.",
        show_default=False,
    ),
]
UpOrDown = Annotated[
    str | None,
    _strength(
        metavar="up|down",
        autocompletion=starting(("up", "down")),
        help="Ascend or descend the loss. Default: the mode's direction.",
        show_default=False,
    ),
]
Scales = Annotated[
    str | None,
    _strength(
        metavar="PX,...",
        help=(
            "Sizes at which editors process the picture, as pixels of its shorter side, `1mp` (about one megapixel) or `native`, "
            "such as 512,1mp,native. The loss is averaged over them.  [default: native; 1mp,native for families and programs "
            "that resize to it]"
        ),
        show_default=False,
    ),
]
Seed = Annotated[int, _strength(metavar="N", help="Seed of the noise control and of random transforms.")]
