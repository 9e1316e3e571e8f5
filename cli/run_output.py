"""Output of `protect`: results, progress bar, failures and totals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pca_protect.batch.outcome import EncoderInfo, Outcome, Summary
from pca_protect.batch.preview import Preview
from pca_protect.cli import console
from pca_protect.cli.flags import in_flags
from pca_protect.cli.progress import make_progress
from pca_protect.config import ProtectConfig
from pca_protect.errors import PcaProtectError
from pca_protect.io.plan import Job

if TYPE_CHECKING:
    from pca_protect.batch.estimate import Estimate
    from pca_protect.record import Record

_MAX_LISTED = 20
"""Failures listed at the end; more would scroll the summary off the screen."""
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
        self._progress = make_progress(quiet=quiet)
        self._known_warnings: tuple[str, ...] = ()
        self._test_only = False
        self._pictures = 0

    def message(self, sentence: str) -> None:
        self._progress.print_above(lambda: console.say(sentence))

    def progress(self, what: str, done: int, total: int | None) -> None:
        self._progress.prepare(what, done, total)

    def skipped(self, job: Job, reason: str) -> None:
        if self._as_json:
            skipped = {"input": job.source.path, "output": job.target, "skipped": reason}
            self._progress.print_above(lambda: console.result(json.dumps(skipped)))

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
        self._progress.begin(pictures)

    def picture(self, job: Job) -> None:
        self._progress.picture(Path(job.source.path).name)

    def step(self, done: int, steps: int, loss: float) -> None:
        self._progress.step(done, steps, loss)

    def done(self, outcome: Outcome) -> None:
        self._progress.done(failed=outcome.failure is not None)
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
            console.say(f"{_pictures(summary.left_out, 'file')} left out: no picture, or an output of this program")
        if summary.stopped:
            console.say(f"stopped: {summary.stopped}")
        if summary.total > 1 or summary.folder:
            console.say(f"{_TEST_ONLY if self._test_only else ''}{_totals(summary)}")
            if self._as_json:
                console.result(json.dumps({"summary": summary.as_dict()}))

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
        if job.problem:
            console.error(job.problem)
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
