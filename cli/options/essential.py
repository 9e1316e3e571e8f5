"""Arguments and options under `Pictures` and `Main options` in the help."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pca_protect.batch.device_choice import AUTO_PRESET
from pca_protect.batch.request import EXISTING
from pca_protect.cli.options.completion import starting
from pca_protect.modes import MODES
from pca_protect.presets import PRESETS
from pca_protect.surrogates.families import FAMILIES, PROGRAMS
from pca_protect.surrogates.registry import REGISTRY

_main = partial(typer.Option, rich_help_panel="Main options")
_MODES = "; ".join(f"{name}: {mode.aim}" for name, mode in MODES.items())

Pictures = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PICTURE",
        rich_help_panel="Pictures",
        help=(
            "Pictures to protect, folders of them, or quoted patterns such as 'photos/**/*.jpg'. `-` is a picture on standard "
            "input."
        ),
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    _main(
        "-o",
        "--output",
        metavar="PATH",
        help=(
            "Output file (.png, .webp or .tiff) or folder; `-` is standard output. The same command with the same folder "
            "resumes a stopped run. Default: NAME.protected.png beside the picture."
        ),
        show_default=False,
    ),
]
Recursive = Annotated[bool, _main("-r", "--recursive", help="Include subfolders.")]
ModeName = Annotated[str, _main(metavar="NAME", help=f"Objective. {_MODES}.", autocompletion=starting(MODES))]
Preset = Annotated[
    str,
    _main(
        metavar="NAME",
        help=(
            f"Speed or strength, from the fastest: {', '.join(name for name in PRESETS if name != 'paper')}; paper is the "
            "published "
            "method. `auto`: thorough on CUDA, balanced on MPS, fast on the CPU and there for the size at which editors work."
        ),
        autocompletion=starting((AUTO_PRESET, *PRESETS)),
    ),
]
Budget = Annotated[
    int, _main(metavar="LEVELS", help="Largest change of any colour channel of any pixel, in levels of 255 (L-inf).")
]
Vaes = Annotated[
    list[str],
    _main(
        "--vae",
        metavar="NAME",
        help=(
            "Image encoder (VAE) of the editors to protect against: a name from `pca-protect vaes`, such as classic or today, a "
            "Hugging Face id or a file. Repeatable. `auto`: that of Stable Diffusion; if it is unavailable, a test model, whose "
            "output NAME.test-only.png is not protected.  [default: auto]"
        ),
        autocompletion=starting(sorted({"auto", *REGISTRY, *FAMILIES, *PROGRAMS})),
        show_default=False,
    ),
]
MaxVisibility = Annotated[
    float | None,
    _main(
        metavar="LEVELS",
        help=(
            "Limit on the visibility of the change, as the equally visible step of brightness on a flat patch, in levels: 0.5 is "
            "hard to see; noise of the default budget has about 1.5. Default: no limit."
        ),
        show_default=False,
    ),
]
Region = Annotated[
    str | None,
    _main(
        metavar="face|center|X,Y,W,H",
        autocompletion=starting(("face", "center")),
        help="Region to protect: face, center (the middle half of each side), or X,Y,W,H in pixels from the upper left. "
        "Default: the whole picture.",
        show_default=False,
    ),
]
Existing = Annotated[
    str,
    _main(
        metavar="|".join(EXISTING),
        autocompletion=starting(EXISTING),
        help=(
            "Outputs that exist, except those that an earlier run finished with the same settings. refuse: report an "
            "error; skip: "
            "keep them; update: replace those that this program made; overwrite: replace all. Originals are never replaced."
        ),
    ),
]
DryRun = Annotated[
    bool, _main("--dry-run", help="Print the planned outputs and the estimated time, and write nothing.")
]
