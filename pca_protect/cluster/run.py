"""A run on a Ray cluster, from folders or buckets to a folder or bucket.

This process lists, plans and keeps the journal; `engine` distributes the pictures, and `worker` protects them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pca_protect.batch.listing import check_errors_file, write_errors
from pca_protect.batch.outcome import Failure, Outcome, Summary
from pca_protect.batch.output_lock import output_lock
from pca_protect.batch.output_options import OutputOptions
from pca_protect.batch.request import Existing
from pca_protect.cluster.engine import require_ray, results_of
from pca_protect.cluster.plan import JobStatuses, classify, inputs_of, renamed
from pca_protect.cluster.records import Ledger, Planned
from pca_protect.cluster.storage import Storage
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.io.discover import Source
from pca_protect.io.plan import Job
from pca_protect.surrogates.families import explain
from pca_protect.surrogates.resolve import resolve

if TYPE_CHECKING:
    from pca_protect.batch.run import RunObserver
    from pca_protect.cluster.worker import Result, WorkerConfig


def run(
    inputs: Sequence[str],
    output: str,
    config: ProtectConfig,
    *,
    observer: RunObserver,
    recursive: bool = True,
    existing: Existing = "refuse",
    output_options: OutputOptions | None = None,
    errors: Path | None = None,
    offline: bool = False,
    fallback: bool = True,
    evaluate: bool = True,
    max_pixels: int | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> Summary:
    """Protect all pictures below folders and prefixes.

    Args:
        inputs: folders, files and URLs; outputs mirror the tree below each.
        output: a folder or URL.
        observer: receives messages, the encoder, every finished and failed picture, and the end.
        existing: treatment of outputs that exist and are not finished.
        errors: local file for the list of failures; see `listing.write_errors`.
        fallback, evaluate: see `Request`.
        workers: number of concurrent workers, each with one GPU if there are any, else one CPU core; None for all of them.
        address: address of a Ray cluster; None for RAY_ADDRESS, or if that is unset, Ray on this machine only.

    Raises:
        UsageError: the request is invalid, the `cluster` extra is missing, or a storage is not accessible.
        ModelError: the encoder cannot be loaded, or differs on a worker.
        DeviceError: the cluster cannot be reached, or ended the run.
    """
    require_ray()
    output_options = output_options or OutputOptions()
    if workers is not None and workers < 1:
        raise UsageError(f"`workers={workers}`: give at least 1")
    if errors is not None:
        check_errors_file(errors)
    with ExitStack() as cleanup:
        prepared = _prepare(
            inputs,
            output,
            config,
            observer,
            recursive,
            existing,
            output_options,
            offline,
            fallback,
            evaluate,
            max_pixels,
            cleanup,
        )
        tally = _Tally(prepared)
        try:
            if prepared.statuses.to_do:
                observer.begin(len(prepared.statuses.to_do))
                results = results_of(prepared.statuses.to_do, prepared.worker_config, workers=workers, address=address)
                with closing(results):  # stops the workers on an interrupt
                    for result in results:
                        tally.add(result, observer)
            prepared.ledger.end(tally.failures, prepared.statuses.classified)
        except BaseException:
            prepared.ledger.flush()  # keep the plan: it identifies outputs missing from the journal
            raise
        finally:
            summary = tally.summary()
            if errors is not None:
                write_errors(errors, summary.failures)
            if tally.left_out:
                observer.message(f"left out: {tally.left_out} (outputs of this program, or not pictures)")
            observer.end(summary)
    return summary


@dataclass(frozen=True)
class _Prepared:
    output: Storage
    statuses: JobStatuses
    ledger: Ledger
    worker_config: WorkerConfig


@dataclass
class _Tally:
    """Results so far."""

    prepared: _Prepared
    started: float = field(default_factory=time.perf_counter)
    protected: int = 0
    left_out: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, result: Result, observer: RunObserver) -> None:
        task = result.task
        target = self.prepared.output.url(task.target if result.line is None else result.line.output)
        job = Job(Source(task.url, task.root, task.stored.place), target)
        if result.left_out:
            self.left_out += 1
        elif result.line is None or result.record is None:
            failure = Failure(task.url, task.root, result.failure)
            self.failures.append(failure)
            observer.done(Outcome(job, failure=failure))
        else:
            self.protected += 1
            self.prepared.ledger.add(result.line, result.record)
            observer.done(Outcome(job, record=result.record))

    def summary(self) -> Summary:
        statuses = self.prepared.statuses
        classified = self.protected + len(self.failures) + self.left_out
        return Summary(
            protected=self.protected,
            finished=statuses.finished,
            skipped=len(statuses.existing) + self.left_out,
            left=len(statuses.to_do) - classified,
            failures=tuple(self.failures),
            seconds=time.perf_counter() - self.started,
            folder=True,
        )


def _prepare(
    inputs: Sequence[str],
    output_root: str,
    config: ProtectConfig,
    observer: RunObserver,
    recursive: bool,
    existing: Existing,
    output_options: OutputOptions,
    offline: bool,
    fallback: bool,
    evaluate: bool,
    max_pixels: int | None,
    cleanup: ExitStack,
) -> _Prepared:
    """List inputs, resolve names of encoders on this machine, load them for their digest, and skip finished pictures.

    After a fallback of `auto`, outputs under regular names count as finished for any encoder, and the others get test-only
    names.
    """
    from pca_protect.cluster.worker import WorkerConfig  # noqa: PLC0415 - torch
    from pca_protect.surrogates.load import load_resolved  # noqa: PLC0415 - torch

    output = Storage(output_root)
    found = inputs_of([Storage(name) for name in inputs], output, recursive=recursive)
    for message in found.messages:
        observer.message(message)
    if output.is_local:
        cleanup.enter_context(output_lock(output.path()))
    resolved = resolve(
        config.vaes, offline=offline, fallback=fallback, device=config.device, precision=config.precision
    )
    if not resolved.fallback_warning:
        for sentence in explain(config.vaes, resolved.names, config.scales):
            observer.message(sentence)
    surrogate = load_resolved(resolved, device="cpu", precision="fp32", offline=offline)
    observer.loaded(surrogate)
    stored_outputs = {stored.place: stored for stored in output.listed()}
    ledger = Ledger(output, stored_outputs.values(), uuid.uuid4().hex[:12])
    classified = partial(
        classify,
        output=output,
        there=stored_outputs,
        finished=ledger.finished(),
        unfinished=ledger.unfinished(),
        existing=existing,
        config_digest=output_options.digest(config),
    )
    if resolved.test_only:
        protected = classified(found.tasks, weights_digest=None)
        statuses = classified(renamed(protected.to_do), weights_digest=surrogate.digest)
        statuses.add_classified(protected)
    else:
        statuses = classified(found.tasks, weights_digest=surrogate.digest)
    for url in statuses.existing:
        observer.message(f"{url}: exists, skipped")
    worker_config = WorkerConfig(
        output.root, config, resolved, output_options, surrogate.digest, offline, evaluate, max_pixels
    )
    if statuses.to_do:
        targets = frozenset(task.target for task in statuses.to_do)
        ledger.announce(Planned(output_options.digest(config), surrogate.digest, targets))
    return _Prepared(output, statuses, ledger, worker_config)
