"""Output of `protect`: results, progress bar, failures and totals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pca_protect.batch.outcome import EncoderInfo, Outcome, Summary
from pca_protect.batch.preview import Preview
from pca_protect.cli import console
from pca_protect.cli.flags import in_flags
from pca_protect.config import ProtectConfig
from pca_protect.errors import PcaProtectError
from pca_protect.io.plan import Job

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pca_protect.batch.estimate import Estimate
    from pca_protect.record import Record

_MAX_LISTED = 20
"""Failures listed at the end; more would scroll the summary off the screen."""
_TITLE_WIDTH = 40
_TEST_ONLY = "test only: "
"""Prefix of the summary if all encoders are embedded models: they protect against no real editor."""


class Reporter:
    """Prints the events of a run as text or as JSON, see `batch.run.RunObserver`.

    Args:
        errors: the file that failures are written to, for the hint; None for no file.
    """

    def __init__(
        self, config: ProtectConfig, *, as_json: bool, quiet: bool, verbose: bool, errors: Path | None
    ) -> None:
        self._config = config
        self._as_json = as_json
        self._verbose = verbose
        self._errors = errors
        self._bar = _Bar(shown=sys.stderr.isatty() and not quiet)
        self._known_warnings: tuple[str, ...] = ()
        self._test_only = False
        self._pictures = 0

    def message(self, sentence: str) -> None:
        self._bar.print_above(lambda: console.say(sentence))

    def progress(self, what: str, done: int, total: int | None) -> None:
        pass

    def skipped(self, job: Job, reason: str) -> None:
        pass

    def loaded(self, encoder: EncoderInfo) -> None:
        self._known_warnings = encoder.warnings
        self._test_only = encoder.embedded
        for warning in encoder.warnings:
            console.warn(warning)
        if self._verbose:
            console.say(f"{encoder.name} from {encoder.origin} on {encoder.device} in {encoder.dtype}")
            console.say(f"encoder weights sha256 {encoder.digest}")
            console.say(f"config {json.dumps(self._config.as_dict())}")

    def begin(self, pictures: int) -> None:
        self._pictures = pictures
        self._bar.begin(pictures)

    def picture(self, job: Job) -> None:
        self._bar.picture(Path(job.source.path).name)

    def step(self, done: int, steps: int, loss: float) -> None:
        self._bar.step(done, steps, loss)

    def done(self, outcome: Outcome) -> None:
        self._bar.done(failed=outcome.failure is not None)
        self._bar.print_above(lambda: self._print(outcome))

    def end(self, summary: Summary) -> None:
        self._bar.end()
        for failure in summary.failures[:_MAX_LISTED]:
            console.error(failure.error)
        hidden = len(summary.failures) - _MAX_LISTED
        if hidden > 0:
            hint = f"all are in {self._errors}" if self._errors else "use --errors FILE to record all"
            console.say(f"and {hidden} more; {hint}")
        if summary.stopped:
            console.say(f"stopped: {summary.stopped}")
        if summary.total > 1 or summary.folder:
            console.say(f"{_TEST_ONLY if self._test_only else ''}{_totals(summary)}")

    def _print(self, outcome: Outcome) -> None:
        job, record = outcome.job, outcome.record
        if record is None:
            if self._as_json and outcome.failure is not None:
                console.result(json.dumps({"input": job.source.path, "error": in_flags(outcome.failure.error)}))
            return
        prefix = f"{job.source.path}: " if self._pictures > 1 else ""
        for warning in record.warnings:
            if warning not in self._known_warnings:
                console.warn(f"{prefix}{warning}")
        console.result(record.as_json() if self._as_json else _one_picture(record, verbose=self._verbose))


def show_preview(preview: Preview, measure: Callable[[], Estimate]) -> None:
    """Prints the result of `--dry-run`: jobs to stdout, messages and the estimated time to stderr."""
    marks = {"to do": "", "finished": " (finished, skipped)", "exists": " (exists, skipped)"}
    for job, job_status in zip(preview.jobs, preview.statuses, strict=True):
        if job.source.problem:
            console.error(job.source.problem)
        else:
            console.result(console.one_line(f"{job.source.path} -> {job.target}{marks[job_status]}"))
    for message in preview.messages:
        console.say(message)
    if not preview.to_do:
        console.say("nothing to do")
        return
    try:
        estimate = measure()
    except PcaProtectError as error:
        console.say(f"{_pictures(len(preview.to_do))}; no estimate of the time: {error}")
        return
    seconds = max(estimate.seconds, 1)
    console.say(
        f"{_pictures(estimate.pictures)}, {estimate.megapixels:.3g} megapixels: about {console.duration(seconds)}"
    )


def _one_picture(record: Record, *, verbose: bool) -> str:
    """The summary of a picture on one line."""
    line = ", ".join(
        (
            f"{record.output}: {record.config['mode']} against {record.vae['name']}",
            f"largest change {record.max_change_levels} levels",
            *([] if record.bytes_added is None else [f"{record.bytes_added / 1000:+.0f} kB"]),
            *_evaluation(record, verbose=verbose),
            f"{record.seconds:.1f} s",
            f"peak {record.peak_megabytes:.0f} MB",
        )
    )
    return console.one_line(f"{_TEST_ONLY if record.test_only else ''}{line}")


def _evaluation(record: Record, *, verbose: bool) -> Iterator[str]:
    if record.protected is None or record.noise is None:
        yield "not evaluated"
        return
    yield "unchanged" if record.psnr_db is None else f"PSNR {record.psnr_db:.1f} dB"
    yield f"visibility {record.visible_levels:.2g} levels"
    sample = f", in a square of {record.evaluation_sample_px} px" if record.evaluation_sample_px else ""
    yield f"latent shift {record.protected.latent:.0%} (random noise: {record.noise.latent:.0%}{sample})"
    if verbose:
        yield f"loss {record.loss_clean:.4g} to {record.protected.loss:.4g}"
        yield f"gain over noise {record.gain_over_noise:.3g}"


def _totals(summary: Summary) -> str:
    parts = [f"{summary.protected} protected"]
    for number, label in (
        (summary.finished, "finished before"),
        (summary.skipped, "skipped"),
        (len(summary.failures), "failed"),
        (summary.left, "not done"),
    ):
        if number:
            parts.append(f"{number} {label}")
    resume = "; run the same command to resume" if summary.left and summary.folder else ""
    return f"{', '.join(parts)} in {console.duration(summary.seconds)}{resume}"


def _pictures(number: int) -> str:
    return "1 picture" if number == 1 else f"{number} pictures"


class _Bar:
    """Progress bar on stderr: steps and loss for one picture; name, count and time left for several."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._pictures = self._done = self._failed = 0

    def begin(self, pictures: int) -> None:
        self._pictures = pictures
        if not self._shown:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(),
        )
        self._bars = Progress(
            *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._task = self._bars.add_task("", total=None, count="")
        self._bars.start()

    def picture(self, name: str) -> None:
        title = console.one_line(name.encode(errors="backslashreplace").decode())
        self._update(description=title if len(title) <= _TITLE_WIDTH else f"{title[: _TITLE_WIDTH - 1]}…")

    def step(self, done: int, steps: int, loss: float) -> None:
        if self._pictures == 1:
            self._update(completed=done, total=steps, count=f"{done}/{steps} loss {loss:.4g}")
        else:
            self._update(completed=self._done + done / steps, total=self._pictures, count=self._count())

    def done(self, *, failed: bool) -> None:
        self._done += 1
        self._failed += failed
        if self._pictures > 1:
            self._update(completed=self._done, total=self._pictures, count=self._count())

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
        return f"{self._done}/{self._pictures}{f', {self._failed} failed' if self._failed else ''}"

    def _update(self, **fields: object) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, **fields)  # type: ignore[arg-type]
