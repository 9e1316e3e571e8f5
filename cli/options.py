"""Options of the command line, shared by the commands. Defaults are in `ProtectConfig`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pca_protect.batch.device_choice import AUTO_PRESET
from pca_protect.batch.request import EXISTING, OUTPUT_FORMATS
from pca_protect.cli import console
from pca_protect.cli.grouped import SETTINGS_FILE, GroupedCommand
from pca_protect.modes import MODES
from pca_protect.presets import PRESETS, SURVIVE
from pca_protect.surrogates.families import FAMILIES, PROGRAMS
from pca_protect.surrogates.registry import REGISTRY
from pca_protect.version import __version__


def print_version(wanted: bool) -> None:
    """Callback of `--version`."""
    if wanted:
        console.result(__version__)
        raise typer.Exit


def _use_settings_file(ctx: typer.Context, file: Path | None) -> Path | None:
    """Callback of `--config`."""
    if isinstance(ctx.command, GroupedCommand) and not ctx.resilient_parsing:
        ctx.command.use_settings_file(ctx, file)
    return file


_MODES = "; ".join(f"{name}: {mode.aim}" for name, mode in MODES.items())
_SURVIVE = "; ".join(f"{name}: {processing.summary}" for name, processing in SURVIVE.items())
_HIDDEN_DEFAULT = False


def _starting(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Shell completion with fixed values."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def _vaes(incomplete: str) -> list[str]:
    """Shell completion of encoders, families and programs."""
    return [name for name in sorted({"auto", *REGISTRY, *FAMILIES, *PROGRAMS}) if name.startswith(incomplete)]


_main = partial(typer.Option, rich_help_panel="Main options")
_strength = partial(typer.Option, rich_help_panel="Strength")
_files = partial(typer.Option, rich_help_panel="Masks and metadata")
_many = partial(typer.Option, rich_help_panel="Many pictures")
_device = partial(typer.Option, rich_help_panel="Encoders and device")
_printing = partial(typer.Option, rich_help_panel="Printing and settings")
_cluster = partial(typer.Option, rich_help_panel="Many machines")

Pictures = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PICTURE",
        rich_help_panel="Pictures",
        help=(
            "Pictures to protect, folders of them, or quoted patterns such as 'photos/**/*.jpg'. `-` is a picture on standard "
            "input."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Output = Annotated[
    str | None,
    _main(
        "-o",
        "--output",
        metavar="PATH",
        help=(
            "Output file (.png, .webp or .tiff), or folder, in which the same command resumes a stopped run; `-` is standard "
            "output. Default: NAME.protected.png beside the picture."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Name = Annotated[
    str | None,
    _many(
        "--name",
        metavar="TEMPLATE",
        help=(
            "Names of outputs: {stem}, {name} (with extension) or {number:04} of the picture, and {ext} of the output, last. "
            "With a /, the path below the output folder, where {parent} is the picture's folder. Default: "
            "{stem}.protected{ext}."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Format = Annotated[
    str | None,
    _files(
        "--format",
        metavar="|".join(OUTPUT_FORMATS),
        autocompletion=_starting(OUTPUT_FORMATS),
        help="Format of the outputs, all lossless. Default: tiff for several pages or a colour profile over 1 MiB, else png.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Recursive = Annotated[bool, _main("-r", "--recursive", help="Include subfolders.")]
ModeName = Annotated[str, _main(metavar="NAME", help=f"Objective. {_MODES}.", autocompletion=_starting(MODES))]
Preset = Annotated[
    str,
    _main(
        metavar="NAME",
        help=(
            f"Speed against strength: {', '.join(PRESETS)}. `auto`: thorough on CUDA, balanced on MPS, fast on the CPU and "
            "there at the size at which editors work."
        ),
        autocompletion=_starting((AUTO_PRESET, *PRESETS)),
    ),
]
Budget = Annotated[
    int, _main(metavar="LEVELS", help="Largest change of any channel of any pixel, in levels of 255 (L-inf).")
]
Vaes = Annotated[
    list[str],
    _main(
        "--vae",
        metavar="NAME",
        help=(
            "Encoder of the editors to protect against: a name from `pca-protect vaes`, such as classic or today, a hub id or a "
            "file. Repeatable. `auto`: the Stable Diffusion VAE; without it, a test model, and NAME.test-only.png is not "
            "protected.  [default: auto]"
        ),
        autocompletion=_vaes,
        show_default=_HIDDEN_DEFAULT,
    ),
]
MaxVisibility = Annotated[
    float | None,
    _main(
        metavar="LEVELS",
        help=(
            "Limit on the visibility of the change, in levels of brightness on a flat patch: 1.5 is noise of the default "
            "budget; 0.5 is hard to see."
        ),
        show_default=_HIDDEN_DEFAULT,
    ),
]
Until = Annotated[
    str | None,
    _strength(
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
    _strength(
        metavar="|".join(SURVIVE),
        autocompletion=_starting(SURVIVE),
        help=f"Make the protection survive processing. {_SURVIVE}.",
        show_default=_HIDDEN_DEFAULT,
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
        autocompletion=_starting(("auto", "never")),
        help=(
            "Universal perturbation of the presets instant and fast. `auto` takes the one in `pca-protect universal list`; for a "
            "folder it trains a missing one on the folder's pictures first if that pays."
        ),
    ),
]
Steps = Annotated[
    int | None,
    _strength(metavar="N", help="Number of gradient steps. Default: the preset's.", show_default=_HIDDEN_DEFAULT),
]
TargetVariance = Annotated[
    str | None,
    _strength(
        metavar="V",
        help="Target variance of the loss: a number, or `posterior` for that of the clean picture. Default: the mode's.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
UpOrDown = Annotated[
    str | None,
    _strength(
        metavar="up|down",
        autocompletion=_starting(("up", "down")),
        help="Ascend or descend the loss. Default: the mode's direction.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Mask = Annotated[
    Path | None,
    _files(
        metavar="FILE",
        help="Mask of the same size: light pixels are protected, dark pixels stay unchanged.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Region = Annotated[
    str | None,
    _main(
        metavar="face|center|X,Y,W,H",
        autocompletion=_starting(("face", "center")),
        help="Protect a region only, in pixels from the upper left. `center` is the middle half of each side.",
        show_default=_HIDDEN_DEFAULT,
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
        show_default=_HIDDEN_DEFAULT,
    ),
]
Tile = Annotated[int, _device(metavar="PX", help="Largest side of a window; larger pictures are processed in windows.")]
MaxMemory = Annotated[
    int | None,
    _device(
        metavar="MB", help="Memory limit; windows and batches are made smaller to fit.", show_default=_HIDDEN_DEFAULT
    ),
]
Batch = Annotated[
    int | None,
    _device(metavar="N", help="Number of pictures of one size to process at once.", show_default=_HIDDEN_DEFAULT),
]
Seed = Annotated[int, _strength(metavar="N", help="Seed of the noise control and of random transforms.")]
DeviceName = Annotated[
    str,
    _device(
        metavar="auto|cpu|cuda[:N]|mps",
        help="Compute device.",
        autocompletion=_starting(("auto", "cpu", "cuda", "mps")),
    ),
]
PrecisionName = Annotated[
    str,
    _device(
        metavar="auto|fp32|bf16|fp16",
        help="Number format of the encoder.",
        autocompletion=_starting(("auto", "fp32", "bf16", "fp16")),
    ),
]
Offline = Annotated[bool, _device("--offline", help="Use no network: embedded, local and cached models only.")]
NoFallback = Annotated[
    bool,
    _device(
        "--no-fallback",
        help="Exit with code 3 if `auto` cannot use the Stable Diffusion VAE; write no test-only output.",
    ),
]
NoEvaluate = Annotated[
    bool, _device("--no-evaluate", help="Skip the evaluation of the result; its pixels are the same.")
]
Existing = Annotated[
    str,
    _main(
        metavar="|".join(EXISTING),
        autocompletion=_starting(EXISTING),
        help=(
            "Outputs that exist and are not finished according to the ledger. refuse: their pictures fail; skip: keep them; "
            "update: replace those that this program made; overwrite: replace all. Originals are never replaced."
        ),
    ),
]
Overwrite = Annotated[bool, _many("--overwrite", help="The same as `--existing overwrite`.")]
SkipExisting = Annotated[bool, _many("--skip-existing", help="The same as `--existing skip`.")]
Strict = Annotated[
    bool,
    _many(
        "--strict", help="Stop before any work if the output of one picture exists or belongs to two pictures as well."
    ),
]
Checksum = Annotated[
    bool,
    _many(
        "--checksum", help="Compare the contents of finished pictures instead of sizes and modification times or ETags."
    ),
]
Include = Annotated[
    list[str],
    _many(
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
    _many(
        "--exclude",
        metavar="PATTERN",
        help="Leave out files and folders that match. Repeatable.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
StripMetadata = Annotated[bool, _files("--strip-metadata", help="Remove EXIF, XMP, IPTC and text from the output.")]
StripGps = Annotated[bool, _files("--strip-gps", help="Remove the place where the picture was taken from the output.")]
ClearHidden = Annotated[
    bool,
    _files("--clear-hidden", help="Make fully transparent pixels black: editors can read the colours viewers hide."),
]
NoMarker = Annotated[
    bool,
    _files(
        "--no-marker",
        help=(
            "Leave out the marker (version, mode, encoder, budget). Outputs are then protected again if given as inputs; the "
            "ledger of a folder still knows its own."
        ),
    ),
]
Notice = Annotated[
    str,
    _files(
        metavar="TEXT",
        help="Rights notice for the output's metadata, with the IPTC property that prohibits training generative AI.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
AllowLossy = Annotated[
    bool, _files("--allow-lossy", help="Allow a .jpg output; compression removes part of the protection.")
]
PreserveTimes = Annotated[
    bool, _files("-p", "--preserve-times", help="Give outputs the modification times of their pictures.")
]
MaxMegapixels = Annotated[
    float | None,
    _many(metavar="N", min=0.001, help="Refuse larger pictures before decoding.", show_default=_HIDDEN_DEFAULT),
]
FromFile = Annotated[
    Path | None,
    _many(
        metavar="FILE",
        help="List of further pictures: one path per line, or a file written by --errors. `-` is standard input.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
Errors = Annotated[
    Path | None,
    _many(
        metavar="FILE",
        help="File for the failures, one JSON object per line; --from-file reads it.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
FromNull = Annotated[
    bool, _many("-0", "--from0", help="The entries of --from-file end with a null byte, as of `find -print0`.")
]
MaxFailures = Annotated[
    int | None,
    _many(metavar="N", help="Stop after N failures. Default: no limit.", show_default=_HIDDEN_DEFAULT),
]
ShardOf = Annotated[
    str | None,
    _many(
        "--shard",
        metavar="I/N",
        help="Process part I of N only, for several machines with one output folder, such as the tasks of a SLURM array.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
LogFile = Annotated[
    Path | None,
    _printing(metavar="FILE", help="Append all output with time stamps to a file.", show_default=_HIDDEN_DEFAULT),
]
Engine = Annotated[
    str, _cluster(metavar="local|ray", help="Run on this machine, or on a Ray cluster (extra `cluster`).")
]
Jobs = Annotated[
    int | None,
    _many(
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
    _cluster(
        metavar="HOST:PORT",
        help="Address of the Ray cluster. Default: RAY_ADDRESS, or a Ray started on this machine.",
        show_default=_HIDDEN_DEFAULT,
    ),
]
DryRun = Annotated[
    bool, _main("--dry-run", help="Print the planned outputs and the estimated time, and write nothing.")
]
AsJson = Annotated[bool, _printing("--json", help="Print one JSON object per line on stdout.")]
Quiet = Annotated[
    bool,
    _printing(
        "-q", "--quiet", help="Print warnings and errors only, and what --json asks for; no results, no progress."
    ),
]
Verbose = Annotated[
    bool,
    _printing("-v", "--verbose", help="Also print the encoder, its digest, all settings, loss and gain over noise."),
]
Version = Annotated[
    bool, _printing("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
]
Config = Annotated[
    Path | None,
    _printing(
        "--config",
        metavar="FILE",
        help=(
            f"TOML file with options by their long names, such as budget = 12. Default: {SETTINGS_FILE} in this folder. Options "
            "given here and variables such as PCA_PROTECT_BUDGET take precedence."
        ),
        is_eager=True,
        callback=_use_settings_file,
        show_default=_HIDDEN_DEFAULT,
    ),
]
