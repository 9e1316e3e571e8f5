"""Many pictures, start to finish: plan, take the output folder, leave out what is finished, share the rest, sum up.

Imports no torch: a request that cannot be meant is refused before the seconds that this takes.
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
    """Is told what happens. Of several processes the first one hears `notice` and `end`, each all else."""

    def message(self, sentence: str) -> None:
        """Something to know before the work begins."""

    def loaded(self, surrogate: AnySurrogate) -> None:
        """The encoder is there."""

    def begin(self, pictures: int) -> None:
        """So many pictures are to do."""

    def picture(self, job: Job) -> None:
        """This one is being optimised."""

    def step(self, done: int, steps: int, loss: float) -> None:
        """So far it is; the loss in its own unit, see `engine.Progress`."""

    def done(self, outcome: Outcome) -> None:
        """A picture is finished or failed."""

    def end(self, summary: Summary) -> None:
        """All are, or the run ends early."""


@dataclass(frozen=True)
class Preview:
    """What a run would do.

    Attributes:
        jobs, statuses: of every picture, in the order of the inputs.
        messages: what was left out, what the encoders' names stand for, and what the outputs' names depend on.
        resolved: the encoders; None if no picture to do has a readable header.
        downloads: names of encoders that have to be downloaded first, for `auto` or a family.
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
    """What `run` would do, without doing it, or loading or downloading a model: earlier outputs are taken to be made with its
    weights.

    Raises:
        UsageError: as `run`.
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
    """Protect pictures, alone or as one of several processes, each with its share.

    Raises:
        UsageError: the request cannot be meant; nothing was done.
        ModelError, DeviceError: in all processes, after what is finished was summed up.
    """
    with all_processes(config.device) as processes, ExitStack() as held:
        load = cache(lambda resolved: _load(resolved, request, config, observer))
        begun = processes.from_first(lambda: _begin(request, config, load, held))

        def surrogate() -> AnySurrogate:
            # Without a readable header nothing was resolved. A file that became readable meanwhile has a protected name.
            return load(begun.resolved or _resolve(request, config, fallback=False))

        if processes.rank == 0:
            for message in begun.messages:
                observer.message(message)
            if begun.state is None:
                for job in begun.existing:
                    observer.message(f"{job.target}: exists, skipped")
        return _work(begun, request, config, surrogate, observer, processes)


@dataclass(frozen=True)
class _Begun:
    to_do: list[Job]
    existing: list[Job]
    finished: int
    state: State | None
    messages: list[str]
    resolved: Resolved | None


@dataclass
class _Tally:
    """What became of one process's share."""

    protected: int = 0
    failures: list[Failure] = field(default_factory=list)
    stopped: str = ""
    error: PcaProtectError | None = None

    def add(self, outcome: Outcome) -> None:
        if outcome.failure is None:
            self.protected += 1
        else:
            self.failures.append(outcome.failure)


def _begin(
    request: Request, config: ProtectConfig, load: Callable[[Resolved], AnySurrogate], held: ExitStack
) -> _Begun:
    inputs = find(request)
    state = held.enter_context(output_lock(inputs.journalled)) if inputs.journalled is not None else None
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
    return _Begun(jobs["to do"], jobs["exists"], len(jobs["finished"]), state, messages, classified.resolved)


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
    return [f"{request.from_file}: names no picture; nothing to do"] if nothing_listed else inputs.found.messages()


def _load(resolved: Resolved, request: Request, config: ProtectConfig, observer: RunObserver) -> AnySurrogate:
    from pca_protect.surrogates.load import load_resolved  # noqa: PLC0415 - torch

    surrogate = load_resolved(resolved, device=config.device, precision=config.precision, offline=request.offline)
    observer.loaded(surrogate)
    return surrogate


def _work(
    begun: _Begun,
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
            finished=begun.finished,
            skipped=len(begun.existing),
            left=len(begun.to_do) - protected - len(failures),
            failures=failures,
            seconds=time.perf_counter() - started,
            stopped=next((tally.stopped for tally in tallies if tally.stopped), ""),
            folder=begun.state is not None,
        )
        if processes.rank == 0:
            for problem in _keep(summary, begun.state, request):
                observer.message(problem)
            observer.end(summary)
        return summary

    try:
        _do_share(begun, request, config, surrogate, observer, processes, tally)
        tallies = processes.gather(tally)
    except BaseException:  # interrupted, or another process is gone: say what is done, and let it end this one
        sum_up([tally])
        raise
    summary = sum_up(tallies)
    for error in (tally.error for tally in tallies):
        if error is not None:
            raise error
    return summary


def _do_share(
    begun: _Begun,
    request: Request,
    config: ProtectConfig,
    surrogate: Callable[[], AnySurrogate],
    observer: RunObserver,
    processes: Processes,
    tally: _Tally,
) -> None:
    """This process's part of the pictures; what ends it early is kept in its tally."""
    if not begun.to_do:
        return
    from pca_protect.batch.pipeline import Stopped  # noqa: PLC0415 - torch
    from pca_protect.batch.work import work  # noqa: PLC0415 - torch

    share = begun.to_do[processes.rank :: processes.world]

    def report(outcome: Outcome) -> None:
        tally.add(outcome)
        observer.done(outcome)

    try:
        if processes.world > 1 and begun.resolved is not None:
            _agree(surrogate, processes)
        observer.begin(len(share))
        work(
            share,
            request,
            config,
            surrogate=surrogate,
            state=begun.state,
            part=processes.rank if processes.world > 1 else None,
            report=report,
            on_picture=observer.picture,
            on_step=observer.step,
        )
    except Stopped:
        tally.stopped = "nothing more can be written; make room or choose another folder with -o"
    except PcaProtectError as error:
        tally.error = error


def _agree(surrogate: Callable[[], AnySurrogate], processes: Processes) -> None:
    """Raises:
    ModelError: the processes would protect against different encoders.
    """
    loaded: str | PcaProtectError
    try:
        loaded = surrogate().digest
    except PcaProtectError as error:
        loaded = error
    everyone = processes.gather(loaded)
    for what in everyone:
        if isinstance(what, PcaProtectError):
            raise what
    if len(set(everyone)) > 1:
        raise ModelError(
            "the processes of this run loaded different encoders under one name; run the same command again"
        )


def _keep(summary: Summary, state: State | None, request: Request) -> Iterator[str]:
    """Write down what failed, and make one journal of the processes' parts. Gives what went wrong with that."""
    if request.errors is not None:
        try:
            write_errors(request.errors, summary.failures)
        except OSError as error:
            yield f"`errors={request.errors}`: cannot be written ({error.strerror})"
    if state is not None:
        try:
            merge_parts(state.folder)
        except OSError as error:  # nothing is lost: the next run reads the parts as well, and merges them
            yield f"{state.folder}: the journal's parts could not be merged yet ({error.strerror})"
