"""Prepares a run: finds inputs, resolves encoders, names outputs and classifies every picture. Imports no torch, unless `auto`
may take several encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pca_protect.batch.classify import JobStatus, classify
from pca_protect.batch.journal import read_journal
from pca_protect.batch.listing import check_errors_file, read_list
from pca_protect.batch.output_lock import state_of
from pca_protect.batch.request import Request
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.image.masks import read_mask
from pca_protect.io.discover import Found, discover
from pca_protect.io.limits import MAX_PIXELS
from pca_protect.io.plan import TEST_ONLY, Job, Plan, plan
from pca_protect.surrogates.resolve import Resolved, resolve_cached

WeightsDigest = Callable[[Resolved], Callable[[], str] | None]
"""Maps an encoder to the `weights_digest` argument of `classify.classify`."""


@dataclass(frozen=True)
class Inputs:
    """Attributes:
    plan: outputs under their regular names, as without a fallback of `auto`.
    """

    found: Found
    plan: Plan

    @property
    def journalled(self) -> Path | None:
        """The output folder if the run keeps a journal there, else None. A single picture starts no new journal."""
        folder = self.plan.folder
        return folder if folder is not None and (self.plan.several or state_of(folder).folder.is_dir()) else None


@dataclass(frozen=True)
class Classified:
    """Attributes:
    jobs, statuses: one per picture, in input order.
    resolved: the encoders to load; None if no pending picture has a readable header.
    """

    jobs: list[Job]
    statuses: list[JobStatus]
    resolved: Resolved | None


def find(request: Request) -> Inputs:
    """Find the pictures and plan their outputs. Performs all checks that need no model.

    Raises:
        UsageError: the request is invalid.
    """
    if request.errors is not None:
        check_errors_file(request.errors)
    if request.mask is not None:
        read_mask(request.mask, max_pixels=request.max_pixels or MAX_PIXELS)
    listed = read_list(request.from_file) if request.from_file is not None else []
    if request.from_file is not None and not listed and not request.names:
        return Inputs(Found(), Plan([], None))
    found = discover(
        request.names,
        listed=listed,
        recursive=request.recursive,
        output=request.output,
        max_pixels=request.max_pixels or MAX_PIXELS,
    )
    return Inputs(found, plan(found, request.output, allow_lossy=request.output_options.allow_lossy))


def classify_inputs(
    inputs: Inputs,
    request: Request,
    config: ProtectConfig,
    *,
    resolve: Callable[[], Resolved],
    weights_digest: WeightsDigest,
) -> Classified:
    """Resolve `auto` and families, name the outputs accordingly, and find the pending pictures.

    If an encoder of `auto` or of a family is not cached, existing outputs are classified first, under their regular names and
    for any encoder. `resolve` is called only if a picture is pending. Thus an invalid request causes no download, and a fallback
    does not redo protected pictures. If `resolve` falls back, the outputs of pending pictures get test-only names.

    Args:
        resolve: resolves the names, with downloads if necessary.

    Raises:
        UsageError: see `classify.classify`.
        ModelError: from `resolve`.
    """
    planned = inputs.plan
    resolved = resolve_cached(config.vaes, device=config.device, precision=config.precision)
    if resolved is None:
        statuses = _classified(planned, request, config, None)
        to_do = [job_status == "to do" for job_status in statuses]
        if not any(
            wanted and job.source.width_px and not job.source.problem
            for job, wanted in zip(planned.jobs, to_do, strict=True)
        ):
            return Classified(planned.jobs, statuses, None)
        resolved = resolve()
        if resolved.test_only:
            return _renamed(inputs, statuses, request, config, resolved, weights_digest)
    return Classified(planned.jobs, _classified(planned, request, config, weights_digest(resolved)), resolved)


def _renamed(
    inputs: Inputs,
    statuses: list[JobStatus],
    request: Request,
    config: ProtectConfig,
    resolved: Resolved,
    weights_digest: WeightsDigest,
) -> Classified:
    """Classify again with test-only names for the pending pictures."""
    renamed = plan(inputs.found, request.output, allow_lossy=request.output_options.allow_lossy, label=TEST_ONLY)
    to_do = [job for job, job_status in zip(renamed.jobs, statuses, strict=True) if job_status == "to do"]
    classified = iter(_classified(replace(renamed, jobs=to_do), request, config, weights_digest(resolved)))
    jobs = [
        new if job_status == "to do" else old
        for old, new, job_status in zip(inputs.plan.jobs, renamed.jobs, statuses, strict=True)
    ]
    return Classified(jobs, [next(classified) if status == "to do" else status for status in statuses], resolved)


def _classified(
    planned: Plan, request: Request, config: ProtectConfig, weights_digest: Callable[[], str] | None
) -> list[JobStatus]:
    journal = {}
    if planned.folder is not None:
        try:
            journal = read_journal(state_of(planned.folder).folder)
        except OSError as error:
            raise UsageError(
                f"{error.filename}: the journal of finished pictures cannot be read ({error.strerror}); check its permissions"
            ) from error
    digest = request.digest(config)
    return classify(planned, journal, existing=request.existing, config_digest=digest, weights_digest=weights_digest)
