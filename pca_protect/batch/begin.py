"""Prepares a run: finds inputs, resolves encoders, names outputs and classifies every picture. Imports no torch, unless `auto`
may take several encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pca_protect.batch.bucket_ledger import RunPlan, read_plans
from pca_protect.batch.buckets import list_bucket
from pca_protect.batch.classify import Evidence, JobStatus, classify, refuse
from pca_protect.batch.ledger import STATE, Ledger, read_ledger
from pca_protect.batch.listing import check_errors_file, read_list
from pca_protect.batch.request import Request
from pca_protect.batch.store import Store, Stored
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.image.masks import read_mask
from pca_protect.io.discover import discover
from pca_protect.io.limits import MAX_PIXELS
from pca_protect.io.plan import Job, Plan, is_url, plan
from pca_protect.io.source import Found
from pca_protect.surrogates.resolve import Resolved, resolve_cached

WeightsDigest = Callable[[Resolved], Callable[[], str] | None]
"""Maps an encoder to the `weights_digest` of `classify.Evidence`."""


class OnProgress(Protocol):
    """Called often while a run is prepared."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """`what`: "listing" or "comparing"."""


def no_progress(what: str, done: int, total: int | None) -> None:
    """An `OnProgress` that does nothing."""


@dataclass(frozen=True)
class Inputs:
    """Attributes:
    plan: outputs under their regular names, as without test models.
    """

    found: Found
    plan: Plan

    @cached_property
    def store(self) -> Store | None:
        """The outputs' store if the run keeps a ledger there, else None. A single picture starts no new
        ledger in a folder."""
        if self.plan.folder is None:
            return None
        store = Store(self.plan.folder)
        return store if self.plan.several or not store.is_local or store.path(STATE).is_dir() else None

    @property
    def in_folder(self) -> Path | None:
        """The output folder if the run keeps a ledger there; None for a bucket."""
        return self.store.path() if self.store is not None and self.store.is_local else None


@dataclass(frozen=True)
class Past:
    """What earlier runs left: see `Evidence`. Read once the output is locked."""

    ledger: Ledger
    plans: Sequence[RunPlan]
    listed: dict[str, Stored]


@dataclass(frozen=True)
class Classified:
    """Attributes:
    jobs, statuses: one per picture, in input order.
    config, choice: the configuration and what the device decided, see `Request.completed`.
    resolved: the encoders to load; None if no pending picture has a readable header.
    past: what the pictures were compared with.
    """

    jobs: list[Job]
    statuses: list[JobStatus]
    config: ProtectConfig
    choice: str
    resolved: Resolved | None
    past: Past

    def having(self, status: JobStatus) -> list[Job]:
        return [job for job, one in zip(self.jobs, self.statuses, strict=True) if one == status]


def find(request: Request, on_progress: OnProgress = no_progress) -> Inputs:
    """Find the pictures and plan their outputs. Performs all checks that need no model.

    Raises:
        UsageError: the request is invalid.
    """
    if request.errors is not None:
        check_errors_file(request.errors)
    max_pixels = request.max_pixels or MAX_PIXELS
    if request.mask is not None:
        read_mask(request.mask, max_pixels=max_pixels)
    listed = []
    if request.from_file is not None:
        listed = read_list(request.from_file, null_separated=request.null_separated)
        if not listed and not request.names:
            return Inputs(Found(), Plan([], None))
    found = Found()
    in_bucket = request.output is not None and is_url(request.output)

    def on_listed(number: int) -> None:
        on_progress("listing", number, None)

    for url in (name for name in (*request.names, *(entry.path for entry in listed)) if is_url(name)):
        output = str(request.output) if in_bucket else None
        list_bucket(url, found, wanted=request.wanted, output=output, on_listed=on_listed)
    discover(
        [name for name in request.names if not is_url(name)],
        listed=[entry for entry in listed if not is_url(entry.path)],
        recursive=request.recursive,
        output=None if request.output is None or in_bucket else Path(request.output),
        max_pixels=max_pixels,
        wanted=request.wanted,
        found=found,
        on_listed=on_listed,
    )
    return Inputs(found, _plan(found, request))


def read_past(inputs: Inputs) -> Past:
    """Raises:
    UsageError: the ledger cannot be read.
    """
    store = inputs.store
    if store is None:
        return Past(Ledger(), (), {})
    state = [stored.place for stored in store.listed(STATE)]
    listed = {} if store.is_local else {stored.place: stored for stored in store.listed()}
    return Past(read_ledger(store), read_plans(store, state), listed)


def classify_inputs(
    inputs: Inputs,
    request: Request,
    config: ProtectConfig,
    *,
    resolve: Callable[[], Resolved],
    weights_digest: WeightsDigest,
    on_progress: OnProgress = no_progress,
) -> Classified:
    """Complete the configuration, resolve `auto` and families, name the outputs accordingly, and find the pending pictures.

    If an encoder of `auto` or of a family is not cached, existing outputs are classified first, under their regular names and
    for any encoder. `resolve` is called only if a picture is pending. Thus an invalid request causes no download, and a fallback
    does not redo protected pictures. If all encoders are test models, the outputs of pending pictures get test-only names.

    Args:
        config: as asked for, without what the device decides. After a fallback the device decides for the test model.
        resolve: resolves the names, with downloads if necessary.

    Raises:
        UsageError: outputs are in conflict and the request is strict, or nothing else is to do.
        ModelError: from `resolve`.
    """
    jobs, past = inputs.plan.jobs, read_past(inputs)
    completed, choice = request.completed(config)

    def classified(
        jobs: Sequence[Job], config: ProtectConfig, weights: Callable[[], str] | None
    ) -> tuple[list[Job], list[JobStatus]]:
        evidence = Evidence(
            store=inputs.store,
            ledger=past.ledger,
            existing=request.existing,
            config_digest=request.digest(config),
            weights_digest=weights,
            plans=past.plans,
            listed=past.listed,
            checksum=request.checksum,
            marker=request.output_options.marker,
            on_checked=lambda number: on_progress("comparing", number, len(jobs)),
        )
        done, statuses = classify(jobs, evidence)
        if request.strict or "to do" not in statuses:
            refuse(done)
        return done, statuses

    resolved = resolve_cached(config.vaes, device=config.device, precision=config.precision)
    if resolved is not None:
        if resolved.test_only:
            jobs = _plan(inputs.found, request, resolved).jobs
        return Classified(*classified(jobs, completed, weights_digest(resolved)), completed, choice, resolved, past)
    known = Classified(*classified(jobs, completed, None), completed, choice, None, past)
    if not any(job.source.pixels or is_url(job.source.path) for job in known.having("to do")):
        return known
    resolved = resolve()
    if not resolved.test_only:
        return Classified(*classified(jobs, completed, weights_digest(resolved)), completed, choice, resolved, past)
    fallen_back, choice = request.completed(config, resolved.names)
    renamed = _plan(inputs.found, request, resolved)
    pending = [job for job, status in zip(renamed.jobs, known.statuses, strict=True) if status == "to do"]
    again = zip(*classified(pending, fallen_back, weights_digest(resolved)), strict=True)
    both = [
        next(again) if status == "to do" else (job, status)
        for job, status in zip(known.jobs, known.statuses, strict=True)
    ]
    return Classified([job for job, _ in both], [status for _, status in both], fallen_back, choice, resolved, past)


def _plan(found: Found, request: Request, resolved: Resolved | None = None) -> Plan:
    """The plan, reduced to the request's shard; under regular names if the encoders are not known yet."""
    planned = plan(
        found,
        request.output,
        allow_lossy=request.output_options.allow_lossy,
        name=request.output_name,
        suffix="" if request.output_format is None else f".{request.output_format}",
        test_only=resolved is not None and resolved.test_only,
        fallback=resolved is not None and bool(resolved.fallback_warning),
    )
    shard = request.shard
    if shard is None:
        return planned
    if planned.folder is None:
        raise UsageError("`shard` needs an output folder or URL; add -o")
    return replace(planned, jobs=[job for job in planned.jobs if shard.owns(job.source.place)])
