"""Which pictures are still to do: what is finished is proved by digests, what exists otherwise is never replaced unasked."""

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
_NAMED = 3
_CHUNK = 1 << 20


def classify(
    planned: Plan,
    journal: Mapping[str, Sequence[LedgerEntry]],
    *,
    existing: Existing,
    config_digest: str,
    weights_digest: Callable[[], str] | None,
) -> list[JobStatus]:
    """Where every job of a plan stands.

    A picture is finished if its output, its input, the settings and the encoder's weights all have the digests of one line
    of the journal.

    Args:
        journal: lines by output, see `read_journal`.
        existing: what to do with an output that is there and is not proved finished.
        config_digest: of this run.
        weights_digest: of this run's encoder, asked for only where everything else agrees; None believes in it.

    Raises:
        UsageError: an output exists that this program did not write, or whose picture or settings changed since.
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
    """How the journal names a job's output."""
    return Path(os.path.relpath(job.target, folder)).as_posix() if folder is not None else ""


def digest_of(path: str) -> str:
    """SHA-256 of a file in hex; empty where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def _refuse(foreign: list[str], changed: list[str], other_settings: list[str]) -> None:
    remedy = "add `existing=overwrite` to do that anew or `existing=skip` to keep what is there"
    if foreign:
        exist = "exists" if len(foreign) == 1 else "exist"
        raise UsageError(
            f"{_some(foreign)}: {exist} already; add `existing=overwrite` or `existing=skip`, or choose another `output`"
        )
    if changed:
        raise UsageError(f"{_some(changed)}: changed after having been protected; {remedy}")
    if other_settings:
        have = "has" if len(other_settings) == 1 else "have"
        raise UsageError(f"{_some(other_settings)}: {have} been protected with other settings; {remedy}")


def _some(paths: list[str]) -> str:
    rest = len(paths) - _NAMED
    return ", ".join(paths[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
