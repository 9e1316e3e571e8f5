"""The job queue of the page."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from web_gate import Gate

from pca_protect import Cancelled, PcaProtectError, UsageError
from pca_protect.cli.web import job_queue as job_queue_module
from pca_protect.cli.web.job_queue import MAX_WAITING_JOBS, Job, JobQueue

SECONDS = 10


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue()
    yield queue
    queue.close()


def test_jobs_wait_in_order_and_one_is_worked_on(queue: JobQueue):
    gates = [Gate("a"), Gate("b"), Gate("c")]
    jobs = [queue.submit(gate) for gate in gates]
    assert gates[0].begun.wait(SECONDS)
    assert [job.status.jobs_ahead for job in jobs] == [0, 1, 2]
    assert queue.busy
    assert not gates[1].begun.is_set()
    gates[0].open.set()
    assert jobs[0].result() == "a"
    assert gates[1].begun.wait(SECONDS)
    assert jobs[2].status.jobs_ahead == 1
    for gate in gates:
        gate.open.set()
    assert jobs[2].result() == "c"


def test_a_job_is_cancelled_at_work(queue: JobQueue):
    gate = Gate()
    job = queue.submit(gate)
    assert gate.begun.wait(SECONDS)
    job.cancel()
    with pytest.raises(Cancelled, match="nothing was kept"):
        job.result()
    assert job.status.stopping


def test_a_job_that_waits_is_cancelled_at_once(queue: JobQueue):
    first, second, third = Gate("first"), Gate("second"), Gate("third")
    jobs = [queue.submit(gate) for gate in (first, second, third)]
    assert first.begun.wait(SECONDS)
    jobs[1].cancel()
    assert jobs[1].finished
    with pytest.raises(Cancelled):
        jobs[1].result()
    assert jobs[2].status.jobs_ahead == 1
    third.open.set()
    first.open.set()
    assert jobs[2].result() == "third"
    assert not second.begun.is_set()


@pytest.mark.parametrize("error", [UsageError("no"), RuntimeError("no"), MemoryError()])
def test_what_went_wrong_is_a_sentence_and_the_next_job_runs(queue: JobQueue, error: Exception):
    def broken(job: Job[str]) -> str:
        raise error

    with pytest.raises(PcaProtectError, match="^no$" if isinstance(error, UsageError) else "please report it"):
        queue.submit(broken).result()
    assert queue.submit(lambda job: "yes").result() == "yes"


def refused(_: Job[object]) -> None:
    raise UsageError("no") from ValueError("because")


@pytest.mark.parametrize("ends", [lambda job: None, refused, lambda job: job.cancel() or job.set_progress("")])
def test_nothing_of_the_work_stays_in_memory(queue: JobQueue, ends: Callable[[Job[object]], object]):
    class Tensor:
        pass

    def work(job: Job[object]) -> None:
        tensor = Tensor()
        left.append(weakref.ref(tensor))
        ends(job)

    left: list[weakref.ref[Tensor]] = []
    job = queue.submit(work)
    with suppress(PcaProtectError):
        job.result()
    queue.submit(lambda job: None).result()  # the worker has let go of the first by then
    gc.collect()
    assert left[0]() is None


def test_a_job_over_its_time_limit_fails_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(job_queue_module.time, "monotonic", lambda: now[0])

    def work(job: Job[int]) -> int:
        for step in range(1, 5):
            now[0] += 4.0
            job.set_progress("Working", step / 10)
        return step

    queue = JobQueue(limit_seconds=10.0)
    with pytest.raises(UsageError, match="longer than 10 s"):
        queue.submit(work).result()
    assert now[0] == 112.0
    assert queue.submit(lambda job: "yes").result() == "yes"
    queue.close()


def test_a_long_queue_takes_no_more(queue: JobQueue):
    gate = Gate()
    queue.submit(gate)
    assert gate.begun.wait(SECONDS)
    for _ in range(MAX_WAITING_JOBS):
        queue.submit(Gate())
    with pytest.raises(UsageError, match=f"{MAX_WAITING_JOBS} jobs are waiting already"):
        queue.submit(Gate())


def test_closing_ends_what_waits_and_what_runs():
    queue, gates = JobQueue(), [Gate(), Gate()]
    jobs = [queue.submit(gate) for gate in gates]
    assert gates[0].begun.wait(SECONDS)
    queue.close()
    for job in jobs:
        with pytest.raises(Cancelled):
            job.result()
    with pytest.raises(UsageError, match="is stopping"):
        queue.submit(gates[0])


def test_time_left_counts_down_between_reports(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(job_queue_module.time, "monotonic", lambda: now[0])
    shown: list[float | None] = []

    def work(job: Job[None]) -> None:
        for share, seconds in ((0.1, 0.0), (0.2, 10.0), (0.2, 5.0), (0.4, 15.0)):
            now[0] += seconds
            job.set_progress("Working", share)
            shown.append(job.status.seconds_left)

    queue = JobQueue()
    queue.submit(work).result()
    queue.close()
    assert shown == [None, pytest.approx(80.0), pytest.approx(75.0), pytest.approx(60.0)]
