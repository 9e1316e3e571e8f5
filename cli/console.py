"""Where everything printed goes: results to stdout, everything else to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


def result(line: str) -> None:
    """One line of the answer."""
    typer.echo(line)


def say(line: str) -> None:
    """Anything that is not the answer."""
    typer.echo(line, err=True)


def warn(line: str) -> None:
    say(f"warning: {line}")


def error(line: str) -> None:
    say(f"error: {line}")


@contextmanager
def progress(title: str, *, shown: bool) -> Iterator[Callable[[int, int, float], None] | None]:
    """A bar on stderr with the loss and the time left, fed with (steps done, steps in all, loss)."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4g}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None, loss=float("nan"))
        yield lambda done, steps, loss: bars.update(task, completed=done, total=steps, loss=loss)
