"""A run over many pictures: plan, lock the output folder, skip finished pictures, execute the rest, sum up.

Imports no torch, whose import takes seconds, so that invalid requests are rejected first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pca_protect.batch.begin import Classified, Inputs, classify_inputs, find
from pca_protect.batch.bucket_ledger import BucketLedger, end_plans, plan_place, write_plan
from pca_protect.batch.classify import output_key
from pca_protect.batch.ledger import STATE, new_name
from pca_protect.batch.listing import write_errors
from pca_protect.batch.merge import merge_segments
from pca_protect.batch.observer import RunObserver
from pca_protect.batch.outcome import EncoderInfo, Outcome, Summary
from pca_protect.batch.output_lock import output_lock, sole_writer
from pca_protect.batch.preview import explained, messages_about
from pca_protect.batch.request import Request
from pca_protect.batch.store import Store
from pca_protect.batch.tally import Tally
from pca_protect.config import ProtectConfig
from pca_protect.errors import PcaProtectError
from pca_protect.io.limits import MAX_PIXELS
from pca_protect.io.plan import Job
from pca_protect.surrogates.resolve import Resolved, resolve

if TYPE_CHECKING:
    from pca_protect.batch.executors.execution import Execution
    from pca_protect.batch.worker import WorkerConfig
    from pca_protect.surrogates.encoder import AnySurrogate


def run(request: Request, config: ProtectConfig, observer: RunObserver) -> Summary:
    """Protect pictures in this process, in several, or on a Ray cluster.

    Raises:
        UsageError: the request is invalid; nothing was done.
        ModelError, DeviceError: raised after the summary.
    """
    if request.engine == "ray":
        from pca_protect.batch.executors.ray import require_ray  # noqa: PLC0415 - of an extra

        require_ray()
    with ExitStack() as cleanup:
        prepared = _prepare(request, config, observer, cleanup)
        tally = _tally(prepared, observer)
        try:
            _execute(prepared, tally, observer)
        finally:
            summary = tally.summary()
            for problem in _save(prepared, tally, summary):
                observer.message(problem)
            observer.end(summary)
    assert summary.total == len(prepared.classified.jobs), "a picture is counted twice or not at all"
    return summary


@dataclass(frozen=True)
class _Prepared:
    """Attributes:
    load: loads the encoder of these names into this process, once, see `_load`.
    temporary: folder for incomplete outputs; None outside of a folder.
    """

    request: Request
    config: ProtectConfig
    inputs: Inputs
    classified: Classified
    load: Callable[[Resolved], AnySurrogate]
    temporary: Path | None
    name: str

    @property
    def to_do(self) -> list[Job]:
        return self.classified.having("to do")

    @property
    def bucket(self) -> Store | None:
        store = self.inputs.store
        return store if store is not None and not store.is_local else None

    @property
    def may_train(self) -> bool:
        """Whether a missing universal perturbation may be trained on the pending pictures: all workers see this machine's cache,
        and no other shard trains another."""
        return self.inputs.in_folder is not None and self.request.engine == "local" and self.request.shard is None

    @property
    def resolved(self) -> Resolved:
        # Nothing was resolved if no header was readable. A file that became readable since then has its regular name.
        return self.classified.resolved or _resolve(self.request, self.config, fallback=False)


def _prepare(request: Request, config: ProtectConfig, observer: RunObserver, cleanup: ExitStack) -> _Prepared:
    inputs = find(request, observer.progress)
    load = cache(lambda resolved: _load(resolved, request, config))
    folder = inputs.in_folder
    temporary = cleanup.enter_context(output_lock(folder, request.shard)) if folder is not None else None
    classified = classify_inputs(
        inputs,
        request,
        config,
        resolve=lambda: _resolve(request, config, fallback=request.fallback),
        weights_digest=lambda resolved: lambda: load(resolved).digest,
        on_progress=observer.progress,
    )
    observer.configured(classified.config)
    for message in messages_about(inputs, request):
        observer.message(message)
    prepared = _Prepared(request, classified.config, inputs, classified, load, temporary, new_name())
    if prepared.to_do:
        for message in explained(classified.resolved, classified.config, classified.choice):
            observer.message(message)
    return prepared


def _load(resolved: Resolved, request: Request, config: ProtectConfig) -> AnySurrogate:
    """The encoder on the run's device if this process executes the run; else on the CPU, for its digest."""
    from pca_protect.batch.executors.processes import worker_count  # noqa: PLC0415 - torch
    from pca_protect.surrogates.load import load_resolved  # noqa: PLC0415

    is_here = request.engine == "local" and worker_count(request.jobs, config.device) == 1
    device, precision = (config.device, config.precision) if is_here else ("cpu", "fp32")
    return load_resolved(resolved, device=device, precision=precision, offline=request.offline)


def _tally(prepared: _Prepared, observer: RunObserver) -> Tally:
    """The counts of what needs no work."""
    classified, bucket = prepared.classified, prepared.bucket
    existing, finished = classified.having("exists"), classified.having("finished")
    for job in existing:
        observer.skipped(job, "exists")
        if prepared.inputs.store is None:
            observer.message(f"{job.target}: exists, skipped")
    for job in finished:
        observer.skipped(job, "finished")

    def on_outcome(outcome: Outcome) -> None:
        if outcome.left_out:
            observer.skipped(outcome.job, outcome.left_out)
        else:
            observer.done(outcome)

    return Tally(
        pending=len(prepared.to_do),
        finished=len(finished),
        skipped=len(existing),
        folder=prepared.inputs.store is not None,
        max_failures=prepared.request.max_failures,
        writer=BucketLedger(bucket, prepared.name) if bucket is not None else None,
        on_outcome=on_outcome,
    )


