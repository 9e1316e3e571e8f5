"""Results of one picture and of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pca_protect.errors import PictureError
from pca_protect.io.plan import Job

if TYPE_CHECKING:
    from pca_protect.record import Record


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed picture: its path, the folder whose tree is mirrored (empty if none), and the error message."""

    input: str
    root: str
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Attributes:
    record: of a picture that was protected and written. Exactly one of `record` and `failure` is set.
    failure: of a picture that failed.
    no_room: the disk is full or read-only, so later pictures would fail too.
    """

    job: Job
    record: Record | None = None
    failure: Failure | None = None
    no_room: bool = False


@dataclass(frozen=True)
class Summary:
    """Attributes:
    protected: pictures done in this run.
    finished: pictures that an earlier run finished, proved by digests.
    skipped: pictures skipped because their output exists.
    left: pictures not reached because the run ended early.
    failures: in order of occurrence.
    seconds: duration with model loading and without planning.
    stopped: message why the run ended early; empty if it did not.
    folder: the run has an output folder with a journal, so the same command resumes it.
    """

    protected: int
    finished: int
    skipped: int
    left: int
    failures: tuple[Failure, ...]
    seconds: float
    stopped: str = ""
    folder: bool = False

    @property
    def total(self) -> int:
        return self.protected + self.finished + self.skipped + self.left + len(self.failures)

    @property
    def exit_code(self) -> int:
        return PictureError.exit_code if self.failures or self.stopped else 0
