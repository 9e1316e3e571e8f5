"""The state of the page: models, queues, files and sessions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pca_protect.cli.web.files import FileStore
from pca_protect.cli.web.job_queue import Job, JobQueue
from pca_protect.cli.web.model_cache import ModelCache
from pca_protect.cli.web.protect_job import JobResult
from pca_protect.cli.web.sessions import GRACE_SECONDS, MAX_RUNS, Session, Sessions
from pca_protect.cli.web.uploads import Uploads
from pca_protect.device_names import Device
from pca_protect.errors import UsageError

Result = TypeVar("Result")

PROTECTING, EDITING, MEASURING, DOWNLOADING = "protecting", "editing", "measuring", "downloading"
"""Kinds of jobs."""


@dataclass(frozen=True)
class Limits:
    """Attributes:
    max_pixels: of all frames of a picture.
    max_megabytes: of an uploaded file.
    max_pictures: of a job.
    max_total_megabytes: of all uploaded files of all sessions, and of all results.
    job_seconds: of a job that computes.
    """

    max_pixels: int
    max_megabytes: int
    max_pictures: int = 200
    max_total_megabytes: int = 10_000
    job_seconds: float = math.inf

    def check_number(self, pictures: int) -> None:
        """Raises:
        UsageError: more than `max_pictures`.
        """
        if pictures > self.max_pictures:
            raise UsageError(
                f"{pictures} pictures are over the limit of {self.max_pictures} at once; choose fewer, or protect a folder on "
                "the command line"
            )


class AppState:
    """Models, queues, uploads, files and sessions.

    Args:
        uploads: the folder of uploaded files, the only one read for visitors.
        warning: shown at the top of the page; empty for none.

    Attributes:
        queue: of jobs that compute.
        downloads: of downloads of models, which run beside the jobs.
    """

    def __init__(
        self, uploads: Path, files: FileStore, *, device: Device, offline: bool, limits: Limits, warning: str = ""
    ) -> None:
        self.uploads, self.files = Uploads(uploads, max_pixels=limits.max_pixels), files
        self.device, self.offline, self.limits, self.warning = device, offline, limits, warning
        self.queue, self.downloads = JobQueue(limit_seconds=limits.job_seconds), JobQueue()
        self.models = ModelCache(device, offline=offline)
        self.sessions = Sessions()

    def open_session(self) -> Session:
        session = self.sessions.open()
        self.files.open_session(session.id)
        return session

    def submit(self, session: Session, kind: str, work: Callable[[Job[Result]], Result]) -> Job[Result]:
        """Submits a job. A session has at most one unfinished job of each kind.

        Raises:
            UsageError: the last job of this kind is unfinished, or the queue is full.
        """
        if session.unfinished(kind) is not None:
            raise UsageError("your last job is still running; wait for it, or cancel it")
        job = (self.downloads if kind == DOWNLOADING else self.queue).submit(work)
        session.jobs[kind] = job
        return job

    def cancel(self, session: Session, kind: str) -> None:
        """Cancels the job of this kind, if there is one."""
        job = session.unfinished(kind)
        if job is not None:
            job.cancel()

    def add_run(self, session: Session, result: JobResult) -> JobResult:
        """Appends a finished run to the session's history."""
        session.runs.append(result)
        while len(session.runs) > MAX_RUNS:
            self.files.remove(session.runs.pop(0).tokens)
        return result

    def remove_runs(self, session: Session) -> None:
        """Removes the results of a session."""
        while session.runs:
            self.files.remove(session.runs.pop().tokens)

    def close_idle_sessions(self, seconds: float = GRACE_SECONDS) -> None:
        """Closes sessions that have been idle for this long. A running job keeps its session open while no other job waits."""
        for session in self.sessions.idle(seconds):
            if session.unfinished(PROTECTING) is None or self.queue.has_waiting:
                self.close_session(session)

    def close_session(self, session: Session) -> None:
        """Cancels the jobs of a session and removes its files."""
        self.sessions.remove(session)
        for kind in session.jobs:
            self.cancel(session, kind)
        self.files.close_session(session.id)
        self.uploads.close_session(session.id)

    def close(self) -> None:
        """Cancels all jobs."""
        self.queue.close()
        self.downloads.close()
