"""`pca-protect status`, `verify` and `clean`: look into an output folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pca_protect.batch import inspect
from pca_protect.cli import console
from pca_protect.cli.options import printing
from pca_protect.cli.picture_summary import NO_REAL_EDITOR
from pca_protect.cli.progress import make_progress
from pca_protect.errors import PictureError

OutputFolder = Annotated[str, typer.Argument(metavar="FOLDER", help="Output folder or URL of earlier runs.")]


def status(folder: OutputFolder, as_json: printing.AsJson = False) -> None:
    """Print how many pictures of an output folder are finished.

    The `protect` command of the folder with --dry-run prints how many are left.
    """
    found = inspect.status(folder)
    if as_json:
        console.result(json.dumps(found.as_dict()))
        return
    parts = [f"{found.finished} finished{_of_test_models(found.test_only)}"]
    if found.missing:
        parts.append(f"{found.missing} recorded as finished but missing")
    if found.temporary:
        parts.append(f"{found.temporary} incomplete files of killed runs; `pca-protect clean` removes them")
    if found.in_use:
        parts.append("a run is writing here")
    console.result(console.one_line(f"{folder}: {', '.join(parts)}"))


def verify(folder: OutputFolder, as_json: printing.AsJson = False, quiet: printing.Quiet = False) -> None:
    """Compare the outputs of a folder with their recorded checksums. Exit code 1 if one is changed or missing."""
    progress = make_progress(quiet=quiet)
    counts = {"intact": 0, "changed": 0, "missing": 0}
    test_only = 0

    def show(checked: inspect.Checked) -> None:
        if as_json:
            console.result(json.dumps(asdict(checked)))
        elif checked.state != "intact":
            console.result(console.one_line(f"{checked.output}: {checked.state}"), shown=not quiet)

    for checked in inspect.verify(folder, lambda done, total: progress.prepare("comparing", done, total)):
        counts[checked.state] += 1
        test_only += checked.test_only
        progress.print_above(lambda checked=checked: show(checked))  # type: ignore[misc]
    progress.end()
    parts = [f"{counts[state]} {state}" for state in ("changed", "missing")]
    parts.insert(0, f"{counts['intact']} intact{_of_test_models(test_only)}")
    if not as_json:
        console.result(", ".join(parts), shown=not quiet)
    if counts["changed"] or counts["missing"]:
        raise typer.Exit(PictureError.exit_code)


def clean(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Output folder of earlier runs.")]) -> None:
    """Remove incomplete files of killed runs.

    Their records of finished pictures are kept. Outputs are never removed.
    """
    removed = inspect.clean(folder)
    console.say(f"{folder}: {removed} incomplete file{'' if removed == 1 else 's'} removed")


def _of_test_models(number: int) -> str:
    return f" ({number} {NO_REAL_EDITOR})" if number else ""
