"""The pipeline of a run: read ahead, optimise, write behind. A failing picture does not affect others.

One thread reads and decodes, another encodes and writes. The queues between them are bounded, so memory use is independent
of the number of pictures. Outcomes are reported from the calling thread.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pca_protect.batch.outcome import Failure, Outcome
from pca_protect.errors import Cancelled, DeviceError, ModelError, PictureError, UsageError, first_line
from pca_protect.io.picture import Picture
from pca_protect.io.plan import Job
from pca_protect.protected import Protected
from pca_protect.record import Record

_GROUPS_AHEAD = 2
_WRITES_BEHIND = 2
_PIXELS_WAITING = 30_000_000
"""Limit on the pixels read ahead, and on those waiting to be written. At least one picture is always admitted."""
_LOOK_AHEAD = 64
"""Number of jobs that wait for others of their size, which bounds the reordering."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Stopped(Exception):  # noqa: N818 - a partial success
    """The disk is full or read-only; the message is that of the first failed picture."""


@dataclass(frozen=True)
class Stages:
    """The stages of the pipeline. Each raises `PictureError` for a failing picture.

    Attributes:
        read: reads a job's picture, in the reading thread.
        together: batch size for pictures of a job's size.
        optimise: protects pictures of one size. After an error in a batch, its pictures are retried one by one.
        write: writes the output, in the writing thread.
    """

    read: Callable[[Job], Picture]
    together: Callable[[Job], int]
    optimise: Callable[[Sequence[tuple[Job, Picture]]], Sequence[Protected]]
    write: Callable[[Job, Protected], Record]


def run_pipeline(jobs: Iterable[Job], stages: Stages, report: Callable[[Outcome], None]) -> None:
    """Run all jobs through the stages and report their outcomes in the order of optimisation.

    If the run ends early, optimised pictures are still written and reported.

    Raises:
        Stopped: the disk is full or became read-only.
        DeviceError, ModelError: from the stages.
    """
    reader = ThreadPoolExecutor(1, "read")
    writer = ThreadPoolExecutor(1, "write")
    writes: deque[tuple[Future[Outcome], int]] = deque()
    disk_errors: list[str] = []

    def report_until(at_most: int) -> None:
        while len(writes) > at_most or (len(writes) > 1 and sum(pixels for _, pixels in writes) > _PIXELS_WAITING):
            outcome = writes.popleft()[0].result()
            if outcome.no_room and outcome.failure is not None:
                disk_errors.append(outcome.failure.error)
            report(outcome)

    def submit(job: Job, result: Protected | Failure) -> None:
        writes.append((writer.submit(_write, job, result, stages.write), _pixels(job)))
        report_until(_WRITES_BEHIND)
        if disk_errors:
            raise Stopped(disk_errors[0])

    try:
        for read in _read_ahead(group_by_size(jobs, stages.together), stages.read, reader):
            decoded: list[tuple[Job, Picture]] = []
            for job, result in read:
                if isinstance(result, Failure):
                    submit(job, result)
                else:
                    decoded.append((job, result))
            for pictures in _of_one_size(decoded):
                for job, protected in _optimised(pictures, stages.optimise):
                    submit(job, protected)
    finally:
        reader.shutdown(wait=False, cancel_futures=True)
        try:
            report_until(0)
        finally:
            writer.shutdown(wait=True, cancel_futures=True)
    if disk_errors:
        raise Stopped(disk_errors[0])


def group_by_size(jobs: Iterable[Job], together: Callable[[Job], int]) -> Iterator[list[Job]]:
    """Group jobs of equal size into batches of at most `together(job)`, roughly in the order given (see `_LOOK_AHEAD`)."""
    waiting: dict[tuple[int, int], list[Job]] = {}
    for job in jobs:
        most = min(together(job), max(1, _PIXELS_WAITING // max(1, _pixels(job))))
        if most <= 1:
            yield [job]
            continue
        size = (job.source.width_px, job.source.height_px)
        group = waiting.setdefault(size, [])
        group.append(job)
        if len(group) >= most:
            yield waiting.pop(size)
        elif sum(map(len, waiting.values())) >= _LOOK_AHEAD:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def _read_ahead(
    groups: Iterator[list[Job]], read: Callable[[Job], Picture], reader: ThreadPoolExecutor
) -> Iterator[list[tuple[Job, Picture | Failure]]]:
    ahead: deque[list[tuple[Job, Future[Picture | Failure]]]] = deque()
    for group in groups:
        ahead.append([(job, reader.submit(_read, job, read)) for job in group])
        while len(ahead) > _GROUPS_AHEAD or (len(ahead) > 1 and _waiting(ahead) > _PIXELS_WAITING):
            yield [(job, future.result()) for job, future in ahead.popleft()]
    while ahead:
        yield [(job, future.result()) for job, future in ahead.popleft()]


def _waiting(groups: Iterable[Sequence[tuple[Job, object]]]) -> int:
    return sum(_pixels(job) for group in groups for job, _ in group)


def _pixels(job: Job) -> int:
    """Pixels according to the header; 0 if it could not be read."""
    return job.source.width_px * job.source.height_px


def _of_one_size(pictures: Sequence[tuple[Job, Picture]]) -> list[list[tuple[Job, Picture]]]:
    """Group by decoded size, which may differ within a batch: header sizes are before EXIF rotation."""
    groups: dict[tuple[int, int], list[tuple[Job, Picture]]] = {}
    for job, picture in pictures:
        groups.setdefault((picture.width, picture.height), []).append((job, picture))
    return list(groups.values())


def _optimised(
    pictures: Sequence[tuple[Job, Picture]],
    optimise: Callable[[Sequence[tuple[Job, Picture]]], Sequence[Protected]],
) -> Iterator[tuple[Job, Protected | Failure]]:
    try:
        results = optimise(pictures)
    except (ModelError, UsageError, Cancelled):  # not specific to this picture
        raise
    except Exception as error:  # one picture's failure must not stop the others
        if len(pictures) > 1:
            for picture in pictures:
                yield from _optimised([picture], optimise)
            return
        if isinstance(error, DeviceError):
            raise
        job = pictures[0][0]
        yield job, _failure(job, error, "protected")
        return
    yield from zip((job for job, _ in pictures), results, strict=True)


def _read(job: Job, read: Callable[[Job], Picture]) -> Picture | Failure:
    if job.source.problem:
        return Failure(job.source.path, job.source.root, job.source.problem)
    try:
        return read(job)
    except Exception as error:  # noqa: BLE001 - one picture's failure must not stop the others
        return _failure(job, error, "read")


def _write(job: Job, result: Protected | Failure, write: Callable[[Job, Protected], Record]) -> Outcome:
    if isinstance(result, Failure):
        return Outcome(job, failure=result)
    try:
        return Outcome(job, record=write(job, result))
    except Exception as error:  # noqa: BLE001 - one picture's failure must not stop the others
        cause = error if isinstance(error, OSError) else error.__cause__
        failure = _failure(job, error, "written")
        return Outcome(job, failure=failure, no_room=isinstance(cause, OSError) and cause.errno in _NO_ROOM)


def _failure(job: Job, error: Exception, verb: str) -> Failure:
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
    return Failure(path, job.source.root, sentence)
