"""Results of one picture and of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pca_protect.batch.ledger import LedgerEntry
from pca_protect.errors import PictureError
from pca_protect.io.plan import Job

if TYPE_CHECKING:
    from pca_protect.record import Record
    from pca_protect.surrogates.encoder import AnySurrogate


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed picture: its path, the folder whose tree is mirrored (empty if none), and the error message."""

    input: str
    root: str
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exactly one of `record`, `failure` and `left_out` is set.

    Attributes:
        record: of a picture that was protected and written.
        failure: of a picture that failed.
        left_out: why the file is not processed: an output of this program, or not a picture.
        entry: the ledger's line of a protected picture; None without an output folder.
        no_room: the disk is full or read-only, so later pictures would fail too.
    """

    job: Job
    record: Record | None = None
    failure: Failure | None = None
    left_out: str = ""
    entry: LedgerEntry | None = None
    no_room: bool = False


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """The encoder of a run, as a worker process reports it.

    Attributes:
        embedded: see `Surrogate`; all others are plain text.
    """

    name: str
    origin: str
    device: str
    dtype: str
    digest: str
    embedded: bool
    warnings: tuple[str, ...]

    @staticmethod
    def of(surrogate: AnySurrogate) -> EncoderInfo:
        return EncoderInfo(
            surrogate.name,
            surrogate.origin,
            str(surrogate.device),
            str(surrogate.dtype),
            surrogate.digest,
            surrogate.embedded,
            surrogate.warnings,
        )


@dataclass(frozen=True)
class Summary:
    """Every picture is in one of the first six counts.

    Attributes:
        protected: pictures done in this run.
        finished: pictures that an earlier run finished, according to the ledger.
        skipped: pictures skipped because their output exists.
        left_out: files that turned out to be outputs of this program, or no pictures, when they were read.
        left: pictures not reached because the run ended early.
        failures: in order of occurrence.
        seconds: duration with model loading and without planning.
        stopped: message why the run ended early; empty if it did not.
        folder: the run has an output folder with a ledger, so the same command resumes it.
    """

    protected: int
    finished: int
    skipped: int
    left: int
    failures: tuple[Failure, ...]
    seconds: float
    left_out: int = 0
    stopped: str = ""
    folder: bool = False

    @property
    def total(self) -> int:
        return self.protected + self.finished + self.skipped + self.left_out + self.left + len(self.failures)

    @property
    def exit_code(self) -> int:
        return PictureError.exit_code if self.failures or self.stopped else 0

    def as_dict(self) -> dict[str, object]:
        """Counts and duration as plain values."""
        return {
            "protected": self.protected,
            "finished": self.finished,
            "skipped": self.skipped,
            "left_out": self.left_out,
            "failed": len(self.failures),
            "not_done": self.left,
            "total": self.total,
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped,
        }
