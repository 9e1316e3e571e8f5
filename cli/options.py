"""Every option of the command line, written once; commands pick theirs by name. Defaults live in `ProtectConfig`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pca_protect.cli import console
from pca_protect.config import MODES, PRESETS
from pca_protect.version import __version__


def print_version(wanted: bool) -> None:
    """Callback of `--version`."""
    if wanted:
        console.result(__version__)
        raise typer.Exit


_MODES = "; ".join(f"{name}: {mode.aim}" for name, mode in MODES.items())
_PRESETS = "; ".join(f"{name}: {recipe.summary}" for name, recipe in PRESETS.items())
_HIDDEN_DEFAULT = False

Pictures = Annotated[
    list[Path], typer.Argument(help="Pictures to protect: PNG, JPEG, WebP, BMP or TIFF.", show_default=_HIDDEN_DEFAULT)
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Output file (.png or .webp) or existing folder. Without it: NAME.protected.png beside the picture.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
ModeName = Annotated[str, typer.Option(metavar="NAME", help=f"What edits shall do. {_MODES}.")]
Preset = Annotated[str, typer.Option(metavar="NAME", help=f"How to optimise. {_PRESETS}.")]
Budget = Annotated[
    int, typer.Option(metavar="LEVELS", help="Largest change of any channel of any pixel, in levels of 255.")
]
Vae = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=(
            "Encoder to protect against: a name from `pca-protect vaes`, a hub id, a folder or a .safetensors file. "
            "`auto` is the Stable Diffusion VAE where it can be had, and the embedded test model otherwise."
        ),
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
Seed = Annotated[int, typer.Option(metavar="N", help="Draws the noise that the result is compared with.")]
DeviceName = Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")]
PrecisionName = Annotated[str, typer.Option(metavar="auto|fp32|bf16|fp16", help="Number format of the encoder.")]
Offline = Annotated[bool, typer.Option("--offline", help="Touch no network: embedded, local and cached models only.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs. Originals are never replaced.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave pictures alone whose output exists.")]
AllowLossy = Annotated[
    bool, typer.Option("--allow-lossy", help="Permit a .jpg output; compression eats part of the protection.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be written, and do nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar; warnings and errors stay.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say on stderr what was loaded and resolved.")]
Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
]
