"""Classifies pictures as pending, finished, existing or in conflict. The ledger proves an output finished; others are kept by
default."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Literal

from pca_protect.batch.bucket_ledger import RunPlan, planned_in
from pca_protect.batch.ledger import Known, Ledger, tag_hash
from pca_protect.batch.request import Existing
from pca_protect.batch.store import Store, Stored, local_info, store_at
from pca_protect.errors import PcaProtectError, UsageError
from pca_protect.io.header import header_of, read_header
from pca_protect.io.plan import Job, is_url

JobStatus = Literal["to do", "finished", "exists", "failed"]
_MAX_NAMED = 3
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Evidence:
    """What earlier runs left, and what this run asks for.

    Attributes:
        store: of the outputs; None if they have no folder.
        ledger: lines of earlier runs.
        plans: of runs into a bucket that did not end.
        listed: objects in the bucket by place; empty for a folder.
        existing: see `Existing`.
        config_digest: digest of this run's settings.
        weights_digest: returns the digest of this run's encoder; called only if all else matches. None accepts any encoder.
        checksum: compare contents instead of sizes and tags.
        marker: this run's outputs carry the marker.
        on_checked: called after each picture with its number.
    """

    store: Store | None
    ledger: Ledger
    existing: Existing
    config_digest: str
    weights_digest: Callable[[], str] | None
    plans: Sequence[RunPlan] = ()
    listed: Mapping[str, Stored] = field(default_factory=dict)
    checksum: bool = False
    marker: bool = True
    on_checked: Callable[[int], None] | None = None


def classify(jobs: Iterable[Job], evidence: Evidence) -> tuple[list[Job], list[JobStatus]]:
    """The status of every job, and the jobs with permission to replace their output, or with their conflict.

    A picture is finished if one line of the ledger has the digests of its output, its input, the settings and the weights. Sizes
    and tags (modification times, ETags) that equal those of the line stand for digests. Inputs in a bucket are compared by size
    and ETag, and outputs by size, since digests would require downloads.
    """
    classified: list[Job] = []
    statuses: list[JobStatus] = []
    for number, job in enumerate(jobs, start=1):
        done, status = _classified(job, evidence)
        classified.append(done)
        statuses.append(status)
        if evidence.on_checked is not None:
            evidence.on_checked(number)
    return classified, statuses


def refuse(jobs: Iterable[Job]) -> None:
    """Raises:
    UsageError: a job has a conflict; names up to three.
    """
    conflicts = [(_subject(job), job.conflict) for job in jobs if job.conflict]
    if not conflicts:
        return
    subjects, problems = zip(*((one, conflict.removeprefix(f"{one}: ")) for one, conflict in conflicts), strict=True)
    rest = len(conflicts) - _MAX_NAMED
    if len(set(problems)) == 1 and all(subjects):
        named = ", ".join(subjects[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
        raise UsageError(f"{named}: {problems[0]}")
    more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
    raise UsageError(f"{conflicts[0][1]}{more}")


def output_key(folder: str | None, target: str) -> str:
    """The name of an output in the ledger; empty without an output folder."""
    if folder is None:
        return ""
    if is_url(folder):
        return target.removeprefix(f"{folder}/")
    return Path(target).relative_to(folder).as_posix()


def digest_of(path: str) -> str:
    """SHA-256 of a file or object in hex; empty if it cannot be read."""
    digest = hashlib.sha256()
    try:
        if is_url(path):
            digest.update(_read(path))
            return digest.hexdigest()
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except (OSError, PcaProtectError):
        return ""
    return digest.hexdigest()


def _classified(job: Job, evidence: Evidence) -> tuple[Job, JobStatus]:
    if job.problem:
        return job, "failed"
    target, stored = _existing(job, evidence)
    if stored is None:
        return job, "to do"
    if evidence.existing == "skip":
        return job, "exists"
    key = output_key(evidence.store.root, target) if evidence.store is not None else ""
    recorded = evidence.ledger.of(key)
    lines = [known for known in recorded if _is_output(known, target, stored, evidence)]
    of_input = [known for known in lines if _is_input(known, job, evidence)]
    if any(_has_settings(evidence.ledger.settings_of(known), evidence) for known in of_input):
        return job, "finished"
    interrupted = [] if lines else _interrupted(target, key, evidence)
    ours = bool(lines or interrupted)
    repeated = any(_has_settings((plan.config_sha256, plan.weights_sha256), evidence) for plan in interrupted)
    if repeated or evidence.existing == "overwrite" or (evidence.existing == "update" and ours):
        return replace(job, replace=True), "to do"
    exists = "exists already and differs from the recorded output" if recorded else "exists already"
    conflict = f"{target}: {exists}; add `existing=overwrite` or `existing=skip`, or choose another `output`"
    if ours:
        problem = "changed since protection" if lines and not of_input else "protected with other settings before"
        remedy = "add `existing=update` to protect again or `existing=skip` to keep the output"
        conflict = f"{job.source.path}: {problem}; {remedy}"
    return replace(job, conflict=conflict), "failed"


def _existing(job: Job, evidence: Evidence) -> tuple[str, Stored | None]:
    """The path or URL of a job's output, and what is there."""
    store = evidence.store
    for target in job.candidates:
        in_bucket = store is not None and not store.is_local
        stored = evidence.listed.get(output_key(store.root, target)) if store and in_bucket else local_info(target)
        if stored is not None:
            return target, stored
    return job.target, None


def _is_output(known: Known, target: str, stored: Stored, evidence: Evidence) -> bool:
    if known.output_bytes and known.output_bytes != stored.size_bytes:
        return False
    if not evidence.checksum:
        if is_url(target):
            return True
        if known.output_tag and known.output_tag == tag_hash(stored.tag):
            return True
    return digest_of(target) == known.output_sha256.hex()


def _is_input(known: Known, job: Job, evidence: Evidence) -> bool:
    source = job.source
    if not evidence.checksum:
        if known.input_tag and (known.input_bytes, known.input_tag) == (source.size_bytes, tag_hash(source.tag)):
            return True
        if is_url(source.path):
            return False
    return digest_of(source.path) == known.input_sha256.hex()


def _has_settings(settings: tuple[str, str], evidence: Evidence) -> bool:
    config_digest, weights_digest = settings
    if config_digest != evidence.config_digest:
        return False
    return evidence.weights_digest is None or weights_digest == evidence.weights_digest()


def _interrupted(target: str, key: str, evidence: Evidence) -> list[RunPlan]:
    """The unfinished plans with this output, if it carries the marker that this run's outputs have."""
    plans = planned_in(evidence.plans, key)
    return plans if plans and (not evidence.marker or _is_marked(target)) else []


def _is_marked(target: str) -> bool:
    try:
        header = header_of(BytesIO(_read(target)), target) if is_url(target) else read_header(Path(target))
    except PcaProtectError:
        return False
    return header is not None and header.ours


def _read(url: str) -> bytes:
    root, _, place = url.rpartition("/")
    return store_at(root).read(place)


def _subject(job: Job) -> str:
    """The path or URL that the conflict begins with; empty if it is another."""
    paths = (*job.candidates, job.source.path)
    return next((path for path in paths if job.conflict.startswith(f"{path}: ")), "")
