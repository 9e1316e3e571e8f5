"""What the page works with, and what of it belongs to whom."""

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
    most_pixels: of a picture, all its frames together.
    most_megabytes: of an uploaded file.
    most_pictures: at once.
    most_megabytes_together: of all uploaded files of all visitors.
    """

    most_pixels: int
    most_megabytes: int
    most_pictures: int = 50
    most_megabytes_together: int = 10_000

    def check_number(self, pictures: int) -> None:
        """Raises:
        UsageError: more pictures than are taken at once.
        """
        if pictures > self.most_pictures:
            raise UsageError(
                f"{pictures} pictures are more than the {self.most_pictures} that are taken at once here; the command line "
                "takes folders"
            )


class Service:
    """What the page works with, kept apart by visit where it is somebody's.

    Args:
        uploads: the folder that uploaded files are in; nothing else is read for a visitor.
        warning: shown on top of the page; empty for none.
    """

    def __init__(
        self, uploads: Path, downloads: Downloads, *, device: Device, offline: bool, limits: Limits, warning: str = ""
    ) -> None:
        self.uploads, self.downloads = Uploads(uploads, most_pixels=limits.most_pixels), downloads
        self.device, self.offline, self.limits, self.warning = device, offline, limits, warning
        self.queue = JobQueue()
        self.models = Models(device, offline=offline)
        self.results: dict[str, Results] = {}
        self._jobs: dict[tuple[str, str], Job[Any]] = {}

    def begin(self, visit: str) -> None:
        """Somebody has come."""
        self.uploads.begin(visit)

    def hand_in(self, visit: str, kind: str, work: Callable[[Job[Anything]], Anything]) -> Job[Anything]:
        """A job of somebody, one of a kind at a time.

        Raises:
            UsageError: one is not done yet, or too many of others wait.
        """
        before = self._jobs.get((visit, kind))
        if not visit or (before is not None and not before.finished):
            raise UsageError("your last job is still running; wait for it, or cancel it")
        job = self.queue.hand_in(work)
        self._jobs[visit, kind] = job
        return job

    def cancel(self, visit: str, kind: str) -> None:
        """What somebody handed in, if it is not done yet."""
        job = self._jobs.get((visit, kind))
        if job is not None:
            job.cancel()

    def forget(self, visit: str) -> None:
        """Somebody has left."""
        for kind in (PROTECTING, EDITING):
            self.cancel(visit, kind)
            self._jobs.pop((visit, kind), None)
        self.downloads.end(visit)
        self.results.pop(visit, None)
        self.uploads.end(visit)


PROTECTING, EDITING = "protecting", "editing"
