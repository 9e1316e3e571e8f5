"""Work for the job queue that waits until it is told to end."""

from __future__ import annotations

import threading

from pca_protect.cli.web.job_queue import Job


class Gate:
    """Work that waits until `open` is set."""

    def __init__(self, name: str = "") -> None:
        self.name, self.begun, self.open = name, threading.Event(), threading.Event()

    def __call__(self, job: Job[str]) -> str:
        self.begun.set()
        for number in range(10_000):
            job.set_progress("Waiting", number / 10_000)
            if self.open.wait(0.01):
                return self.name
        raise AssertionError("nobody opened")
