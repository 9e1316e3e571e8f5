"""Many pictures on a Ray cluster, from folders or buckets to a folder or bucket.

This process lists, plans and remembers; `engine` has the pictures protected, `worker` is what protects them.
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
    """Protect everything below folders and prefixes.

    Args:
        inputs: folders, files and URLs; each is mirrored from itself.
        output: a folder or URL.
        observer: is told of messages, of the encoder, of every finished and failed picture, and of the end.
        existing: what to do with outputs that no earlier run finished.
        errors: a local file for what failed; see `listing.write_errors`.
        fallback, evaluate: see `Request`.
        workers: how many at once, each with a GPU where there are any and a CPU core otherwise; None takes all of them.
        address: of a Ray cluster; None takes RAY_ADDRESS, and without that starts Ray on this machine alone.

    Raises:
        UsageError: the request cannot be meant, the `cluster` extra is missing, or a storage cannot be used.
        ModelError: the encoder cannot be loaded here, or is another one on a worker.
        DeviceError: the cluster cannot be reached, or ends early.
    """
    require_ray()
    output_options = output_options or OutputOptions()
    if workers is not None and workers < 1:
        raise UsageError(f"`workers={workers}`: give at least 1")
    if errors is not None:
        check_errors_file(errors)
    with ExitStack() as held:
        begun = _begin(
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
            held,
        )
        tally = _Tally(begun)
        try:
            if begun.statuses.to_do:
                observer.begin(len(begun.statuses.to_do))
                results = results_of(begun.statuses.to_do, begun.worker_config, workers=workers, address=address)
                with closing(results):  # an interrupt here stops the workers there
                    for result in results:
                        tally.add(result, observer)
            begun.ledger.end(tally.failures, begun.statuses.classified)
        except BaseException:
            begun.ledger.flush()  # the announcement stays: what was written and not remembered is known by it
            raise
        finally:
            summary = tally.summary()
            if errors is not None:
                write_errors(errors, summary.failures)
            if tally.left_out:
                observer.message(f"left out: {tally.left_out}, outputs of this program or no pictures")
            observer.end(summary)
    return summary


@dataclass(frozen=True)
class _Begun:
    output: Storage
    statuses: JobStatuses
    ledger: Ledger
    worker_config: WorkerConfig


@dataclass
class _Tally:
    """What became of the pictures so far."""

    begun: _Begun
    started: float = field(default_factory=time.perf_counter)
    protected: int = 0
    left_out: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, result: Result, observer: RunObserver) -> None:
        task = result.task
        target = self.begun.output.url(task.target if result.line is None else result.line.output)
        job = Job(Source(task.url, task.root, task.stored.place), target)
        if result.left_out:
            self.left_out += 1
        elif result.line is None or result.record is None:
            failure = Failure(task.url, task.root, result.failure)
            self.failures.append(failure)
            observer.done(Outcome(job, failure=failure))
        else:
            self.protected += 1
            self.begun.ledger.add(result.line, result.record)
            observer.done(Outcome(job, record=result.record))

    def summary(self) -> Summary:
        statuses = self.begun.statuses
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


def _begin(
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
    held: ExitStack,
) -> _Begun:
    """List, resolve `auto` and families on this machine, load the encoder for its digest, and leave out what is finished.

    After a fallback of `auto`, outputs with protected names count as finished whatever their encoder, and the others get
    test-only names.
    """
    from pca_protect.cluster.worker import WorkerConfig  # noqa: PLC0415 - torch
    from pca_protect.surrogates.load import load_resolved  # noqa: PLC0415 - torch

    output = Storage(output_root)
    found = inputs_of([Storage(name) for name in inputs], output, recursive=recursive)
    for message in found.messages:
        observer.message(message)
    if output.is_local:
        held.enter_context(output_lock(output.path()))
    resolved = resolve(
        config.vaes, offline=offline, fallback=fallback, device=config.device, precision=config.precision
    )
    if not resolved.fallback_warning:
        for sentence in explain(config.vaes, resolved.names, config.scales):
            observer.message(sentence)
    surrogate = load_resolved(resolved, device="cpu", precision="fp32", offline=offline)
    observer.loaded(surrogate)
    there = {stored.place: stored for stored in output.listed()}
    ledger = Ledger(output, there.values(), uuid.uuid4().hex[:12])
    classified = partial(
        classify,
        output=output,
        there=there,
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
    return _Begun(output, statuses, ledger, worker_config)
