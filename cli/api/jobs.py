"""A job and its outcome."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Hashable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pca_protect.errors import Cancelled

State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Done:
    """Attributes:
    data: the response body.
    media_type: of it.
    record: measurements as plain values; empty for a check, whose body they are.
    """

    data: bytes
    media_type: str
    record: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """Attributes:
    status: HTTP status code.
    detail: one sentence.
    state: of the job.
    """

    status: int
    detail: str
    state: Literal["failed", "cancelled"] = "failed"


Outcome = Done | Failure
Work = TypeVar("Work", bound=Hashable)

CANCELLED = Failure(409, "the job was cancelled", "cancelled")


class Job(Generic[Work]):
    """Work in a queue. The first outcome counts: a cancelled or expired job has its outcome at once, and its computation stops at
    the next step. Thread-safe.

    Args:
        work: what to do.
        kind: jobs of an equal kind can share a batch; None never does.
        limit_seconds: time from the start of the work to a failure with 504.

    Attributes:
        outcome: a future that never holds an exception, whose traceback would keep pictures and tensors alive.
        progress: share of the work that is done, in [0, 1].
    """

    def __init__(self, work: Work, *, kind: Hashable = None, limit_seconds: float) -> None:
        self.id = secrets.token_urlsafe(18)
        self.work: Work | None = work
        self.kind = kind
        self.outcome: Future[Outcome] = Future()
        self.progress = 0.0
        self._limit_seconds = limit_seconds
        self._began: float | None = None
        self._ended: float | None = None
        self._timer: threading.Timer | None = None

    @property
    def settled(self) -> bool:
        return self.outcome.done()

    @property
    def state(self) -> State:
        if not self.settled:
            return "waiting" if self._began is None else "running"
        outcome = self.outcome.result()
        return "done" if isinstance(outcome, Done) else outcome.state

    @property
    def seconds(self) -> float | None:
        """Time that the job has run; None before it runs."""
        if self._began is None:
            return None
        return (self._ended or time.monotonic()) - self._began

    def begin(self) -> None:
        """Called by the queue when the job leaves it."""
        self._began = time.monotonic()
        late = Failure(
            504,
            f"the job took longer than {self._limit_seconds:g} s; send a smaller picture, or choose a faster preset",
        )
        self._timer = threading.Timer(self._limit_seconds, self.settle, (late,))
        self._timer.daemon = True
        self._timer.start()

    def settle(self, outcome: Outcome) -> bool:
        """Ends the job. Returns False if it had ended already."""
        try:
            self.outcome.set_result(outcome)
        except InvalidStateError:
            return False
        self._ended = time.monotonic()
        if self._timer is not None:
            self._timer.cancel()
        return True

    def release(self) -> None:
        """Frees the work; called by the queue when the job has left it."""
        self.work = None


def stop_if_settled(jobs: list[Job[Any]]) -> None:
    """Raises:
    Cancelled: nobody waits for any of the jobs any more.
    """
    if all(job.settled for job in jobs):
        raise Cancelled("stopped; nothing was kept")
