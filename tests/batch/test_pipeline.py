"""The pipeline alone, with stages that are easy to steer."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pca_protect.batch.estimate import Pace
from pca_protect.batch.outcome import Failure, Outcome
from pca_protect.batch.pipeline import LeftOutError, Opened, Stages, group_by_size, run_pipeline
from pca_protect.config import ProtectConfig
from pca_protect.errors import Cancelled, DeviceError, ModelError, PictureError, UsageError
from pca_protect.io.picture import Picture
from pca_protect.io.plan import Job
from pca_protect.io.source import Source


def jobs(number: int, size: tuple[int, int] = (16, 24)) -> list[Job]:
    return [Job(Source(f"{index}.png", "", f"{index}.png", ".png", *size), f"{index}.out") for index in range(number)]


def blank(job: Job) -> Opened:
    return Opened(job, Picture(np.zeros((24, 16, 3), np.uint8), source=job.source.path))


def stages(**values: object) -> Stages:
    def echo(pictures: Sequence[Opened]) -> list[object]:
        return [SimpleNamespace(source=opened.picture.source) for opened in pictures]

    given = {
        "read": blank,
        "together": lambda *size: 1,
        "optimise": echo,
        "write": lambda job, protected: (protected, None),
    }
    return Stages(**{**given, **values})


def test_order_is_kept_and_each_fails_for_itself():
    def read(job: Job) -> Opened:
        if job.target == "3.out":
            raise PictureError("3.png: is bad")
        if job.target == "5.out":
            raise MemoryError
        return blank(job)

    def write(job: Job, protected: object) -> object:
        if job.target == "6.out":
            raise OSError(5, "Input/output error", "6.out")
        return protected, None

    seen: list[Outcome] = []
    run_pipeline(jobs(9), stages(read=read, write=write), seen.append)
    assert [outcome.job.target for outcome in seen] == [f"{index}.out" for index in range(9)]
    failed = {outcome.job.target: outcome.failure.error for outcome in seen if outcome.failure}
    assert failed["3.out"] == "3.png: is bad"
    assert "more memory" in failed["5.out"]
    assert "Input/output error" in failed["6.out"]
    assert len(failed) == 3


def test_pictures_of_one_size_go_together():
    mixed = [job for pair in zip(jobs(200), jobs(200, (8, 8)), strict=True) for job in pair]
    groups = list(group_by_size(mixed, lambda *size: 8))
    assert sorted(job.source.path + str(job.source.width_px) for group in groups for job in group) == sorted(
        job.source.path + str(job.source.width_px) for job in mixed
    )
    assert all(len(group) == 8 and len({job.source.width_px for job in group}) == 1 for group in groups)
    looked_at: list[int] = []

    def all_different() -> Iterator[Job]:
        for index, job in enumerate(jobs(500)):
            looked_at.append(index)
            yield Job(replace(job.source, width_px=index), job.target)

    for index, group in enumerate(group_by_size(all_different(), lambda *size: 8)):
        assert [job.source.width_px for job in group] == [index]
        assert len(looked_at) <= index + 64


def test_a_bad_picture_does_not_take_its_batch_along():
    sizes: list[int] = []

    def optimise(pictures: Sequence[Opened]) -> list[object]:
        sizes.append(len(pictures))
        if any(opened.job.target == "2.out" for opened in pictures):
            raise PictureError("2.png: does not fit")
        return [object() for _ in pictures]

    seen: list[Outcome] = []
    run_pipeline(jobs(8), stages(together=lambda *size: 4, optimise=optimise), seen.append)
    assert sizes == [4, 1, 1, 1, 1, 4]
    assert [outcome.failure for outcome in seen if outcome.failure] == [Failure("2.png", "", "2.png: does not fit")]


def test_a_rotated_picture_leaves_its_batch():
    def read(job: Job) -> Opened:
        shape = (16, 24, 3) if job.target == "1.out" else (24, 16, 3)
        return Opened(job, Picture(np.zeros(shape, np.uint8)))

    shapes: list[set[int]] = []

    def optimise(pictures: Sequence[Opened]) -> list[object]:
        shapes.append({opened.picture.width for opened in pictures})
        return [object() for _ in pictures]

    run_pipeline(jobs(4), stages(together=lambda *size: 4, read=read, optimise=optimise), lambda outcome: None)
    assert shapes == [{16}, {24}]


def test_what_was_optimised_is_written_even_if_the_run_breaks_off():
    def optimise(pictures: Sequence[Opened]) -> list[object]:
        if pictures[0].job.target == "3.out":
            raise DeviceError("gone")
        return [object()]

    seen: list[Outcome] = []
    with pytest.raises(DeviceError, match="gone"):
        run_pipeline(jobs(9), stages(optimise=optimise), seen.append)
    assert [outcome.job.target for outcome in seen] == ["0.out", "1.out", "2.out"]


def test_only_a_few_pictures_are_in_memory_at_once():
    alive = [0]
    most = [0]

    def read(job: Job) -> Opened:
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        return blank(job)

    def write(job: Job, protected: object) -> object:
        alive[0] -= 1
        return protected, None

    run_pipeline(jobs(300), stages(read=read, write=write), lambda outcome: None)
    assert most[0] <= 8


@pytest.mark.parametrize(("side_px", "most"), [(100, 3), (6000, 2)])
def test_of_large_pictures_fewer_are_in_memory(side_px: int, most: int):
    """Read, and not yet given up by the optimiser: the one in hand and those that wait."""
    held, seen = [0], []

    def read(job: Job) -> Opened:
        held[0] += 1
        return blank(job)

    def optimise(pictures: Sequence[Opened]) -> list[object]:
        time.sleep(0.02)  # the reader gets as far as it may
        seen.append(held[0])
        held[0] -= 1
        raise PictureError("enough")

    run_pipeline(jobs(8, (side_px, side_px)), stages(read=read, optimise=optimise), lambda outcome: None)
    assert len(seen) == 8
    assert max(seen) == most


@pytest.mark.parametrize("error", [UsageError("means nothing"), Cancelled("enough"), ModelError("is not there")])
def test_what_is_not_a_pictures_fault_ends_the_run(error: Exception):
    def optimise(pictures: Sequence[Opened]) -> list[object]:
        raise error

    with pytest.raises(type(error)):
        run_pipeline(jobs(3), stages(optimise=optimise), lambda outcome: None)


def test_a_surprise_is_one_pictures_alone():
    def read(job: Job) -> Opened:
        if job.target == "1.out":
            raise struct.error("of some decoder")
        return blank(job)

    seen: list[Outcome] = []
    run_pipeline(jobs(3), stages(read=read), seen.append)
    assert [outcome.failure is None for outcome in seen] == [True, False, True]
    assert seen[1].failure is not None
    assert (
        seen[1].failure.error == "1.png: cannot be read (error: of some decoder); please report this with the picture"
    )


def test_what_is_left_out_says_why():
    def read(job: Job) -> Opened:
        if job.target == "1.out":
            raise LeftOutError("not a picture")
        return blank(job)

    seen: list[Outcome] = []
    run_pipeline(jobs(3), stages(read=read), seen.append)
    assert [outcome.left_out for outcome in seen] == ["", "not a picture", ""]


def test_stopping_begins_no_more_and_finishes_what_is_in_hand():
    seen: list[Outcome] = []
    run_pipeline(jobs(50), stages(), seen.append, stopping=lambda: len(seen) >= 3)
    assert 3 <= len(seen) <= 3 + 8
    assert [outcome.job.target for outcome in seen] == [f"{index}.out" for index in range(len(seen))]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs a signal of its own")
def test_an_interrupt_reports_the_result_that_it_interrupts():
    """The signal arrives while the main thread waits for the first write."""

    class StopError(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise StopError

    def write(job: Job, protected: object) -> object:
        if job.target == "0.out":
            time.sleep(0.2)  # the main thread waits by now
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.2)
        written.append(job.target)
        return protected, None

    written: list[str] = []
    seen: list[Outcome] = []
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(StopError):
            run_pipeline(jobs(20), stages(write=write), seen.append)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sorted(outcome.job.target for outcome in seen) == sorted(written)
    assert "0.out" in written


def test_a_read_that_hangs_is_not_waited_for():
    released = threading.Event()

    def read(job: Job) -> Opened:
        if job.target == "1.out":
            released.wait()
        return blank(job)

    def optimise(pictures: Sequence[Opened]) -> list[object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pipeline(jobs(3), stages(read=read, optimise=optimise), lambda outcome: None, groups_ahead=0)
    waiting = [
        thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    assert waiting == [], "the program would wait for these at its end"
    released.set()


def test_an_animation_is_not_read_ahead_with_others():
    """The header tells the size of a frame, not the number of frames."""
    animations = [replace(job, source=replace(job.source, frames=2)) for job in jobs(6)]
    assert [len(group) for group in group_by_size(animations, lambda *size: 8)] == [1] * 6


def test_many_small_pictures_take_time_too():
    """A thousand pictures of no size are not done in no time."""
    pace = Pace(1e-9, 1e-9, seconds_per_step=0.01, seconds_per_picture=0.1)
    config = ProtectConfig(preset="paper", steps=5)
    assert pace.seconds(16, 16, config) == pytest.approx(5 * 0.01 + 0.1 + 6 * 256e-9)
    assert pace.seconds(0, 0, config) == 0
