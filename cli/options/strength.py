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
            "Reduce the change to the least that shifts the latent GAIN times as far as random noise does, on every encoder and "
            "at every scale; stop early once it is reached. A preset's name stands for the gain that it reaches on the picture."
        ),
        show_default=False,
    ),
]
Survive = Annotated[
    str | None,
    _strength(
        metavar="|".join(SURVIVE),
        autocompletion=starting(SURVIVE),
        help=f"Processing that the protection has to survive. {_SURVIVE}.",
        show_default=False,
    ),
]
ForUnknown = Annotated[
    bool,
    _strength(
        "--for-unknown",
        help="With several --vae: optimise for encoders that are not given; weakens the protection against those that are.",
    ),
]
Universal = Annotated[
    str,
    _strength(
        metavar="auto|never|FILE",
        autocompletion=starting(("auto", "never")),
        help=(
            "Universal perturbation for the presets instant and fast. `auto` takes the one in `pca-protect universal "
            "list`; for a folder it first trains a missing one on the folder's pictures if that saves time. never: none."
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
        help="Target variance of the published loss: a number, or `posterior` for the clean picture's. Default: the mode's.",
        show_default=False,
    ),
]
UpOrDown = Annotated[
    str | None,
    _strength(
        metavar="up|down",
        autocompletion=starting(("up", "down")),
        help="Maximise (up) or minimise (down) the loss. Default: the mode's direction.",
        show_default=False,
    ),
]
Scales = Annotated[
    str | None,
    _strength(
        metavar="PX,...",
        help=(
            "Sizes at which editors process the picture: its shorter side in pixels, `1mp` (about one megapixel) or "
            "`native` (its "
            "own), such as 512,1mp,native. The loss is averaged over them.  [default: native; 1mp,native for families "
            "and programs that resize to it]"
        ),
        show_default=False,
    ),
]
Seed = Annotated[int, _strength(metavar="N", help="Seed of the noise control and of random transforms.")]
