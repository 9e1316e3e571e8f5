"""`pca-protect bench ...`: the evaluation module from the command line."""

from __future__ import annotations

import typer

bench_app = typer.Typer(
    help="Measure: what protection costs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@bench_app.callback()
def bench() -> None:
    """Measure: what protection costs."""
