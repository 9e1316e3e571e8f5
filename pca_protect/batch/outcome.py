"""What became of one picture, and of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pca_protect.errors import PictureError
from pca_protect.io.plan import Job

if TYPE_CHECKING:
    from pca_protect.record import Record


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that failed: its path, the folder its place is mirrored from (empty if none), and the sentence why."""

    input: str
    root: str
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Attributes:
    record: of a picture that was protected and written; exactly one of this and `failure` is there.
    failure: of one that was not.
    no_room: it failed because the disk takes nothing any more, and so would all others.
    """

    job: Job
    record: Record | None = None
    failure: Failure | None = None
    no_room: bool = False


@dataclass(frozen=True)
class Summary:
    """Attributes:
    protected: pictures done in this run.
    finished: pictures that an earlier run finished, as their digests prove.
    skipped: pictures left alone because their output exists.
    left: pictures not reached because the run ended early.
    failures: in the order they happened.
    seconds: of work, with loading the model and without planning.
    stopped: the sentence why the run ended early; empty if it did not.
    folder: the run has an output folder with a journal, so that the same command resumes it.
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
