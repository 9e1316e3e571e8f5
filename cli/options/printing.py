"""Options under `Printing and settings` in the help, and `--version`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pca_protect.cli import console
from pca_protect.cli.grouped import SETTINGS_FILE, GroupedCommand
from pca_protect.version import __version__

_printing = partial(typer.Option, rich_help_panel="Printing and settings")


def _print_version(wanted: bool) -> None:
    """Callback of `--version`."""
    if wanted:
        console.result(__version__)
        raise typer.Exit


def _use_settings_file(ctx: typer.Context, file: Path | None) -> Path | None:
    """Callback of `--config`."""
    if isinstance(ctx.command, GroupedCommand) and not ctx.resilient_parsing:
        ctx.command.use_settings_file(ctx, file)
    return file


LogFile = Annotated[
    Path | None,
    _printing(metavar="FILE", help="Append all output to a file, with time stamps.", show_default=False),
]
AsJson = Annotated[bool, _printing("--json", help="Print one JSON object per line on stdout.")]
Quiet = Annotated[
    bool,
    _printing("-q", "--quiet", help="Print only warnings, errors and the output of --json."),
]
Verbose = Annotated[
    bool,
    _printing("-v", "--verbose", help="Also print the encoder, its digest, all settings, loss and gain over noise."),
]
Version = Annotated[
    bool, _printing("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
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
        show_default=False,
    ),
]
