"""The pipeline of one process: read ahead, optimise, write behind. A failing picture does not affect others.

Some threads read and decode, others encode and write. The queues between them are bounded, so memory use is independent of the
number of pictures. Outcomes are reported from the calling thread.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pca_protect.batch.ledger import LedgerEntry
from pca_protect.batch.outcome import Failure, Outcome
from pca_protect.errors import Cancelled, DeviceError, ModelError, PictureError, UsageError, first_line
from pca_protect.io.picture import Picture
from pca_protect.io.plan import Job, is_url
from pca_protect.protected import Protected
from pca_protect.record import Record

_READERS = 2
_WRITERS = min(4, max(2, (os.cpu_count() or 1) // 4))
_GROUPS_AHEAD = 2
_WRITES_BEHIND = 2
_PIXELS_WAITING = 30_000_000
"""Limit on the pixels read ahead, and on those waiting to be written. At least one picture is always admitted."""
_PIXELS_PER_BYTE = 10
"""Estimated pixels of a compressed file whose header was not read."""
LOOK_AHEAD = 64
"""Number of jobs that wait for others of their size, which bounds the reordering."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class LeftOutError(Exception):
    """Raised by reading: the file is not processed; the message is the reason."""


@dataclass(frozen=True)
class Opened:
    """A decoded picture, and its job with the suffix of its output."""

    job: Job
    picture: Picture


@dataclass(frozen=True)
class Stages:
    """The stages of the pipeline. Each raises `PictureError` for a failing picture.

    Attributes:
        read: reads a job's picture, in a reading thread.
        together: batch size for pictures of a width and height; 0 for an unknown size.
        optimise: protects pictures of one size. After an error in a batch, its pictures are retried one by one.
        write: writes the output, in a writing thread; returns its record and its line of the ledger.
    """

    read: Callable[[Job], Opened]
    together: Callable[[int, int], int]
    optimise: Callable[[Sequence[Opened]], Sequence[Protected]]
    write: Callable[[Job, Protected], tuple[Record, LedgerEntry | None]]


def run_pipeline(
    jobs: Iterable[Job],
    stages: Stages,
    report: Callable[[Outcome], None],
    *,
    stopping: Callable[[], bool] = lambda: False,
    look_ahead: int = LOOK_AHEAD,
    groups_ahead: int = _GROUPS_AHEAD,
) -> None:
    """Run all jobs through the stages and report their outcomes in the order of optimisation.

    If the run ends early, optimised pictures are still written and reported.

    Args:
        stopping: asked after each batch whether to begin no more.
        look_ahead: see `group_by_size`.
        groups_ahead: number of groups read ahead.

    Raises:
        DeviceError, ModelError: from the stages.
    """
    readers = _DaemonThreads(_READERS)
    writers = ThreadPoolExecutor(_WRITERS, "write")
    writes: deque[tuple[Future[Outcome], int]] = deque()

    def report_until(at_most: int) -> None:
        while writes and (
            len(writes) > at_most
            or (len(writes) > 1 and sum(pixels for _, pixels in writes) > _PIXELS_WAITING)
            or writes[0][0].done()
        ):
            outcome = writes[0][0].result()  # an interrupt here leaves it to be reported below
            writes.popleft()
            report(outcome)

    def submit(job: Job, result: Protected | Outcome) -> None:
        writes.append((writers.submit(_write, job, result, stages.write), _pixels_waiting(job)))
        report_until(_WRITERS + _WRITES_BEHIND - 1)

    try:
        groups = group_by_size(jobs, stages.together, look_ahead=look_ahead)
        for read in _read_ahead(groups, stages.read, readers, groups_ahead):
            opened = []
            for job, result in read:
                if isinstance(result, Opened):
                    opened.append(result)
                else:
                    submit(job, result)
            for batch in _of_one_size(opened, stages.together):
                if stopping():
                    return
                for job, done in _optimised(batch, stages.optimise):
                    submit(job, done)
            if stopping():
                return
    finally:
        readers.stop()
        try:
            report_until(0)
        finally:
            writers.shutdown(wait=True, cancel_futures=True)


def group_by_size(
    jobs: Iterable[Job], together: Callable[[int, int], int], *, look_ahead: int = LOOK_AHEAD
) -> Iterator[list[Job]]:
    """Group jobs of equal size into batches of at most `together` pictures, roughly in the order given.

    Args:
        look_ahead: number of jobs that may wait for others of their size; at least one batch may.
    """
    waiting: dict[tuple[int, int], list[Job]] = {}
    for job in jobs:
        size = (job.source.width_px, job.source.height_px)
        is_known = job.source.pixels > 0 or is_url(job.source.path)
        most = 1 if job.problem or job.source.frames > 1 or not is_known else together(*size)
        most = min(most, max(1, _PIXELS_WAITING // max(1, _pixels_waiting(job))))
        if most <= 1:
            yield [job]
            continue
        group = waiting.setdefault(size, [])
        group.append(job)
        if len(group) >= most:
            yield waiting.pop(size)
        elif sum(map(len, waiting.values())) >= max(look_ahead, most):
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


class _DaemonThreads:
    """Like `ThreadPoolExecutor`, but the program does not wait at its end for a read that hangs, as on a pipe or a dead share."""

    def __init__(self, number: int) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future[Opened | Outcome], Callable[[], Opened | Outcome]] | None]
        self._tasks = queue.SimpleQueue()
        self._number = number
        for _ in range(number):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, function: Callable[[], Opened | Outcome]) -> Future[Opened | Outcome]:
        future: Future[Opened | Outcome] = Future()
        self._tasks.put((future, function))
        return future

    def stop(self) -> None:
        """Begin no more tasks."""
        while not self._tasks.empty():
            self._tasks.get()
        for _ in range(self._number):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function = task
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised where the result is taken
                future.set_exception(error)


