"""The state of the page: models, queue and files, by visit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pca_protect.cli.web.downloads import Downloads
from pca_protect.cli.web.job_queue import Job, JobQueue
from pca_protect.cli.web.models import Models
from pca_protect.cli.web.protecting import Results
from pca_protect.cli.web.uploads import Uploads
from pca_protect.config import Device
from pca_protect.errors import UsageError

Anything = TypeVar("Anything")


@dataclass(frozen=True)
class Limits:
    """Attributes:
    max_pixels: of all frames of a picture.
    max_megabytes: of an uploaded file.
    max_pictures: of a job.
    max_total_megabytes: of all uploaded files of all visitors.
    """

    max_pixels: int
    max_megabytes: int
    max_pictures: int = 50
    max_total_megabytes: int = 10_000

    def check_number(self, pictures: int) -> None:
        """Raises:
        UsageError: more than `max_pictures`.
        """
        if pictures > self.max_pictures:
            raise UsageError(
                f"{pictures} pictures are over the limit of {self.max_pictures} at once; choose fewer, or protect a folder on "
                "the command line"
            )


class Service:
    """Models, queue, uploads, downloads, jobs and results. Uploads, downloads, jobs and results are separate for each visit.

    Args:
        uploads: the folder of uploaded files, the only one read for visitors.
        warning: shown at the top of the page; empty for none.
    """

    def __init__(
        self, uploads: Path, downloads: Downloads, *, device: Device, offline: bool, limits: Limits, warning: str = ""
    ) -> None:
        self.uploads, self.downloads = Uploads(uploads, max_pixels=limits.max_pixels), downloads
        self.device, self.offline, self.limits, self.warning = device, offline, limits, warning
        self.queue = JobQueue()
        self.models = Models(device, offline=offline)
        self.results: dict[str, Results] = {}
        self._jobs: dict[tuple[str, str], Job[Any]] = {}

    def begin(self, visit: str) -> None:
        """Registers a visit."""
        self.uploads.begin(visit)

    def submit(self, visit: str, kind: str, work: Callable[[Job[Anything]], Anything]) -> Job[Anything]:
        """Submits a job. A visit has at most one unfinished job of each kind.

        Raises:
            UsageError: the last job of this kind is unfinished, or the queue is full.
        """
        last = self._jobs.get((visit, kind))
        if not visit or (last is not None and not last.finished):
            raise UsageError("your last job is still running; wait for it, or cancel it")
        job = self.queue.submit(work)
        self._jobs[visit, kind] = job
        return job

    def cancel(self, visit: str, kind: str) -> None:
        """Cancels the job of this kind, if there is one."""
        job = self._jobs.get((visit, kind))
        if job is not None:
            job.cancel()

    def end(self, visit: str) -> None:
        """Ends a visit: cancels its jobs and removes its files."""
        for kind in (PROTECTING, EDITING):
            self.cancel(visit, kind)
            self._jobs.pop((visit, kind), None)
        self.downloads.end(visit)
        self.results.pop(visit, None)
        self.uploads.end(visit)


PROTECTING, EDITING = "protecting", "editing"
