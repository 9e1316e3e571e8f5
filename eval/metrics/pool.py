"""Metrics without weights in processes of their own, while a GPU edits.

FLIP, a third of the time, holds Python's lock: threads do not help.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

import torch

MOST_WORKERS = 8
"""Each takes about 400 MB of memory."""


def workers_beside(device: torch.device) -> int:
    """Number of processes for metrics: PyTorch's threads but one, and none if the CPU makes the edits."""
    return 0 if device.type == "cpu" else min(MOST_WORKERS, max(torch.get_num_threads() - 1, 0))


@contextmanager
def metric_pool(workers: int) -> Iterator[Executor | None]:
    """Processes for `Metrics.pool`; None for no worker."""
    if workers < 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool
