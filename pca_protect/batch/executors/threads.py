"""Executes a run in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from pca_protect.batch.executors.execution import Execution
from pca_protect.batch.ledger import Segment
from pca_protect.batch.pipeline import run_pipeline
from pca_protect.batch.worker import stages_of
from pca_protect.engine import Progress
from pca_protect.io.plan import Job
from pca_protect.surrogates.encoder import AnySurrogate


def execute(
    execution: Execution,
    surrogate: Callable[[], AnySurrogate],
    *,
    on_pictures: Callable[[Sequence[Job]], None],
    on_step: Progress | None,
) -> None:
    """Protect pictures with threads that read and write meanwhile. See `Executor`.

    Args:
        surrogate: returns the loaded encoder; not called if no picture can be read.
    """
    writer = Segment(Path(execution.in_folder), execution.run) if execution.in_folder else None
    with closing(writer) if writer is not None else nullcontext():
        stages = stages_of(execution.work, surrogate, segment=writer, on_pictures=on_pictures, on_step=on_step)
        run_pipeline(execution.jobs, stages, execution.report, stopping=execution.stopping)
