"""A real Ray cluster of two workers on this machine, folders, and an S3 server that runs here."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from conftest import smooth_picture
from huggingface_hub import constants

from pca_protect.batch.outcome import Outcome, Summary
from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig
from pca_protect.errors import DeviceError, ModelError, UsageError
from pca_protect.io.picture import Picture
from pca_protect.io.proof import largest_change_levels
from pca_protect.io.read import decode_picture
from pca_protect.protection import protect
from pca_protect.surrogates.encoder import Surrogate

pytest.importorskip("ray", reason="needs pca-protect[cluster]")
pytest.importorskip("s3fs", reason="needs pca-protect[cluster]")
pytest.importorskip("moto", reason="needs moto[s3]")

import ray

from pca_protect.cluster import run as cluster
from pca_protect.cluster.fetch import Counter
from pca_protect.cluster.plan import JobStatuses, classify, inputs_of
from pca_protect.cluster.records import Ledger, Planned
from pca_protect.cluster.storage import Storage, is_url

pytestmark = [
    # Ray and botocore leave sockets and files to the garbage collector, and their threads to the end of the process.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),
]


@dataclass
class Watched:
    """A observer that keeps what it is told; `on_done` is called with every outcome."""

    on_done: Callable[[Outcome], None] = lambda outcome: None
    messages: list[str] = field(default_factory=list)
    begun: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    summary: Summary | None = None

    def message(self, sentence: str) -> None:
        self.messages.append(sentence)

    def loaded(self, surrogate: Surrogate) -> None:
        pass

    def begin(self, pictures: int) -> None:
        self.begun = pictures

    def picture(self, job: object) -> None:
        raise AssertionError("a cluster does not say what it is about to do")

    def step(self, done: int, steps: int, loss: float) -> None:
        raise AssertionError("a cluster does not say how far it is")

    def done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.on_done(outcome)

    def end(self, summary: Summary) -> None:
        self.summary = summary


@dataclass(frozen=True)
class KillingDelivery(OutputOptions):
    """Stands for a decoder that crashes: the worker that touches this picture dies on the spot."""

    def prepared(self, picture: Picture) -> Picture:
        if "killer" in picture.source:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepared(picture)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server, which this process and the workers find in their environment."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield address
    server.stop()


@pytest.fixture(scope="module")
def two_workers(s3: str) -> Iterator[None]:
    """A Ray cluster with two CPUs; its processes inherit this environment."""
    with pytest.MonkeyPatch.context() as patch:
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
def one_thread() -> Iterator[None]:
    """Workers compute with one thread, and so has whoever compares bytes with theirs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(tiny_folder: Path) -> ProtectConfig:
    return ProtectConfig(vae=str(tiny_folder), steps=2, device="cpu")


def png(width: int, height: int, seed: int) -> bytes:
    file = io.BytesIO()
    smooth_picture(width, height, seed=seed).save(file, "PNG")
    return file.getvalue()


def expected(data: bytes, config: ProtectConfig, surrogate: Surrogate) -> bytes:
    """What the local engine writes for a picture."""
    return protect(decode_picture(data, "picture"), config, surrogate=surrogate).encoded("PNG")[0]


def folder_of(root: Path, pictures: dict[str, bytes]) -> str:
    for place, data in pictures.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(data)
    return str(root)


