"""Jobs of the HTTP API: batches, time limits, kept results, the end of the program."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from api_server import LONG, LONG_PX, QUICK, encoded, eventually, metric, png, serving
from PIL import Image

from pca_protect.cli.api.job_queue import JobQueue
from pca_protect.cli.api.jobs import Done, Failure, Job, Outcome
from pca_protect.cli.api.limits import Limits
from pca_protect.errors import PcaProtectError
from pca_protect.surrogates.encoder import Surrogate

PROTECT, LATER = "/v1/protect", {"Prefer": "respond-async"}
BATCHES = 'pca_protect_batch_pictures_bucket{le="1.0"}'
DONE = Done(b"", "image/png", {})


def behind_a_long_job(client: httpx.Client, bodies: list[bytes]) -> list[httpx.Response]:
    """The responses to requests that were all waiting when the worker became free."""
    place = client.post(PROTECT, params=LONG, content=png(LONG_PX, LONG_PX), headers=LATER).headers["location"]
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = [pool.submit(client.post, PROTECT, params=QUICK, content=body) for body in bodies]
        eventually(lambda: metric(client, "pca_protect_jobs") == len(bodies) + 1)
        client.delete(place)
        return [answer.result() for answer in answers]


def test_pictures_of_equal_size_share_a_batch(pocket: Surrogate):
    bodies = [png(seed=0), png(seed=1), png(72, 48), png(seed=2), png(seed=3)]
    with serving(pocket, batch=3) as client:
        alone = [client.post(PROTECT, params=QUICK, content=body) for body in bodies]
        single = metric(client, BATCHES)
        answers = behind_a_long_job(client, bodies)
        # the long one; three; the other size; the fourth of the first size
        assert metric(client, BATCHES) - single == 3
        assert metric(client, "pca_protect_batch_pictures_count") - single == 4
    assert [answer.content for answer in answers] == [answer.content for answer in alone]


def test_bad_picture_does_not_fail_its_batch(pocket: Surrogate):
    bodies = [png(channels=4), encoded(Image.new("RGBA", (64, 48))), png(seed=2, channels=4)]
    with serving(pocket, batch=3) as client:
        answers = behind_a_long_job(client, bodies)
    assert [answer.status_code for answer in answers] == [200, 422, 200]


def test_time_limit(pocket: Surrogate):
    with serving(pocket, limits=Limits(job_seconds=0.4)) as client:
        answer = client.post(PROTECT, params=LONG, content=png(LONG_PX, LONG_PX))
        assert answer.status_code == 504
        assert "0.4 s" in answer.json()["detail"]
        eventually(lambda: client.post(PROTECT, params=QUICK, content=png()).status_code == 200)


def test_presets_that_are_not_offered(pocket: Surrogate):
    with serving(pocket, presets=("instant", "fast")) as client:
        for params in ({"preset": "thorough"}, {"until": "thorough"}, {"steps": 9}, {"preset": "paper"}):
            assert client.post(PROTECT, params=params, content=png()).status_code == 422
        record = client.post(PROTECT, params={"mode": "subtle"}, content=png()).headers["x-pca-record"]
        assert '"preset":"instant"' in record


@pytest.mark.parametrize(
    "limits",
    [Limits(kept_results=2), Limits(kept_bytes=20_000), Limits(kept_seconds=0.5)],
    ids=lambda limits: str(limits),
)
def test_kept_results_are_limited(pocket: Surrogate, limits: Limits):
    with serving(pocket, limits=limits) as client:
        places = [
            client.post(PROTECT, params=QUICK, content=png(seed=seed), headers={"Accept": "application/json"}).json()[
                "id"
            ]
            for seed in range(4)
        ]
        newest, oldest = f"/v1/jobs/{places[-1]}", f"/v1/jobs/{places[0]}"
        assert client.get(newest).status_code == 200
        eventually(lambda: client.get(oldest).status_code == 404)
        if limits.kept_seconds < 1:
            eventually(lambda: client.get(newest).status_code == 404)


def test_cancelled_job_frees_its_place(pocket: Surrogate):
    with serving(pocket, limits=Limits(max_jobs=2)) as client:
        first, second = (
            client.post(PROTECT, params=LONG, content=png(LONG_PX, LONG_PX), headers=LATER).headers["location"]
            for _ in range(2)
        )
        assert client.post(PROTECT, content=png()).status_code == 429
        client.delete(second)
        assert client.post(PROTECT, params=QUICK, content=png(), headers=LATER).status_code == 202
        client.delete(first)


def run_in_queue(run: object, count: int = 1) -> list[Outcome]:
    queue: JobQueue[str] = JobQueue(run, at_once=lambda _: count, failure=lambda error: Failure(422, str(error)))  # type: ignore[arg-type]
    gate = threading.Event()
    jobs = [Job(str(number), kind="same", limit_seconds=60) for number in range(count)]
    first: Job[str] = Job("gate", limit_seconds=60)
    first.outcome.add_done_callback(lambda _: gate.wait(10))  # called in the worker's thread
    queue.submit(first)
    for job in jobs:
        queue.submit(job)
    gate.set()
    outcomes = [job.outcome.result(30) for job in jobs]
    queue.refuse_waiting(Failure(503, "closed"))
    return outcomes


def test_error_of_one_job_is_not_that_of_its_batch():
    def run(jobs: list[Job[str]]) -> list[Outcome]:
        if any(job.work == "1" for job in jobs):
            raise PcaProtectError("one is bad")
        return [DONE for _ in jobs]

    assert run_in_queue(run, 3) == [DONE, Failure(422, "one is bad"), DONE]


def test_unexpected_error_is_logged_and_told_without_details(caplog: pytest.LogCaptureFixture):
    def run(jobs: list[Job[str]]) -> list[Outcome]:
        if jobs[0].work == "gate":
            return [DONE]
        raise ZeroDivisionError("secret")

    (outcome,) = run_in_queue(run)
    assert isinstance(outcome, Failure)
    assert outcome.status == 500
    assert "secret" not in outcome.detail
    assert "secret" in caplog.text
