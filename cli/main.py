"""The commands `protect` and `pca-protect`. Heavy modules are imported when a command runs."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from types import FrameType
from typing import NoReturn, TextIO

import typer

from pca_protect.cli import console
from pca_protect.cli.bench import bench_app
from pca_protect.cli.check import check
from pca_protect.cli.folder import clean, status, verify
from pca_protect.cli.grouped import GroupedCommand
from pca_protect.cli.options import printing
from pca_protect.cli.run import run
from pca_protect.cli.serve import serve
from pca_protect.cli.ui import ui
from pca_protect.cli.universal import universal_app
from pca_protect.cli.vaes import vaes
from pca_protect.errors import PcaProtectError, ProtectionWarning, RenamedWarning

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_EXIT_CODES = (
    "Exit codes: 0 done, 1 some pictures failed, 2 invalid usage, 3 model or device unavailable, 129, 130 or 143 interrupted by "
    "a closed terminal, Ctrl-C or a termination signal, 141 the reader of standard output has ended."
)
_SERVER_EXIT_CODES = (
    "Exit codes: 0 stopped by Ctrl-C or a termination signal, 2 invalid usage, 3 model or device unavailable."
)


def _app(help_text: str | None = None) -> typer.Typer:
    return typer.Typer(
        help=help_text,
        add_completion=True,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=_HELP,
    )


protect_app = _app()
protect_app.command(cls=GroupedCommand, context_settings=_HELP, no_args_is_help=True, epilog=_EXIT_CODES)(run)

app = _app("Protect pictures against diffusion editing, and measure how well that works.")
app.command("run", cls=GroupedCommand, no_args_is_help=True, epilog=_EXIT_CODES)(run)
app.command("vaes")(vaes)
app.command("check", no_args_is_help=True)(check)
app.command("ui", epilog=_SERVER_EXIT_CODES)(ui)
app.command("status", no_args_is_help=True)(status)
app.command("verify", no_args_is_help=True)(verify)
app.command("clean", no_args_is_help=True)(clean)
app.command("serve", cls=GroupedCommand, epilog=_SERVER_EXIT_CODES)(serve)
app.add_typer(universal_app, name="universal")
app.add_typer(bench_app, name="bench")


@app.callback()
def root(version: printing.Version = False) -> None:
    """Protect pictures against diffusion editing, and measure how well that works."""


def protect() -> NoReturn:
    """Entry point of `protect`."""
    _run(protect_app)


def main() -> NoReturn:
    """Entry point of `pca-protect`."""
    _run(app)


def _run(application: typer.Typer) -> NoReturn:
    """Runs a command and exits with its code. Errors and deprecation warnings become messages here only."""
    for name in ("stdin", "stdout", "stderr"):  # None if the parent process closed it
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115, PTH123 - until the exit
    # Threads that wait actively slow each other down on a busy machine: by 6 times on two cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.showwarning = _show_warning
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # SIGHUP: the terminal was closed; not on Windows
        number = getattr(signal, name, None)
        if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):  # `nohup`
            signal.signal(number, _interrupt)
    try:
        application()
    except PcaProtectError as error:
        console.error(str(error))
        sys.exit(error.exit_code)
    except _Interrupted as interrupted:
        console.say("interrupted; no partial file was left")
        sys.exit(interrupted.code)
    sys.exit()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Like `warnings.showwarning`, but prints a renamed setting as one line without the source location, and omits warnings of
    records, which are printed already."""
    if issubclass(category, ProtectionWarning):
        return
    if issubclass(category, RenamedWarning):
        console.warn(str(message))
    else:
        _SHOW_ANY_WARNING(message, category, filename, lineno, file, line)


_SHOW_ANY_WARNING = warnings.showwarning


class _Interrupted(SystemExit):
    """Runs every `finally`, which removes temporary files, and is not caught by `except Exception`."""


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise _Interrupted(128 + number)