def written(root: Path) -> dict[str, bytes]:
    """The outputs below a folder, by place."""
    files = (path for path in root.rglob("*.*") if path.is_file() and ".pca_protect" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def lines_of(root: Path, kind: str) -> list[dict[str, object]]:
    parts = sorted((root / ".pca_protect" / kind).glob("*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text(encoding="ascii").splitlines()]


def workers() -> list[psutil.Process]:
    """The processes that hold an encoder."""
    children = psutil.Process().children(recursive=True)
    found = []
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile, or is a zombie
            if "Protector" in " ".join(child.cmdline()[:1]):
                found.append(child)
    return found


def test_folder_to_folder(
    tmp_path: Path, two_workers: None, one_thread: None, config: ProtectConfig, tiny: Surrogate
) -> None:
    """Same bytes as the local engine; a broken picture fails alone; a second run finds nothing to do."""
    good = {"a.png": png(45, 37, 0), "deep/er/a.png": png(37, 45, 1), "deep/hash": png(45, 37, 2)}
    broken = {"broken.png": png(45, 37, 3)[:400], "tiny.png": png(5, 5, 4), "empty.png": b"", "page.jpg": b"<html>"}
    others = {"notes.txt": b"no picture", "README": b"nor is this", ".hidden.png": png(45, 37, 5)}
    source = folder_of(tmp_path / "in", good | broken | others)
    watched = Watched()

    summary = cluster.run(
        [source], str(tmp_path / "out"), config, observer=watched, workers=2, errors=tmp_path / "errors.jsonl"
    )

    outputs = written(tmp_path / "out")
    assert set(outputs) == {"a.protected.png", "deep/er/a.protected.png", "deep/hash.protected.png"}
    for place, data in good.items():
        assert outputs[f"{place.removesuffix('.png')}.protected.png"] == expected(data, config, tiny)
    assert {Path(failure.input).name for failure in summary.failures} == set(broken)
    assert summary.protected == 3
    assert summary.left == 0
    assert watched.summary == summary
    assert len(watched.outcomes) == 7
    failed = [json.loads(line)["input"] for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert {Path(name).name for name in failed} == set(broken)
    assert lines_of(tmp_path / "out", "errors")[0]["error"]
    assert "1 file was ignored: no known image extension" in watched.messages

    journal, records = lines_of(tmp_path / "out", "journal"), lines_of(tmp_path / "out", "records")
    assert {line["output"] for line in journal} == set(outputs)
    assert all(record["max_change_levels"] <= config.budget_levels for record in records)
    for place in ("a", "deep/er/a"):
        original = decode_picture(good[f"{place}.png"], place)
        protected = decode_picture(outputs[f"{place}.protected.png"], place)
        assert 0 < largest_change_levels(original, protected) <= config.budget_levels
    assert not list((tmp_path / "out/.pca_protect/planned").iterdir())


def done_folder(tmp_path: Path, config: ProtectConfig) -> tuple[str, Path]:
    """An input folder with two pictures, and an output folder in which both are finished."""
    source = folder_of(tmp_path / "in", {"a.png": png(45, 37, 0), "sub/b.png": png(37, 45, 1)})
    cluster.run([source], str(tmp_path / "out"), config, observer=Watched(), workers=2)
    return source, tmp_path / "out"


def state_of(root: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_what_a_rerun_does(tmp_path: Path, two_workers: None, config: ProtectConfig) -> None:
    """Nothing where all is proved; a refusal where a picture or the settings changed; what is missing is made again."""
    source, out = done_folder(tmp_path, config)
    before = state_of(out)

    def again(settings: ProtectConfig = config, **options: object) -> Summary:
        return cluster.run([source], str(out), settings, observer=Watched(), workers=2, **options)  # type: ignore[arg-type]

    assert (again().finished, again().protected) == (2, 0)
    assert state_of(out) == before

    other = ProtectConfig(vae=config.vae, steps=3, device="cpu")
    with pytest.raises(UsageError, match=r"a\.png, .*b\.png: protected with other settings"):
        again(other)
    kept = again(other, existing="skip")
    assert (kept.skipped, kept.protected) == (2, 0)
    assert state_of(out) == before

    (tmp_path / "in/a.png").write_bytes(png(45, 37, 9))
    with pytest.raises(UsageError, match=r"in/a\.png: changed since protection"):
        again()
    (tmp_path / "in/a.png").write_bytes(png(45, 37, 0))
    (out / "a.protected.png").write_bytes(b"x" * len(before[str(out / "a.protected.png")][0]))
    with pytest.raises(UsageError, match=r"a\.protected\.png: exists already"):
        again()
    (out / "a.protected.png").unlink()
    missing = again()
    assert (missing.finished, missing.protected) == (1, 1)
    assert written(out) == {
        "a.protected.png": before[str(out / "a.protected.png")][0],
        "sub/b.protected.png": before[str(out / "sub/b.protected.png")][0],
    }


def test_killed_worker(tmp_path: Path, two_workers: None, one_thread: None, tiny_folder: Path, tiny: Surrogate) -> None:
    """A worker killed half-way costs time and nothing else."""
    config = ProtectConfig(vae=str(tiny_folder), steps=25, device="cpu")
    pictures = {f"{number}.png": png(61, 53, number) for number in range(10)}
    source = folder_of(tmp_path / "in", pictures)
    killed: list[int] = []

    def kill_one(outcome: Outcome) -> None:
        if not killed:
            victim = workers()[0]
            victim.kill()
            killed.append(victim.pid)

    watched = Watched(on_done=kill_one)
    summary = cluster.run([source], str(tmp_path / "out"), config, observer=watched, workers=2)

    assert killed
    assert (summary.protected, summary.failures, summary.left) == (10, (), 0)
    assert len(lines_of(tmp_path / "out", "journal")) == 10
    for place, data in pictures.items():
        output = (tmp_path / "out" / place.replace(".png", ".protected.png")).read_bytes()
        assert output == expected(data, config, tiny)


def test_picture_that_kills_its_worker(
    tmp_path: Path, two_workers: None, one_thread: None, config: ProtectConfig, tiny: Surrogate
) -> None:
    """It is tried three times, ends in the error list, and does not take its neighbours in the batch with it."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    pictures = {f"{number}.png": png(45, 37, number) for number in range(3)}
    source = folder_of(tmp_path / "in", {**pictures, "1-killer.png": png(45, 37, 9)})
    together = ProtectConfig(vae=config.vae, steps=2, device="cpu", batch=4)

    summary = cluster.run(
        [source], str(tmp_path / "out"), together, observer=Watched(), workers=1, output_options=KillingDelivery()
    )

    (failure,) = summary.failures
    assert "1-killer.png: crashed its worker 3 times" in failure.error
    outputs = written(tmp_path / "out")
    assert outputs == {
        place.replace(".png", ".protected.png"): expected(data, config, tiny) for place, data in pictures.items()
    }


def versions_in(bucket: str) -> list[str]:
    """Every upload that was ever made to a bucket."""
    import boto3

    client = boto3.client("s3")
    found = client.list_object_versions(Bucket=bucket)
    return sorted(f"{entry['Key']} {entry['VersionId']}" for entry in found.get("Versions", ()))


def test_bucket_to_bucket(s3: str, two_workers: None, one_thread: None, config: ProtectConfig, tiny: Surrogate) -> None:
    """Objects in, objects out, with the bytes of the local engine; a rerun uploads nothing."""
    import boto3

    client = boto3.client("s3")
    for bucket in ("pictures", "protected"):
        client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket="protected", VersioningConfiguration={"Status": "Enabled"})
    pictures = {"set/one.png": png(45, 37, 0), "set/deep/two.png": png(37, 45, 1), "elsewhere.png": png(45, 37, 2)}
    for key, data in (pictures | {"set/bad.png": pictures["set/one.png"][:300], "set/list.csv": b"a,b"}).items():
        client.put_object(Bucket="pictures", Key=key, Body=data)

    def go(settings: ProtectConfig = config, **options: object) -> Summary:
        return cluster.run(
            ["s3://pictures/set"], "s3://protected/by/us", settings, observer=Watched(), workers=2, **options  # type: ignore[arg-type]
        )  # fmt: skip

    summary = go()
    assert summary.protected == 2
    assert [failure.input for failure in summary.failures] == ["s3://pictures/set/bad.png"]
    keys = {entry["Key"] for entry in client.list_objects_v2(Bucket="protected")["Contents"]}
    outputs = {key for key in keys if "/.pca_protect/" not in key}
    assert outputs == {"by/us/one.protected.png", "by/us/deep/two.protected.png"}
    for place in ("one", "deep/two"):
        body = client.get_object(Bucket="protected", Key=f"by/us/{place}.protected.png")["Body"].read()
        assert body == expected(pictures[f"set/{place}.png"], config, tiny)
    assert {key.split("/")[3] for key in keys - outputs} == {"journal", "records", "errors"}

    client.delete_object(Bucket="pictures", Key="set/bad.png")
    before = versions_in("protected")
    assert go().finished == 2
    assert versions_in("protected") == before

    other = ProtectConfig(vae=config.vae, steps=3, device="cpu")
    with pytest.raises(UsageError, match=r"s3://pictures/set/deep/two\.png, .*: protected with other settings"):
        go(other)
    assert versions_in("protected") == before
    client.put_object(Bucket="pictures", Key="set/one.png", Body=pictures["elsewhere.png"])
    with pytest.raises(UsageError, match=r"s3://pictures/set/one\.png: changed since"):
        go()
    redone = go(existing="overwrite")
    assert (redone.finished, redone.protected) == (1, 1)
    body = client.get_object(Bucket="protected", Key="by/us/one.protected.png")["Body"].read()
    assert body == expected(pictures["elsewhere.png"], config, tiny)


def test_storage_errors_are_sentences(s3: str, tmp_path: Path, config: ProtectConfig) -> None:
    import boto3

    boto3.client("s3").create_bucket(Bucket="there")
    with pytest.raises(UsageError, match=r"s3://not-there/x: no such bucket or folder"):
        cluster.run(["s3://not-there/x"], "s3://there/out", config, observer=Watched())
    with pytest.raises(UsageError, match=r"s3://there/x: no picture to protect"):
        cluster.run(["s3://there/x"], "s3://there/out", config, observer=Watched())
    with pytest.raises(UsageError, match=r"/nowhere: no such bucket or folder"):
        cluster.run([str(tmp_path / "nowhere")], str(tmp_path / "out"), config, observer=Watched())
    with pytest.raises(UsageError, match=r"nonsense://x: cannot be opened"):
        cluster.run(["nonsense://x"], str(tmp_path / "out"), config, observer=Watched())
    source = folder_of(tmp_path / "in", {"a.png": png(45, 37, 0)})
    with pytest.raises(UsageError, match=r"s3://not-there/out: no such bucket or folder"):
        cluster.run([source], "s3://not-there/out", config, observer=Watched())


def test_unreachable_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(UsageError, match=r"s3://pictures: the storage cannot be reached"):
        list(Storage("s3://pictures").listed())
    s3fs.S3FileSystem.clear_instance_cache()


def test_unreachable_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: ProtectConfig) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    source = folder_of(tmp_path / "in", {"a.png": png(45, 37, 0)})
    watched = Watched()
    with pytest.raises(DeviceError, match=r"Ray cluster 127\.0\.0\.1:9: cannot be reached"):
        cluster.run([source], str(tmp_path / "out"), config, observer=watched, address="127.0.0.1:9")
    assert watched.summary is not None
    assert watched.summary.left == 1


def test_outputs_of_a_run_that_was_killed(tmp_path: Path) -> None:
    """What it wrote and could not note any more is known by its plan, and made again; nothing else is replaced."""
    source = Storage(folder_of(tmp_path / "in", {"a.png": png(45, 37, 0)}))
    output = Storage(folder_of(tmp_path / "out", {"a.protected.png": b"written, not noted"}))
    tasks = inputs_of([source], output, recursive=True).tasks

    def statuses(config_digest: str) -> JobStatuses:
        memory = Ledger(output, output.listed(), "later")
        there = {stored.place: stored for stored in output.listed()}
        return classify(
            tasks, output=output, there=there, finished=memory.finished(), unfinished=memory.unfinished(),
            existing="refuse", config_digest=config_digest, weights_digest="w",
        )  # fmt: skip

    with pytest.raises(UsageError, match=r"a\.protected\.png: exists already"):
        statuses("c")
    killed = Ledger(output, output.listed(), "killed")
    killed.announce(Planned("c", "w", frozenset(task.target for task in tasks)))
    assert [(task.target, task.replace) for task in statuses("c").to_do] == [("a.protected", True)]
    with pytest.raises(UsageError, match=r"a\.png: protected with other settings"):
        statuses("other")
    killed.end([], {"another"})  # a run over other pictures leaves the plan alone
    assert statuses("c").to_do
    killed.end([], statuses("c").classified)
    with pytest.raises(UsageError, match="exists already"):
        statuses("c")


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: ProtectConfig) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(UsageError, match=r"pip install 'pca-protect\[cluster\]'"):
        cluster.run([str(tmp_path)], str(tmp_path / "out"), config, observer=Watched())


def test_workers_have_to_be_some(tmp_path: Path, config: ProtectConfig) -> None:
    with pytest.raises(UsageError, match="`workers=0`"):
        cluster.run([str(tmp_path)], str(tmp_path / "out"), config, observer=Watched(), workers=0)


def test_two_pictures_for_one_output(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", {"a.png": png(9, 9, 0), "a.jpg": png(9, 9, 1)})
    with pytest.raises(UsageError, match=r"a\.jpg and .*a\.png would both be written"):
        inputs_of([Storage(source)], Storage(str(tmp_path / "out")), recursive=True)


def test_outputs_are_no_inputs(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": png(9, 9, 0), "out/a.protected.png": png(9, 9, 1), "sub/b.png": png(9, 9, 2)})
    found = inputs_of([Storage(str(tmp_path))], Storage(str(tmp_path / "out")), recursive=True)
    assert [task.stored.place for task in found.tasks] == ["a.png", "sub/b.png"]
    flat = inputs_of([Storage(str(tmp_path))], Storage(str(tmp_path / "out")), recursive=False)
    assert [task.stored.place for task in flat.tasks] == ["a.png"]
    single = inputs_of([Storage(str(tmp_path / "sub/b.png"))], Storage(str(tmp_path / "out")), recursive=True)
    assert [(task.url, task.target) for task in single.tasks] == [(str(tmp_path / "sub/b.png"), "b.protected")]


def test_torn_lines_prove_nothing(tmp_path: Path) -> None:
    whole = {
        "input": "in", "input_sha256": "a", "config_sha256": "b", "weights_sha256": "c", "output": "out",
        "output_sha256": "d", "version": "1", "seconds": 1.5, "input_bytes": 3, "input_etag": "e", "output_bytes": 4,
    }  # fmt: skip
    lines = [json.dumps(whole), json.dumps(whole)[:50], json.dumps({**whole, "output_bytes": "4"}), "[]", "null"]
    folder_of(tmp_path, {".pca_protect/journal/r-000000.jsonl": "\n".join(lines).encode()})
    output = Storage(str(tmp_path))
    finished = Ledger(output, output.listed(), "run").finished()
    assert [line.output_bytes for line in finished["in"]] == [4]


def test_picture_that_is_tried_alone_is_counted_alone() -> None:
    """Whoever was only in the same batch as a killer starts from one."""
    counter = Counter()
    assert counter.together(["a", "killer", "b"])
    assert not counter.together(["a", "killer", "b"])
    assert counter.alone("a") == 2
    counter.end(["a"])
    assert counter.alone("killer") == 2
    assert not counter.together(["a", "killer", "b"])
    assert counter.alone("a") == 1
    assert counter.alone("killer") == 3
    counter.end(["killer", "b", "a"])
    assert counter.together(["a", "killer", "b"])


@pytest.mark.parametrize(
    ("name", "answer"), [("s3://a/b", True), ("gs://a", True), ("/a/b", False), ("a:b/c.png", False), ("C://x", False)]
)
def test_urls(name: str, answer: bool) -> None:
    assert is_url(name) is answer


def test_a_fallback_of_auto_is_named_by_the_driver(
    tmp_path: Path, two_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers load what the driver resolved, and outputs that protect are not repeated as test only."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    source = folder_of(tmp_path / "in", {"a.png": png(45, 37, 0), "b.png": png(45, 37, 1)})
    output = folder_of(tmp_path / "out", {"b.protected.png": png(45, 37, 1)})
    auto = ProtectConfig(preset="paper", steps=1, device="cpu")
    run = partial(cluster.run, [source], output, auto, workers=1)
    with pytest.raises(UsageError, match=r"b\.protected\.png: exists already"):
        run(observer=Watched())
    with pytest.raises(ModelError, match="not in the local cache"):
        run(observer=Watched(), existing="skip", fallback=False)
    watched = Watched()
    summary = run(observer=watched, existing="skip", evaluate=False)
    assert (summary.protected, summary.skipped, summary.exit_code) == (1, 1, 0)
    assert set(written(tmp_path / "out")) == {"a.test-only.png", "b.protected.png"}
    record = watched.outcomes[0].record
    assert record is not None
    assert record.test_only
    assert record.protected is None, "not evaluated"
    assert record.warnings[0].startswith("test only: VAE auto took the embedded `pocket`")
    again = run(observer=Watched(), existing="skip")
    assert (again.protected, again.skipped) == (0, 2)