def _execute(prepared: _Prepared, tally: Tally, observer: RunObserver) -> None:
    refused, to_do = prepared.classified.having("failed"), prepared.to_do
    report_loaded = _once(observer.loaded)

    @cache
    def surrogate() -> AnySurrogate:
        loaded = prepared.load(prepared.resolved)
        report_loaded(EncoderInfo.of(loaded))
        return loaded

    if to_do and prepared.may_train:
        from pca_protect.batch.universal import train_if_it_pays  # noqa: PLC0415 - torch

        train_if_it_pays(to_do, prepared.config, surrogate=surrogate, message=observer.message)
    if to_do or len(refused) > 1:
        observer.begin([*to_do, *refused])
    for job in refused:
        tally.refuse(job)
    if not to_do or tally.is_stopping():
        return
    from pca_protect.batch.executors.execution import Execution  # noqa: PLC0415 - torch

    work = _work(prepared)
    if prepared.bucket is not None:
        keys = {output_key(prepared.inputs.plan.folder, job.target) for job in to_do}
        weights = prepared.load(prepared.resolved).digest
        write_plan(prepared.bucket, prepared.name, work.config_digest, weights, keys)
    folder = prepared.inputs.in_folder
    execution = Execution(
        to_do,
        work,
        prepared.name,
        "" if folder is None else str(folder),
        report=tally.add,
        loaded=report_loaded,
        stopping=tally.is_stopping,
    )
    _choose_executor(prepared, execution, surrogate, observer)


def _once(tell: Callable[[EncoderInfo], None]) -> Callable[[EncoderInfo], None]:
    """The function, which does nothing from its second call on: workers load the encoder that a training has loaded."""
    told: list[EncoderInfo] = []

    def once(encoder: EncoderInfo) -> None:
        if not told:
            told.append(encoder)
            tell(encoder)

    return once


def _work(prepared: _Prepared) -> WorkerConfig:
    from pca_protect.batch.worker import WorkerConfig  # noqa: PLC0415 - torch

    request, inputs = prepared.request, prepared.inputs
    return WorkerConfig(
        prepared.config,
        prepared.classified.resolved,
        request.output_options,
        request.digest(prepared.config),
        folder=inputs.plan.folder if inputs.store is not None else None,
        temporary=prepared.temporary,
        mask=request.mask,
        evaluate=request.evaluate,
        preserve_times=request.preserve_times,
        offline=request.offline,
        max_pixels=request.max_pixels or MAX_PIXELS,
    )


def _choose_executor(
    prepared: _Prepared, execution: Execution, surrogate: Callable[[], AnySurrogate], observer: RunObserver
) -> None:
    """Choose an executor and run it. Raises as `Executor` does."""
    request, config = prepared.request, prepared.config
    if request.engine == "ray":
        from pca_protect.batch.executors import ray  # noqa: PLC0415 - of an extra

        ray.execute(execution, jobs=request.jobs, address=request.ray_address)
        return
    from pca_protect.batch.executors import processes, threads  # noqa: PLC0415 - torch

    count = processes.worker_count(request.jobs, config.device)
    if count > 1 and len(execution.jobs) > 1 and execution.work.resolved is not None:
        processes.execute(execution, count)
        return
    threads.execute(execution, surrogate, on_pictures=observer.pictures, on_step=observer.step)


def _resolve(request: Request, config: ProtectConfig, *, fallback: bool) -> Resolved:
    return resolve(
        config.vaes, offline=request.offline, fallback=fallback, device=config.device, precision=config.precision
    )


def _save(prepared: _Prepared, tally: Tally, summary: Summary) -> Iterator[str]:
    """Write the list of failures and the ledger's last lines, and merge its segments. Yields a message for each problem."""
    request = prepared.request
    if request.errors is not None:
        try:
            write_errors(request.errors, summary.failures)
        except OSError as error:
            yield f"`errors={request.errors}`: cannot be written ({error.strerror})"
    store, folder = prepared.inputs.store, prepared.inputs.in_folder
    if store is None:
        return
    try:
        if folder is not None:
            with sole_writer(folder, request.shard) as alone:
                if alone:
                    merge_segments(store)
        elif tally.writer is not None and (problem := tally.writer.flush()):
            yield f"the ledger could not be completed ({problem}); the next run protects the pictures that it lacks again"
        elif request.shard is None and not summary.left:
            end_plans(store, _unexplained(prepared))
            merge_segments(store)
        elif not summary.left:
            store.remove(plan_place(prepared.name))
    except (OSError, PcaProtectError) as error:  # nothing is lost: the next run reads the segments
        yield f"{store.url(STATE)}: the parts of the ledger could not be merged ({error}); the next run tries again"


def _unexplained(prepared: _Prepared) -> set[str]:
    """Outputs in the bucket without a line that are not this run's: another run wrote them or somebody else."""
    past, folder = prepared.classified.past, prepared.inputs.plan.folder
    ours = {output_key(folder, target) for job in prepared.classified.jobs for target in job.candidates}
    return {place for place in past.listed if not past.ledger.of(place) and place not in ours}