def _read_ahead(
    groups: Iterator[list[Job]], read: Callable[[Job], Opened], readers: _DaemonThreads, groups_ahead: int
) -> Iterator[list[tuple[Job, Opened | Outcome]]]:
    ahead: deque[list[tuple[Job, Future[Opened | Outcome]]]] = deque()
    for group in groups:
        ahead.append([(job, readers.submit(lambda job=job: _read(job, read))) for job in group])  # type: ignore[misc]
        while len(ahead) > groups_ahead or (len(ahead) > 1 and _waiting(ahead) > _PIXELS_WAITING):
            yield [(job, future.result()) for job, future in ahead.popleft()]
    while ahead:
        yield [(job, future.result()) for job, future in ahead.popleft()]


def _waiting(groups: Iterable[Sequence[tuple[Job, object]]]) -> int:
    return sum(_pixels_waiting(job) for group in groups for job, _ in group)


def _pixels_waiting(job: Job) -> int:
    """Estimated pixels in memory. Several frames count as much as is allowed, since the header does not tell their number."""
    source = job.source
    if source.frames > 1:
        return _PIXELS_WAITING
    return source.pixels or min(source.size_bytes * _PIXELS_PER_BYTE, _PIXELS_WAITING)


def _of_one_size(opened: Sequence[Opened], together: Callable[[int, int], int]) -> Iterator[list[Opened]]:
    """Batches by decoded size, which may differ within a group: header sizes are before EXIF rotation, or unknown."""
    groups: dict[tuple[int, int], list[Opened]] = {}
    for one in opened:
        groups.setdefault((one.picture.width, one.picture.height), []).append(one)
    for size, group in groups.items():
        most = max(1, together(*size)) if len(group) > 1 else 1
        for start in range(0, len(group), most):
            yield group[start : start + most]


def _optimised(
    batch: Sequence[Opened], optimise: Callable[[Sequence[Opened]], Sequence[Protected]]
) -> Iterator[tuple[Job, Protected | Outcome]]:
    try:
        results = optimise(batch)
    except (ModelError, UsageError, Cancelled):  # not specific to this picture
        raise
    except Exception as error:  # one picture's failure must not stop the others
        if len(batch) > 1:
            for opened in batch:
                yield from _optimised([opened], optimise)
            return
        if isinstance(error, DeviceError):
            raise
        job = batch[0].job
        yield job, failed(job, error, "protected")
        return
    yield from zip((opened.job for opened in batch), results, strict=True)


def _read(job: Job, read: Callable[[Job], Opened]) -> Opened | Outcome:
    if job.problem:
        return failed(job, PictureError(job.problem), "read")
    try:
        return read(job)
    except LeftOutError as reason:
        return Outcome(job, left_out=str(reason))
    except Exception as error:  # noqa: BLE001 - one picture's failure must not stop the others
        return failed(job, error, "read")


def _write(
    job: Job, result: Protected | Outcome, write: Callable[[Job, Protected], tuple[Record, LedgerEntry | None]]
) -> Outcome:
    if isinstance(result, Outcome):
        return result
    try:
        record, entry = write(job, result)
    except Exception as error:  # noqa: BLE001 - one picture's failure must not stop the others
        return failed(job, error, "written")
    return Outcome(job, record=record, entry=entry)


def failed(job: Job, error: Exception, verb: str) -> Outcome:
    """The outcome of a picture that could not be read, protected or written (`verb`)."""
    path = job.source.path
    if isinstance(error, PictureError):
        sentence = str(error)
    elif isinstance(error, MemoryError):
        sentence = f"{path}: needs more memory than is free; make it smaller or close other programs"
    elif isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        sentence = f"{path}: cannot be {verb} ({error.strerror or error}{where}); check the disk and its folders"
    else:
        what = f"{type(error).__name__}: {first_line(error)}"
        sentence = f"{path}: cannot be {verb} ({what}); please report this with the picture"
    cause = error if isinstance(error, OSError) else error.__cause__
    no_room = verb == "written" and isinstance(cause, OSError) and cause.errno in _NO_ROOM
    return Outcome(job, failure=Failure(path, job.source.root, sentence), no_room=no_room)
