"""A run over many pictures: plan, lock the output folder, skip finished pictures, share the rest among processes, sum up.

Imports no torch, whose import takes seconds, so that invalid requests are rejected first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Protocol

from pca_protect.batch.begin import Inputs, classify_inputs, find
from pca_protect.batch.classify import JobStatus
from pca_protect.batch.journal import merge_parts
from pca_protect.batch.listing import write_errors
from pca_protect.batch.outcome import Failure, Outcome, Summary
from pca_protect.batch.output_lock import State, output_lock
from pca_protect.batch.processes import Processes, all_processes
from pca_protect.batch.request import Request
from pca_protect.config import ProtectConfig
from pca_protect.errors import ModelError, PcaProtectError
from pca_protect.io.plan import TEST_ONLY, Job
from pca_protect.surrogates.families import AUTO, explain
from pca_protect.surrogates.registry import PREFERRED, REGISTRY
from pca_protect.surrogates.resolve import Resolved, downloads, foresee, resolve

if TYPE_CHECKING:
    from pca_protect.surrogates.encoder import AnySurrogate


class RunObserver(Protocol):
    """Receives the events of a run. Only the first process receives `message` and `end`; each receives the others."""

    def message(self, sentence: str) -> None:
        """A notice, before the work begins or at its end."""

    def loaded(self, surrogate: AnySurrogate) -> None:
        """The encoder is loaded."""

    def begin(self, pictures: int) -> None:
        """The work begins; `pictures` is the number of pending ones."""

    def picture(self, job: Job) -> None:
        """The optimisation of a picture begins."""

    def step(self, done: int, steps: int, loss: float) -> None:
        """Progress of the optimisation; the loss is in its own unit, see `engine.Progress`."""

    def done(self, outcome: Outcome) -> None:
        """A picture is finished or has failed."""

    def end(self, summary: Summary) -> None:
        """The run ends, completely or early."""


@dataclass(frozen=True)
class Preview:
    """The plan of a run.

    Attributes:
        jobs, statuses: one per picture, in input order.
        messages: omitted files, what names of encoders stand for, and conditions on the outputs' names.
        resolved: the encoders; None if no pending picture has a readable header.
        downloads: encoders of `auto` and of families that have to be downloaded first.
    """

    jobs: list[Job]
    statuses: list[JobStatus]
    messages: list[str]
    resolved: Resolved | None
    downloads: tuple[str, ...] = ()

    @property
    def to_do(self) -> list[Job]:
        jobs = zip(self.jobs, self.statuses, strict=True)
        return [job for job, job_status in jobs if job_status == "to do" and not job.source.problem]


def preview(request: Request, config: ProtectConfig) -> Preview:
    """Plan a run without loading or downloading a model. Assumes that existing outputs were made with its weights.

    Raises:
        UsageError: as for `run`.
        ModelError: `auto` would fall back, and the request forbids it.
    """
    inputs = find(request)
    classified = classify_inputs(
        inputs,
        request,
        config,
        resolve=lambda: foresee(
            config.vaes,
            offline=request.offline,
            fallback=request.fallback,
            device=config.device,
            precision=config.precision,
        ),
        weights_digest=lambda _: None,
    )
    messages = _messages(inputs, request) + _explained(classified.resolved, config)
    pending = () if classified.resolved is None else downloads(config.vaes, offline=request.offline)
    if AUTO in config.vaes and PREFERRED in pending:
        messages.append(
            f"VAE auto: `{PREFERRED}` is not in the local cache and would be downloaded; if that fails, the outputs are test "
            f"only and named NAME.{TEST_ONLY}.EXT unless -o names the file"
        )
    elif pending:
        megabytes = sum(REGISTRY[name].download_megabytes for name in pending)
        messages.append(f"not in the local cache and to be downloaded: {', '.join(pending)} (about {megabytes} MB)")
    elif classified.resolved is not None:
        messages += classified.resolved.warnings
    return Preview(classified.jobs, classified.statuses, messages, classified.resolved, pending)


def run(request: Request, config: ProtectConfig, observer: RunObserver) -> Summary:
    """Protect pictures, as a single process or as one of several that share the work.

    Raises:
        UsageError: the request is invalid; nothing was done.
        ModelError, DeviceError: raised in every process, after the summary.
    """
    with all_processes(config.device) as processes, ExitStack() as cleanup:
        load = cache(lambda resolved: _load(resolved, request, config, observer))
        prepared = processes.from_first(lambda: _prepare(request, config, load, cleanup))

        def surrogate() -> AnySurrogate:
            # Nothing was resolved if no header was readable. A file that became readable since then has its regular name.
            return load(prepared.resolved or _resolve(request, config, fallback=False))

        if processes.rank == 0:
            for message in prepared.messages:
                observer.message(message)
            if prepared.state is None:
                for job in prepared.existing:
                    observer.message(f"{job.target}: exists, skipped")
        return _work(prepared, request, config, surrogate, observer, processes)


@dataclass(frozen=True)
class _Prepared:
    to_do: list[Job]
    existing: list[Job]
    finished: int
    state: State | None
    messages: list[str]
    resolved: Resolved | None


@dataclass
class _Tally:
    """Results of one process's share."""

    protected: int = 0
    failures: list[Failure] = field(default_factory=list)
    stopped: str = ""
    error: PcaProtectError | None = None

    def add(self, outcome: Outcome) -> None:
        if outcome.failure is None:
            self.protected += 1
        else:
            self.failures.append(outcome.failure)


