"""A real Ray cluster of two workers on this machine makes what one process makes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from folders import Recorder, outputs, put_pictures
from huggingface_hub import constants

from pca_protect.batch.executors import ray as executor
from pca_protect.batch.ledger import read_ledger
from pca_protect.batch.outcome import Outcome
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.batch.store import Store
from pca_protect.config import ProtectConfig
from pca_protect.errors import DeviceError, UsageError

pytest.importorskip("ray", reason="needs pca-protect[cluster]")
pytest.importorskip("s3fs", reason="needs pca-protect[cluster]")
pytest.importorskip("moto", reason="needs moto[s3]")

import ray
from s3_server import s3_server

pytestmark = [
    # Ray and botocore leave sockets and files to the garbage collector, and their threads to the end of the process.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),
    pytest.mark.filterwarnings(r"ignore::FutureWarning:ray\..*"),
]


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    """A Ray cluster with two CPUs; its processes inherit this environment, and with it the address of an S3 server."""
    with s3_server(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default: beside other tests they would hardly run
        ray.init(
            "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL,
            object_store_memory=100_000_000,
        )  # fmt: skip
        yield
        ray.shutdown()


@pytest.fixture
def config(tiny_folder: Path) -> ProtectConfig:
    return ProtectConfig(vae=str(tiny_folder), steps=2, device="cpu")


def workers() -> list[psutil.Process]:
    """The processes that hold an encoder."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile, or is a zombie
            if "Protector" in " ".join(child.cmdline()[:1]):
                found.append(child)
    return found


class KillingOne(Recorder):
    """Kills a worker after the first picture."""

    def done(self, outcome: Outcome) -> None:
        super().done(outcome)
        if len(self.outcomes) == 1:
            workers()[0].kill()


def test_a_worker_that_is_killed_costs_time_and_nothing_else(tmp_path: Path, two_workers: None, config: ProtectConfig):
    """Links are followed, a broken picture fails, and the ledger is that of any other executor."""
    photos = put_pictures(tmp_path / "photos", 9)
    (photos / "link.png").symlink_to(photos / "000.png")
    (photos / "broken.png").write_bytes((photos / "000.png").read_bytes()[:100])
    request = Request((str(photos),), output=tmp_path / "out", recursive=True, engine="ray", jobs=2)
    observer = KillingOne()
    summary = run(request, config, observer)
    assert (summary.protected, len(summary.failures), summary.total) == (10, 1, 11)
    assert observer.loaded_times == 1
    assert len(read_ledger(Store(str(tmp_path / "out")))) == 10
    here = replace(request, output=tmp_path / "here", engine="local", jobs=1)
    run(here, config, Recorder())
    assert outputs(tmp_path / "out") == outputs(tmp_path / "here")
    assert run(replace(here, output=tmp_path / "out"), config, Recorder()).finished == 10
    assert run(replace(request, output=tmp_path / "here"), config, Recorder()).finished == 10


def test_bucket_to_bucket(tmp_path: Path, two_workers: None, config: ProtectConfig):
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="pictures")
    photos = put_pictures(tmp_path / "photos", 3)
    for path in photos.rglob("*.png"):
        client.upload_file(str(path), "pictures", f"in/{path.relative_to(photos).as_posix()}")
    request = Request(("s3://pictures/in",), output="s3://pictures/out", engine="ray", jobs=1)
    assert run(request, config, Recorder()).protected == 3
    again = run(replace(request, engine="local"), config, Recorder())
    assert again.finished == 3
    run(Request((str(photos),), output=tmp_path / "out", recursive=True), config, Recorder())
    for place, data in outputs(tmp_path / "out").items():
        body = client.get_object(Bucket="pictures", Key=f"out/{Path(place).as_posix()}")["Body"]
        assert body.read() == data


def test_a_fallback_of_auto_is_named_once_for_all_workers(
    tmp_path: Path, two_workers: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    photos = put_pictures(tmp_path / "photos", 1)
    auto = ProtectConfig(preset="paper", steps=1, device="cpu")
    request = Request((str(photos),), output=tmp_path / "out", engine="ray", jobs=1, evaluate=False)
    observer = Recorder()
    assert run(request, auto, observer).protected == 1
    assert set(outputs(tmp_path / "out")) == {"000.test-only.png"}
    record = observer.outcomes[0].record
    assert record is not None
    assert record.test_only
    assert record.protected is None, "not evaluated"
    assert record.warnings[0].startswith("test only: not protected against any real editor")


def test_unreachable_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: ProtectConfig):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    photos = put_pictures(tmp_path / "photos", 2)
    observer = Recorder()
    request = Request((str(photos),), output=tmp_path / "out", engine="ray", ray_address="127.0.0.1:9")
    with pytest.raises(DeviceError, match=r"Ray cluster 127\.0\.0\.1:9: cannot be reached"):
        run(request, config, observer)
    assert observer.summaries[0].left == 2


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: ProtectConfig):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'pca-protect\[cluster\]'"):
        run(Request((str(tmp_path),), output=tmp_path / "out", engine="ray"), config, Recorder())


@pytest.mark.parametrize(
    ("device", "jobs", "resources", "size"),
    [
        ("auto", None, {"CPU": 4.0}, 4),
        ("auto", None, {"CPU": 4.0, "GPU": 2.0}, 2),
        ("cpu", None, {"CPU": 4.0, "GPU": 2.0}, 4),
        ("cuda", 8, {"CPU": 4.0}, 8),
        ("cuda", None, {"CPU": 4.0}, None),
    ],
)
def test_the_size_of_the_pool(device: str, jobs: int | None, resources: dict[str, float], size: int | None):
    """A cluster that adds GPUs on demand has none yet: one worker for ever is not what anybody wants."""
    ask: Callable[[], Any] = lambda: executor._pool_size(ProtectConfig(device=device), jobs, resources)  # noqa: E731
    if size is None:
        with pytest.raises(UsageError, match="give the number of workers with `jobs`"):
            ask()
    else:
        assert ask() == size
