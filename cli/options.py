"""Options of the command line, shared by the commands. Defaults are in `ProtectConfig`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pca_protect.batch.request import EXISTING
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
            "Output file (.png, .webp or .tiff) or folder. A folder mirrors the tree of its inputs, is created if missing, and "
            "holds a ledger: the same command resumes a stopped run. Default: NAME.protected.png beside the picture."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Include subfolders.")]
ModeName = Annotated[str, typer.Option(metavar="NAME", help=f"Objective. {_MODES}.")]
Preset = Annotated[str, typer.Option(metavar="NAME", help=f"Optimiser settings. {_PRESETS}.")]
Budget = Annotated[
    int, typer.Option(metavar="LEVELS", help="Largest change of any channel of any pixel, in levels of 255 (L-inf).")
]
Vaes = Annotated[
    list[str],
    typer.Option(
        "--vae",
        metavar="NAME",
        help=(
            "Encoder to protect against: a name from `pca-protect vaes`, a hub id, a folder or a .safetensors file. "
            f"Repeat it to protect against several at once. {_FAMILIES}. A program's name (kontext, illustrious) selects its "
            "encoder. `auto` is the Stable Diffusion VAE, on a CUDA device of 16 GB with the cached encoders of `today`; if "
            "unavailable, an embedded test model, and the output NAME.test-only.png is not protected.  [default: auto]"
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
MaxVisibility = Annotated[
    float | None,
    typer.Option(
        metavar="LEVELS",
        help=(
            "Limit on the visibility of the change, in levels of brightness on a flat patch. Uniform noise of the default "
            "budget has about 1.5; 0.5 is hard to see."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="GAIN|PRESET",
        help=(
            "Stop when the latent shift is GAIN times that of random noise on every encoder and at every scale, and scale the "
            "change down to it. A preset's name takes the gain that this preset reaches on the picture."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Survive = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(SURVIVE),
        help=f"Make the protection survive processing. {_SURVIVE}.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
ForUnknown = Annotated[
    bool,
    typer.Option(
        "--for-unknown",
        help="With several --vae: protect against encoders that are not given, at the price of strength on those that are.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(metavar="N", help="Number of gradient steps. Default: the preset's.", show_default=_HIDDEN_DEFAULT),
]
TargetVariance = Annotated[
    str | None,
    typer.Option(
        metavar="V",
        help="Target variance of the loss: a number, or `posterior` for that of the clean picture. Default: the mode's.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
UpOrDown = Annotated[
    str | None,
    typer.Option(
        metavar="up|down",
        help="Ascend or descend the loss. Default: the mode's direction.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Mask of the same size: light pixels are protected, dark pixels stay unchanged.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="face|center|X,Y,W,H",
        help="Protect a region only, in pixels from the upper left. `center` is the middle half of each side.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Scales = Annotated[
    str | None,
    typer.Option(
        metavar="PX,...",
        help=(
            "Sizes at which editors process the picture, as pixels of its shorter side, `1mp` (about one megapixel) or `native`, "
            "such as 512,1mp,native. The loss is averaged over them.  [default: native; 1mp,native for families and programs "
            "that resize to it]"
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Tile = Annotated[
    int, typer.Option(metavar="PX", help="Largest side of a window; larger pictures are processed in windows.")
]
MaxMemory = Annotated[
    int | None,
    typer.Option(
        metavar="MB", help="Memory limit; windows and batches are made smaller to fit.", show_default=_HIDDEN_DEFAULT
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(metavar="N", help="Number of pictures of one size to process at once.", show_default=_HIDDEN_DEFAULT),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the noise control and of random transforms.")]
DeviceName = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:N]|mps", help="Compute device.")]
PrecisionName = Annotated[str, typer.Option(metavar="auto|fp32|bf16|fp16", help="Number format of the encoder.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use no network: embedded, local and cached models only.")]
NoFallback = Annotated[
    bool,
    typer.Option(
        "--no-fallback",
        help="Exit with code 3 if `auto` cannot use the Stable Diffusion VAE; write no test-only output.",
    ),
]
NoEvaluate = Annotated[
    bool, typer.Option("--no-evaluate", help="Skip the evaluation of the result; its pixels are the same.")
]
Existing = Annotated[
    str,
    typer.Option(
        metavar="|".join(EXISTING),
        help=(
            "Outputs that exist and are not finished according to the ledger. refuse: their pictures fail; skip: keep them; "
            "update: replace those that this program made; overwrite: replace all. Originals are never replaced."
        ),
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="The same as `--existing overwrite`.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="The same as `--existing skip`.")]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Stop before any work if the output of one picture exists or belongs to two pictures as well."
    ),
]
Checksum = Annotated[
    bool,
    typer.Option(
        "--checksum", help="Compare the contents of finished pictures instead of sizes and modification times or ETags."
    ),
]
Include = Annotated[
    list[str],
    typer.Option(
        "--include",
        metavar="PATTERN",
        help=(
            "Only files of folders, patterns and buckets that match, such as '*.jpg' (a name) or '2024/**/*.jpg' (a path). "
            "Repeatable."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Exclude = Annotated[
    list[str],
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="Leave out files and folders that match. Repeatable.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
StripMetadata = Annotated[
    bool, typer.Option("--strip-metadata", help="Remove EXIF, XMP, IPTC and text from the output.")
]
StripGps = Annotated[
    bool, typer.Option("--strip-gps", help="Remove the place where the picture was taken from the output.")
]
Notice = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="Rights notice for the output's metadata, with the IPTC property that prohibits training generative AI.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
AllowLossy = Annotated[
    bool, typer.Option("--allow-lossy", help="Allow a .jpg output; compression removes part of the protection.")
]
MaxMegapixels = Annotated[
    float | None,
    typer.Option(metavar="N", min=0.001, help="Refuse larger pictures before decoding.", show_default=_HIDDEN_DEFAULT),
]
FromFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="List of further pictures: one path per line, or a file written by --errors. `-` is standard input.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Errors = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File for the failures, one JSON object per line; --from-file reads it.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
FromNull = Annotated[
    bool, typer.Option("-0", "--from0", help="The entries of --from-file end with a null byte, as of `find -print0`.")
]
MaxFailures = Annotated[
    int | None,
    typer.Option(metavar="N", help="Stop after N failures. Default: no limit.", show_default=_HIDDEN_DEFAULT),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Process part I of N only, for several machines with one output folder, such as the tasks of a SLURM array.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
LogFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Append all output with time stamps to a file.", show_default=_HIDDEN_DEFAULT),
]
Engine = Annotated[
    str, typer.Option(metavar="local|ray", help="Run on this machine, or on a Ray cluster (extra `cluster`).")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "-j",
        "--jobs",
        "--workers",
        metavar="N",
        help=(
            "Number of worker processes, on this machine or on the Ray cluster. Default: one per GPU if there are several, else "
            "one; on a cluster, all that it has room for."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Address of the Ray cluster. Default: RAY_ADDRESS, or a Ray started on this machine.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the planned outputs and the estimated time, and write nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Hide the progress bar; keep warnings and errors.")]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="Also print the encoder, its digest, all settings, loss and gain over noise."),
]
Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
]
