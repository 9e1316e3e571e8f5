"""Every option of the command line, written once; commands pick theirs by name. Defaults live in `ProtectConfig`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pca_protect.cli import console
from pca_protect.config import PRESETS, SURVIVE
from pca_protect.modes import MODES
from pca_protect.surrogates.families import FAMILIES
from pca_protect.version import __version__


def print_version(wanted: bool) -> None:
    """Callback of `--version`."""
    if wanted:
        console.result(__version__)
        raise typer.Exit


_MODES = "; ".join(f"{name}: {mode.aim}" for name, mode in MODES.items())
_PRESETS = "; ".join(f"{name}: {recipe.summary}" for name, recipe in PRESETS.items())
_SURVIVE = "; ".join(f"{name}: {what}" for name, what in SURVIVE.items())
_FAMILIES = "; ".join(f"{name}: {family.summary}" for name, family in FAMILIES.items())
_HIDDEN_DEFAULT = False

Pictures = Annotated[
    list[str] | None,
    typer.Argument(
        help="Pictures to protect, folders of them, or quoted patterns such as 'photos/**/*.jpg'.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help=(
            "Output file (.png, .webp or .tiff), or folder: for folders and patterns it mirrors their tree, is made if it is not "
            "there, and keeps a journal from which the same command goes on after a stop. Without it: NAME.protected.png "
            "beside the picture."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Enter the subfolders of folders.")]
ModeName = Annotated[str, typer.Option(metavar="NAME", help=f"What edits shall do. {_MODES}.")]
Preset = Annotated[str, typer.Option(metavar="NAME", help=f"How to optimise. {_PRESETS}.")]
Budget = Annotated[
    int, typer.Option(metavar="LEVELS", help="Largest change of any channel of any pixel, in levels of 255.")
]
Vaes = Annotated[
    list[str],
    typer.Option(
        "--vae",
        metavar="NAME",
        help=(
            "Encoder to protect against: a name from `pca-protect vaes`, a hub id, a folder or a .safetensors file. "
            f"May be repeated: against all of them at once. {_FAMILIES}. A program's name (kontext, illustrious) is its encoder. "
            "`auto` is the Stable Diffusion VAE, on a CUDA device of 16 GB with the encoders of `today` that are "
            "cached; if that is not available, an embedded test model: outputs are then named NAME.test-only.png and are not "
            "protected.  [default: auto]"
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
MaxVisibility = Annotated[
    float | None,
    typer.Option(
        metavar="LEVELS",
        help=(
            "Let the change be at most so visible, in levels of brightness on a flat patch: uniform noise of the default budget "
            "has about 1.5, 0.5 is hard to see."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Survive = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(SURVIVE), help=f"Protect so that it outlasts {_SURVIVE}.", show_default=_HIDDEN_DEFAULT
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(metavar="N", help="Gradient steps instead of the preset's.", show_default=_HIDDEN_DEFAULT),
]
TargetVariance = Annotated[
    str | None,
    typer.Option(
        metavar="V",
        help="Target variance instead of the mode's: a number, or `posterior` for the clean picture's own.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
UpOrDown = Annotated[
    str | None,
    typer.Option(
        metavar="up|down", help="Ascend or descend the loss instead of the mode's way.", show_default=_HIDDEN_DEFAULT
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Protect where this picture of the same size is light, and change nothing where it is dark.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="face|center|X,Y,W,H",
        help="Protect a part, in pixels from the upper left: `center` is the middle half of each side.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Scales = Annotated[
    str | None,
    typer.Option(
        metavar="PX,...",
        help=(
            "Sizes at which editors will see the picture, as its shorter side, `1mp` for about one megapixel, and `native`: "
            "512,1mp,native say. The loss is averaged over them.  [default: native; 1mp,native with --vae editors, today, and "
            "programs that resize to that]"
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Tile = Annotated[int, typer.Option(metavar="PX", help="Work on larger pictures in windows of at most this side.")]
MaxMemory = Annotated[
    int | None,
    typer.Option(
        metavar="MB", help="Stay below this by taking smaller windows and batches.", show_default=_HIDDEN_DEFAULT
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(metavar="N", help="Pictures of one size to work on at once.", show_default=_HIDDEN_DEFAULT),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Draws the noise that the result is compared with.")]
DeviceName = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:N]|mps", help="Where to compute.")]
PrecisionName = Annotated[str, typer.Option(metavar="auto|fp32|bf16|fp16", help="Number format of the encoder.")]
Offline = Annotated[bool, typer.Option("--offline", help="Touch no network: embedded, local and cached models only.")]
NoFallback = Annotated[
    bool,
    typer.Option(
        "--no-fallback", help="Exit with code 3 if `auto` cannot use the Stable Diffusion VAE; write nothing test-only."
    ),
]
NoEvaluate = Annotated[
    bool, typer.Option("--no-evaluate", help="Skip the measurement of the finished picture; its pixels are the same.")
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace existing outputs, but for those the journal proves finished. Originals are never replaced.",
    ),
]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave pictures alone whose output exists.")]
StripMetadata = Annotated[
    bool, typer.Option("--strip-metadata", help="Leave EXIF, XMP, IPTC and text out of the output.")
]
StripGps = Annotated[bool, typer.Option("--strip-gps", help="Leave out of the output where the picture was taken.")]
Notice = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="Put this into the output's metadata, with the IPTC mark that forbids training generative AI.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
AllowLossy = Annotated[
    bool, typer.Option("--allow-lossy", help="Permit a .jpg output; compression eats part of the protection.")
]
MaxMegapixels = Annotated[
    float | None,
    typer.Option(metavar="N", min=0.001, help="Refuse larger pictures, before decoding.", show_default=_HIDDEN_DEFAULT),
]
FromFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Further pictures: a path a line, or what --errors wrote. `-` is standard input.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Errors = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write what failed there, one JSON object a line, for a later --from-file.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Engine = Annotated[
    str, typer.Option(metavar="local|ray", help="Work here, or on the machines of a Ray cluster (needs the extra).")
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", help="Of --engine ray; all the cluster has by default.", show_default=_HIDDEN_DEFAULT),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Of a Ray cluster, instead of RAY_ADDRESS; without either, Ray is started here.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be written and how long it would take, and do nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar; warnings and errors stay.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say on stderr what was loaded and resolved.")]
Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
]
