"""The input of every executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pca_protect.batch.outcome import EncoderInfo, Outcome
from pca_protect.io.plan import Job

if TYPE_CHECKING:
    from pca_protect.batch.worker import WorkerConfig


@dataclass(frozen=True)
class Execution:
    """Attributes:
    jobs: pending pictures, none of which has a problem.
    work: settings of the workers.
    run: unique name of this run.
    in_folder: the output folder, for segments of the ledger and locks of workers; empty for a bucket and without a folder.
    report: called with the outcome of every picture.
    loaded: called with the encoder of each worker.
    stopping: asked whether to begin no more pictures.
    """

    jobs: Sequence[Job]
    work: WorkerConfig
    run: str
    in_folder: str
    report: Callable[[Outcome], None]
    loaded: Callable[[EncoderInfo], None]
    stopping: Callable[[], bool]


class Executor(Protocol):
    """Protects pictures; returns when all have an outcome, or when `stopping` is true and those in hand have one."""

    def __call__(self, execution: Execution) -> None:
        """Raises:
        ModelError, DeviceError: the encoder cannot be loaded, or the device fails.
        """
