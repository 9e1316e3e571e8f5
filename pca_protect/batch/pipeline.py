"""Read ahead, optimise, write behind: pictures one after another, each failing for itself.

One thread reads and decodes, one encodes and writes, and what lies between is bounded, so that memory does not grow with
the number of pictures. Everything is reported from the calling thread.
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
from pca_protect.protection import Protected
from pca_protect.record import Record

_GROUPS_AHEAD = 2
_WRITES_BEHIND = 2
_PIXELS_WAITING = 30_000_000
"""Of large pictures fewer are read ahead and written behind: so many pixels on either side, and one picture at least."""
_LOOK_AHEAD = 64
"""Jobs among which those of one size are put together: they are done at most so many places out of turn."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Stopped(Exception):  # noqa: N818 - what was done is done
    """The disk takes nothing any more, as the sentence says that the first picture failed with."""


@dataclass(frozen=True)
class Stages:
    """What happens to a picture, each raising `PictureError` for one that fails.

    Attributes:
        read: a job's picture; called in the reading thread.
        together: how many pictures of a job's size to optimise at once.
        optimise: pictures of one size; a `DeviceError` for several is tried again one by one.
        write: makes the file; called in the writing thread.
    """

    read: Callable[[Job], Picture]
    together: Callable[[Job], int]
    optimise: Callable[[Sequence[tuple[Job, Picture]]], Sequence[Protected]]
    write: Callable[[Job, Protected], Record]


def run_pipeline(jobs: Iterable[Job], stages: Stages, report: Callable[[Outcome], None]) -> None:
    """Put all jobs through the stages and report every one of them, in the order in which they are optimised.

    Whatever ends it early, pictures that were optimised are still written and reported.

    Raises:
        Stopped: there is no room left, or the disk became read-only.
        DeviceError, ModelError: from the stages.
    """
    reader = ThreadPoolExecutor(1, "read")
    writer = ThreadPoolExecutor(1, "write")
    behind: deque[tuple[Future[Outcome], int]] = deque()
    full: list[str] = []

    def settle(at_most: int) -> None:
        while len(behind) > at_most or (len(behind) > 1 and sum(pixels for _, pixels in behind) > _PIXELS_WAITING):
            outcome = behind.popleft()[0].result()
            if outcome.no_room and outcome.failure is not None:
                full.append(outcome.failure.error)
            report(outcome)

    def follow(job: Job, result: Protected | Failure) -> None:
        behind.append((writer.submit(_write, job, result, stages.write), _pixels(job)))
        settle(_WRITES_BEHIND)
        if full:
            raise Stopped(full[0])

    try:
        for read in _read_ahead(group_by_size(jobs, stages.together), stages.read, reader):
            good: list[tuple[Job, Picture]] = []
            for job, result in read:
                if isinstance(result, Failure):
                    follow(job, result)
                else:
                    good.append((job, result))
            for pictures in _of_one_size(good):
                for job, protected in _optimised(pictures, stages.optimise):
                    follow(job, protected)
    finally:
        reader.shutdown(wait=False, cancel_futures=True)
        try:
            settle(0)
        finally:
            writer.shutdown(wait=True, cancel_futures=True)
    if full:
        raise Stopped(full[0])


def group_by_size(jobs: Iterable[Job], together: Callable[[Job], int]) -> Iterator[list[Job]]:
    """Jobs of equal size in groups of what `together` allows, in the order given as far as a short look ahead permits."""
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
    """As the header says; 0 where it could not be read."""
    return job.source.width_px * job.source.height_px


def _of_one_size(pictures: Sequence[tuple[Job, Picture]]) -> list[list[tuple[Job, Picture]]]:
    """A header's size is that before rotation, so those that were read together may differ after all."""
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
    except (
        ModelError,
        UsageError,
        Cancelled,
    ):  # no encoder, a request that cannot be meant, or enough: not this picture's
        raise
    except Exception as error:  # whatever one picture does, the others are done
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
    except Exception as error:  # noqa: BLE001 - whatever one picture does, the others are done
        return _failure(job, error, "read")


def _write(job: Job, result: Protected | Failure, write: Callable[[Job, Protected], Record]) -> Outcome:
    if isinstance(result, Failure):
        return Outcome(job, failure=result)
    try:
        return Outcome(job, record=write(job, result))
    except Exception as error:  # noqa: BLE001 - whatever one picture does, the others are done
        cause = error if isinstance(error, OSError) else error.__cause__
        failure = _failure(job, error, "written")
        return Outcome(job, failure=failure, no_room=isinstance(cause, OSError) and cause.errno in _NO_ROOM)


def _failure(job: Job, error: Exception, verb: str) -> Failure:
    path = job.source.path
    if isinstance(error, PictureError):
        sentence = str(error)
    elif isinstance(error, MemoryError):
        sentence = f"{path}: needs more memory than there is; make it smaller or close other programs"
    elif isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        sentence = f"{path}: cannot be {verb} ({error.strerror or error}{where}); check the disk and its folders"
    else:
        what = f"{type(error).__name__}: {first_line(error)}"
        sentence = f"{path}: cannot be {verb} ({what}); please report this with the picture"
    return Failure(path, job.source.root, sentence)
