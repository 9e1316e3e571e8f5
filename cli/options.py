"""Options that several commands share."""

from __future__ import annotations

import typer
from pca_protect.cli import console

from pca_protect.version import __version__


def print_version(wanted: bool) -> None:
    """Callback of `--version`."""
    if wanted:
        console.result(__version__)
        raise typer.Exit