def _prepare(
    request: Request, config: ProtectConfig, load: Callable[[Resolved], AnySurrogate], cleanup: ExitStack
) -> _Prepared:
    inputs = find(request)
    state = cleanup.enter_context(output_lock(inputs.journalled)) if inputs.journalled is not None else None
    classified = classify_inputs(
        inputs,
        request,
        config,
        resolve=lambda: _resolve(request, config, fallback=request.fallback),
        weights_digest=lambda resolved: lambda: load(resolved).digest,
    )
    jobs: dict[JobStatus, list[Job]] = {"to do": [], "finished": [], "exists": []}
    for job, job_status in zip(classified.jobs, classified.statuses, strict=True):
        jobs[job_status].append(job)
    messages = _messages(inputs, request)
    if jobs["to do"]:
        messages += _explained(classified.resolved, config)
    return _Prepared(jobs["to do"], jobs["exists"], len(jobs["finished"]), state, messages, classified.resolved)


def _resolve(request: Request, config: ProtectConfig, *, fallback: bool) -> Resolved:
    return resolve(
        config.vaes, offline=request.offline, fallback=fallback, device=config.device, precision=config.precision
    )


def _explained(resolved: Resolved | None, config: ProtectConfig) -> list[str]:
    """What the names of encoders stand for. A fallback is a warning instead."""
    if resolved is None or resolved.fallback_warning:
        return []
    return explain(config.vaes, resolved.names, config.scales)


def _messages(inputs: Inputs, request: Request) -> list[str]:
    nothing_listed = request.from_file is not None and not inputs.plan.jobs
    return [f"{request.from_file}: lists no pictures; nothing to do"] if nothing_listed else inputs.found.messages()


def _load(resolved: Resolved, request: Request, config: ProtectConfig, observer: RunObserver) -> AnySurrogate:
    from pca_protect.surrogates.load import load_resolved  # noqa: PLC0415 - torch

    surrogate = load_resolved(resolved, device=config.device, precision=config.precision, offline=request.offline)
    observer.loaded(surrogate)
    return surrogate


def _work(
    prepared: _Prepared,
    request: Request,
    config: ProtectConfig,
    surrogate: Callable[[], AnySurrogate],
    observer: RunObserver,
    processes: Processes,
) -> Summary:
    started = time.perf_counter()
    tally = _Tally()

    def sum_up(tallies: list[_Tally]) -> Summary:
        failures = tuple(failure for tally in tallies for failure in tally.failures)
        protected = sum(tally.protected for tally in tallies)
        summary = Summary(
            protected=protected,
            finished=prepared.finished,
            skipped=len(prepared.existing),
            left=len(prepared.to_do) - protected - len(failures),
            failures=failures,
            seconds=time.perf_counter() - started,
            stopped=next((tally.stopped for tally in tallies if tally.stopped), ""),
            folder=prepared.state is not None,
        )
        if processes.rank == 0:
            for problem in _save_results(summary, prepared.state, request):
                observer.message(problem)
            observer.end(summary)
        return summary

    try:
        _do_share(prepared, request, config, surrogate, observer, processes, tally)
        tallies = processes.gather(tally)
    except BaseException:  # interrupted, or another process died: report the results so far
        sum_up([tally])
        raise
    summary = sum_up(tallies)
    for error in (tally.error for tally in tallies):
        if error is not None:
            raise error
    return summary


def _do_share(
    prepared: _Prepared,
    request: Request,
    config: ProtectConfig,
    surrogate: Callable[[], AnySurrogate],
    observer: RunObserver,
    processes: Processes,
    tally: _Tally,
) -> None:
    """Protect this process's share. An error that ends it early is stored in its tally."""
    if not prepared.to_do:
        return
    from pca_protect.batch.pipeline import Stopped  # noqa: PLC0415 - torch
    from pca_protect.batch.universal import train_if_it_pays  # noqa: PLC0415 - torch
    from pca_protect.batch.work import work  # noqa: PLC0415 - torch

    share = prepared.to_do[processes.rank :: processes.world]

    def report(outcome: Outcome) -> None:
        tally.add(outcome)
        observer.done(outcome)

    try:
        if processes.world > 1 and prepared.resolved is not None:
            _require_same_encoder(surrogate, processes)
        if processes.world == 1 and prepared.state is not None:
            train_if_it_pays(share, config, surrogate=surrogate, message=observer.message)
        observer.begin(len(share))
        work(
            share,
            request,
            config,
            surrogate=surrogate,
            state=prepared.state,
            part=processes.rank if processes.world > 1 else None,
            report=report,
            on_picture=observer.picture,
            on_step=observer.step,
        )
    except Stopped:
        tally.stopped = "nothing more can be written; make room or choose another folder with -o"
    except PcaProtectError as error:
        tally.error = error


def _require_same_encoder(surrogate: Callable[[], AnySurrogate], processes: Processes) -> None:
    """Raises:
    ModelError: the processes loaded different encoders, or one of them failed to load.
    """
    loaded: str | PcaProtectError
    try:
        loaded = surrogate().digest
    except PcaProtectError as error:
        loaded = error
    digests = processes.gather(loaded)
    for digest in digests:
        if isinstance(digest, PcaProtectError):
            raise digest
    if len(set(digests)) > 1:
        raise ModelError(
            "the processes of this run loaded different encoders under one name; run the same command again"
        )


def _save_results(summary: Summary, state: State | None, request: Request) -> Iterator[str]:
    """Write the list of failures and merge the journal's parts. Yields a message for each problem in doing so."""
    if request.errors is not None:
        try:
            write_errors(request.errors, summary.failures)
        except OSError as error:
            yield f"`errors={request.errors}`: cannot be written ({error.strerror})"
    if state is not None:
        try:
            merge_parts(state.folder)
        except OSError as error:  # nothing is lost: the next run reads and merges the parts
            yield f"{state.folder}: the journal's parts could not be merged yet ({error.strerror})"
