"""Classifies pictures as pending, finished or existing. Digests prove an output finished; other outputs are kept by default."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pca_protect.batch.journal import LedgerEntry
from pca_protect.batch.request import Existing
from pca_protect.errors import UsageError
from pca_protect.io.plan import Job, Plan

JobStatus = Literal["to do", "finished", "exists"]
_MAX_NAMED = 3
_CHUNK = 1 << 20


def classify(
    planned: Plan,
    journal: Mapping[str, Sequence[LedgerEntry]],
    *,
    existing: Existing,
    config_digest: str,
    weights_digest: Callable[[], str] | None,
) -> list[JobStatus]:
    """The status of every job of a plan.

    A picture is finished if one line of the journal has the digests of its output, its input, the settings and the weights.

    Args:
        journal: lines by output, see `read_journal`.
        existing: treatment of outputs that exist and are not finished.
        config_digest: digest of this run's settings.
        weights_digest: returns the digest of this run's encoder; called only if the other digests match. None accepts any
            encoder.

    Raises:
        UsageError: with `existing` "refuse", an output exists that this program did not write, or whose picture or settings
            have changed.
    """
    statuses: list[JobStatus] = []
    foreign: list[str] = []
    changed: list[str] = []
    other_settings: list[str] = []
    for job in planned.jobs:
        job_status: JobStatus = "to do"
        if job.source.problem or not os.path.lexists(job.target):
            pass
        elif existing == "skip":
            job_status = "exists"
        else:
            lines = journal.get(output_key(planned.folder, job), ())
            output_digest = digest_of(job.target) if lines else ""
            lines = [line for line in lines if line.output_sha256 == output_digest != ""]
            input_digest = digest_of(job.source.path) if lines else ""
            of_input = [line for line in lines if line.input_sha256 == input_digest]
            of_config = [line for line in of_input if line.config_sha256 == config_digest]
            if any(weights_digest is None or line.weights_sha256 == weights_digest() for line in of_config):
                job_status = "finished"
            elif not lines:
                foreign.append(job.target)
            elif not of_input:
                changed.append(job.source.path)
            else:
                other_settings.append(job.source.path)
        statuses.append(job_status)
    if existing == "refuse":
        _refuse(foreign, changed, other_settings)
    return statuses


def output_key(folder: Path | None, job: Job) -> str:
    """The name of a job's output in the journal; empty without an output folder."""
    return Path(os.path.relpath(job.target, folder)).as_posix() if folder is not None else ""


def digest_of(path: str) -> str:
    """SHA-256 of a file in hex; empty if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def _refuse(foreign: list[str], changed: list[str], other_settings: list[str]) -> None:
    remedy = "add `existing=overwrite` to protect again or `existing=skip` to keep the output"
    if foreign:
        exist = "exists" if len(foreign) == 1 else "exist"
        raise UsageError(
            f"{_abbreviated(foreign)}: {exist} already; add `existing=overwrite` or `existing=skip`, or choose another `output`"
        )
    if changed:
        raise UsageError(f"{_abbreviated(changed)}: changed since protection; {remedy}")
    if other_settings:
        raise UsageError(f"{_abbreviated(other_settings)}: protected with other settings before; {remedy}")


def _abbreviated(paths: list[str]) -> str:
    rest = len(paths) - _MAX_NAMED
    return ", ".join(paths[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
