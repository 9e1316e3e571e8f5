"""Output of `protect`: results, progress bar, failures and totals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pca_protect.batch.outcome import EncoderInfo, Outcome, Summary
from pca_protect.batch.preview import Preview
from pca_protect.cli import console
from pca_protect.cli.flags import in_flags
from pca_protect.cli.picture_summary import NO_REAL_EDITOR, TEST_ONLY, summary_line
from pca_protect.cli.progress import make_progress
from pca_protect.config import ProtectConfig
from pca_protect.errors import PcaProtectError
from pca_protect.io.plan import Job

if TYPE_CHECKING:
    from pca_protect.batch.estimate import Estimate
    from pca_protect.record import Record

_MAX_LISTED = 20
"""Failures listed at the end; more would scroll the summary off the screen."""


class Reporter:
    """Prints the events of a run as text or as JSON, see `batch.run.RunObserver`.

    Args:
        quiet: print warnings, errors and JSON only. A log file gets everything.
        errors: the file that failures are written to, for the hint; None for no file.
        results_to_stderr: stdout is the output picture's.
    """

    def __init__(
        self,
        config: ProtectConfig,
        *,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        errors: Path | None,
        results_to_stderr: bool = False,
    ) -> None:
        self._asked = self._config = config
        self._full_seconds = 0.0
        self._first_step = self._last_step = (0, 0.0)
        self._quiet = quiet
        self._result = console.say if results_to_stderr else console.result
        self._as_json = as_json
        self._verbose = verbose
        self._errors = errors
        self._progress = make_progress(quiet=quiet)
        self._known_warnings: tuple[str, ...] = ()
        self._test_only = self._others = 0
        self._before = self._pictures = 0

    def message(self, sentence: str) -> None:
        self._progress.print_above(lambda: self._say(sentence))

    def progress(self, what: str, done: int, total: int | None) -> None:
        self._progress.prepare(what, done, total)

    def skipped(self, job: Job, reason: str) -> None:
        if reason == "finished":
            self._before += 1
            self._count(test_only=job.test_only)
        if self._as_json:
            skipped = {"input": job.source.path, "output": job.target, "skipped": reason, "test_only": job.test_only}
            self._progress.print_above(lambda: console.result(json.dumps(skipped)))

    def configured(self, config: ProtectConfig) -> None:
        self._config = config

    def loaded(self, encoder: EncoderInfo) -> None:
        self._known_warnings = encoder.warnings
        for warning in encoder.warnings:
            console.warn(warning)
        if self._verbose:
            self._say(f"{encoder.name} from {encoder.origin} on {encoder.device} in {encoder.dtype}")
            self._say(f"encoder weights sha256 {encoder.digest}")
            self._say(f"config {json.dumps(self._config.as_dict())}")

    def begin(self, jobs: Sequence[Job]) -> None:
        self._pictures = len(jobs)
        if self._before:
            to_do = sum(not job.problem for job in jobs)
            pictures = _pictures(self._before + len(jobs))
            self._say(f"{pictures}: {self._before} finished before, {to_do} to do")
        self._progress.begin([self._work(job) for job in jobs])

    def pictures(self, jobs: Sequence[Job]) -> None:
        self._first_step = self._last_step = (0, 0.0)
        self._progress.pictures(Path(jobs[0].source.path).name, [self._work(job) for job in jobs])

    def step(self, done: int, steps: int, loss: float) -> None:
        self._last_step = (done, time.monotonic())
        if done <= 1:
            self._first_step = self._last_step
        self._progress.step(done, steps, loss)

    def done(self, outcome: Outcome) -> None:
        self._progress.done(self._work(outcome.job), failed=outcome.failure is not None)
        self._progress.print_above(lambda: self._print(outcome))

    def end(self, summary: Summary) -> None:
        self._progress.end()
        for failure in summary.failures[:_MAX_LISTED]:
            console.error(failure.error)
        hidden = len(summary.failures) - _MAX_LISTED
        if hidden > 0:
            hint = f"all are in {self._errors}" if self._errors else "use --errors FILE to record all"
            console.say(f"and {hidden} more; {hint}")
        if summary.left_out:
            self._say(f"{_pictures(summary.left_out, 'file')} left out: not a picture, or an output of this program")
        if summary.stopped:
            console.say(f"stopped: {summary.stopped}")
        if self._full_seconds:
            self._say(f"`preset=thorough` would take about {console.duration(self._full_seconds)} at this pace")
        if summary.total > 1 or summary.folder:
            self._say(self._totals(summary))
            if self._as_json:
                console.result(json.dumps({"summary": summary.as_dict()}))

    def _print(self, outcome: Outcome) -> None:
        job, record = outcome.job, outcome.record
        if record is None:
            if self._as_json and outcome.failure is not None:
                console.result(json.dumps({"input": job.source.path, "error": in_flags(outcome.failure.error)}))
            return
        self._count(test_only=record.test_only)
        prefix = f"{job.source.path}: " if self._pictures > 1 else ""
        for warning in record.warnings:
            if warning not in self._known_warnings:
                console.warn(f"{prefix}{warning}")
        if self._as_json:
            console.result(record.as_json())
        else:
            sizes = {"input_bytes": job.source.size_bytes, "output_bytes": _size(record.output)}
            self._result(summary_line(record, **sizes, verbose=self._verbose), shown=not self._quiet)
        self._full_seconds += self._thorough_seconds(record)

    def _thorough_seconds(self, record: Record) -> float:
        """About how long the preset `thorough` takes for a picture, from the pace of the steps just seen; 0 if the device did not
        decide, or no steps were seen, as from other processes."""
        (first, started), (last, ended) = self._first_step, self._last_step
        if self._config == self._asked or last <= first:
            return 0.0
        from pca_protect.batch.estimate import encoded_per_step

        thorough = replace(self._asked, preset="thorough")
        here, there = (
            config.recipe.steps * encoded_per_step(record.width_px, record.height_px, config)
            for config in (self._config, thorough)
        )
        steps_seconds = (ended - started) * last / (last - first)
        return max(0.0, record.seconds - steps_seconds) + steps_seconds * there / here

    def _work(self, job: Job) -> float:
        """The expected work of a picture: pixels given to the encoder, in all steps and for the evaluation. Pictures of unknown
        size, as in a bucket, have that of one megapixel."""
        if job.problem:
            return 0.0
        side_px = 1000
        return _encoded_pixels(job.source.width_px or side_px, job.source.height_px or side_px, self._config)

    def _count(self, *, test_only: bool) -> None:
        self._test_only += test_only
        self._others += not test_only

    def _totals(self, summary: Summary) -> str:
        if not self._test_only:
            return _totals(summary)
        if not self._others:
            return f"{TEST_ONLY}{_totals(summary, 'written')}"
        return f"{_totals(summary)}; {_pictures(self._test_only)} {NO_REAL_EDITOR}"

    def _say(self, line: str) -> None:
        console.say(line, shown=not self._quiet)


def show_preview(preview: Preview, measure: Callable[[], Estimate]) -> None:
    """Prints the result of `--dry-run`: jobs to stdout, messages and the estimated time to stderr."""
    marks = {"to do": [], "finished": ["finished", "skipped"], "exists": ["exists", "skipped"]}
    for job, job_status in zip(preview.jobs, preview.statuses, strict=True):
        if job.problem:
            console.error(job.problem)
        else:
            notes = [*marks[job_status], *(["test only"] if job.test_only and job_status != "exists" else [])]
            note = f" ({', '.join(notes)})" if notes else ""
            console.result(console.one_line(f"{job.source.path} -> {job.target}{note}"))
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


@lru_cache(maxsize=1024)
def _encoded_pixels(width_px: int, height_px: int, config: ProtectConfig) -> float:
    from pca_protect.batch.estimate import encoded_per_step

    return config.recipe.steps * encoded_per_step(width_px, height_px, config) + width_px * height_px


def _size(path: str | None) -> int:
    """Size of a file in bytes; 0 if it is none on this machine."""
    with suppress(OSError, ValueError):
        return Path(path or "").stat().st_size
    return 0


def _totals(summary: Summary, done: str = "protected") -> str:
    parts = [f"{summary.protected} {done}"]
    for number, label in (
        (summary.finished, "finished before"),
        (summary.skipped, "skipped"),
        (summary.left_out, "left out"),
        (len(summary.failures), "failed"),
        (summary.left, "not done"),
    ):
        if number:
            parts.append(f"{number} {label}")
    resume = "; run the same command to resume" if summary.left and summary.folder else ""
    return f"{', '.join(parts)} in {console.duration(summary.seconds)}{resume}"


def _pictures(number: int, noun: str = "picture") -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
