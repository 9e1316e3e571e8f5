"""Progress of a run: a bar on a terminal; elsewhere a line after 10 s, then one a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pca_protect.cli import console
from pca_protect.cli.workload import Workload

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_TITLE_WIDTH = 40
_FIRST_LINE_SECONDS, _LINE_SECONDS = 10.0, 60.0
PATIENCE_SECONDS = 1.0
"""Preparations that are shorter show nothing."""
_REFRESH_SECONDS = 0.1


def make_progress(*, quiet: bool, patience_seconds: float = PATIENCE_SECONDS) -> Bar | Lines:
    """A bar on a terminal, else lines; nothing is shown if `quiet`."""
    return Bar(shown=not quiet, patience_seconds=patience_seconds) if sys.stderr.isatty() else Lines(shown=not quiet)


class Lines:
    """Prints a line with the number of pictures and the time left: after 10 s, then once a minute."""

    def __init__(self, *, shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown = shown
        self._clock = clock
        self._next = clock() + _FIRST_LINE_SECONDS
        self._workload = Workload((), clock=clock)
        self._done = self._failed = 0
        self._steps = (0, 1)

    def prepare(self, what: str, done: int, total: int | None) -> None:
        self._print(lambda: f"{what}: {done} of {total}" if total else f"{what}: {done}" if done else what)

    def begin(self, works: Sequence[float]) -> None:
        self._workload = Workload(works, clock=self._clock)

    def pictures(self, name: str, works: Sequence[float]) -> None:
        self._workload.begin(works)

    def step(self, done: int, steps: int, loss: float) -> None:
        self._steps = (done, steps)
        self._workload.step(done, steps)
        self._print(self._line)

    def done(self, work: float, *, failed: bool) -> None:
        self._done += 1
        self._failed += failed
        self._workload.report(work)
        if self._done < self._workload.pictures:
            self._print(self._line)

    def end(self) -> None:
        """The run ends."""

    def print_above(self, output: Callable[[], None]) -> None:
        output()

    def _line(self) -> str:
        workload, (done, steps) = self._workload, self._steps
        left = workload.seconds_left
        estimate = "" if left is None else f", about {console.duration(left)} left"
        if workload.pictures == 1:
            return f"step {done} of {steps}{estimate}"
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{workload.pictures_done} of {workload.pictures} pictures{failed}{estimate}"

    def _print(self, line: Callable[[], str]) -> None:
        now = self._clock()
        if self._shown and now >= self._next:
            self._next = now + _LINE_SECONDS
            console.say(line())


class Bar:
    """Progress bar on stderr: steps and loss for one picture; name, count and time left for several."""

    def __init__(self, *, shown: bool, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._shown = shown
        self._patience_seconds = patience_seconds
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._workload = Workload(())
        self._failed = 0
        self._started = self._refreshed = time.monotonic()
        self._preparing = ""

    def prepare(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        is_new = what != self._preparing
        if now - self._started < self._patience_seconds or (now - self._refreshed < _REFRESH_SECONDS and not is_new):
            return
        self._refreshed, self._preparing = now, what
        self._start()
        count = f"{done}/{total}" if total else f"{done}" if done else ""
        self._update(description=what, completed=done, total=total, count=count)

    def begin(self, works: Sequence[float]) -> None:
        self._workload = Workload(works)
        self._start()
        self._update(description="", completed=0, total=None, count="", left="")

    def _start(self) -> None:
        if not self._shown or self._bars is not None:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[left]}"),
        )
        self._bars = Progress(
            *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._task = self._bars.add_task("", total=None, count="", left="")
        self._bars.start()

    def pictures(self, name: str, works: Sequence[float]) -> None:
        self._workload.begin(works)
        title = console.one_line(name.encode(errors="backslashreplace").decode())
        self._update(description=title if len(title) <= _TITLE_WIDTH else f"{title[: _TITLE_WIDTH - 1]}…")

    def step(self, done: int, steps: int, loss: float) -> None:
        self._workload.step(done, steps)
        self._show(f"{done}/{steps} loss {loss:.4g}" if self._workload.pictures == 1 else self._count())

    def done(self, work: float, *, failed: bool) -> None:
        self._failed += failed
        self._workload.report(work)
        if self._workload.pictures > 1:
            self._show(self._count())

    def end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def print_above(self, output: Callable[[], None]) -> None:
        """Runs `output`, which prints lines, with the bar hidden."""
        if self._bars is not None:
            self._bars.stop()
        output()
        if self._bars is not None:
            self._bars.start()

    def _count(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._workload.pictures_done}/{self._workload.pictures}{failed}"

    def _show(self, count: str) -> None:
        left = self._workload.seconds_left
        shown = "" if left is None else f"about {console.duration(left)} left"
        self._update(completed=self._workload.share, total=1.0, count=count, left=shown)

    def _update(self, **fields: object) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, **fields)  # type: ignore[arg-type]
