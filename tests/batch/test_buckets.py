"""Buckets without Ray: objects in, objects out, with the bytes of a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import smooth_picture
from folders import Recorder, put_pictures

from pca_protect.batch.bucket_ledger import BucketLedger, read_plans, write_plan
from pca_protect.batch.buckets import list_bucket
from pca_protect.batch.ledger import SEGMENTS, STATE, LedgerEntry, read_ledger
from pca_protect.batch.outcome import Outcome, Summary
from pca_protect.batch.preview import preview
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.batch.store import Store
from pca_protect.config import ProtectConfig
from pca_protect.errors import PictureError, UsageError
from pca_protect.io.filters import Filter
from pca_protect.io.read import decode_picture
from pca_protect.io.source import Found
from pca_protect.protection import protect
from pca_protect.surrogates.encoder import Surrogate

pytest.importorskip("s3fs", reason="needs pca-protect[buckets]")
pytest.importorskip("moto", reason="needs moto[s3]")

import s3fs
from s3_server import s3_server

pytestmark = [
    # botocore leaves sockets to the garbage collector, and its threads to the end of the process.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(s3: str, request: pytest.FixtureRequest) -> str:
    """A new bucket."""
    name = f"b{abs(hash(request.node.name))}"
    client().create_bucket(Bucket=name)
    return name


def client() -> Any:
    import boto3

    return boto3.client("s3")


@pytest.fixture
def config(tiny_folder: Path) -> ProtectConfig:
    return ProtectConfig(vae=str(tiny_folder), steps=2, device="cpu")


def png(width: int, height: int, seed: int) -> bytes:
    file = io.BytesIO()
    smooth_picture(width, height, seed=seed).save(file, "PNG")
    return file.getvalue()


def put(bucket: str, **objects: bytes) -> None:
    for key, data in objects.items():
        client().put_object(Bucket=bucket, Key=key, Body=data)


def keys(bucket: str) -> dict[str, bytes]:
    """All objects but the ledger, with their content."""
    listed = client().list_objects_v2(Bucket=bucket).get("Contents", ())
    names = [entry["Key"] for entry in listed if STATE not in entry["Key"]]
    return {name: client().get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}


def test_bucket_to_bucket(bucket: str, config: ProtectConfig, tiny: Surrogate):
    """A picture that is broken fails, files of others and outputs are left out, and every object is counted once."""
    good = {"set/one.png": png(45, 37, 0), "set/deep/two": png(37, 45, 1)}
    pages = io.BytesIO()
    smooth_picture(16, 24).save(pages, "TIFF", save_all=True, append_images=[smooth_picture(16, 24, seed=1)])
    ours = protect(decode_picture(png(20, 20, 3), "x"), config, surrogate=tiny).encoded("PNG")[0]
    others = {
        "set/bad.png": png(45, 37, 4)[:300],
        "set/list.csv": b"a,b",
        "set/NOTES": b"none" * 9,
        "set/ours.png": ours,
    }
    put(bucket, **good, **others, **{"set/pages.tif": pages.getvalue(), "set/.hidden.png": b"", "elsewhere.png": b""})
    request = Request((f"s3://{bucket}/set",), output=f"s3://{bucket}/by/us")
    observer = Recorder()

    def go(settings: ProtectConfig = config, **options: object) -> Summary:
        return run(replace(request, **options), settings, observer)  # type: ignore[arg-type]

    summary = go()
    assert (summary.protected, summary.left_out, summary.total) == (3, 2, 6)
    assert [failure.input for failure in summary.failures] == [f"s3://{bucket}/set/bad.png"]
    assert {reason for _, reason in observer.skips} == {"not a picture", "an output of this program"}
    outputs = {key.removeprefix("by/us/"): data for key, data in keys(bucket).items() if key.startswith("by/us/")}
    assert set(outputs) == {"one.protected.png", "deep/two.protected.png", "pages.protected.tiff"}
    for place, data in good.items():
        name = f"{place.removeprefix('set/').removesuffix('.png')}.protected.png"
        assert outputs[name] == protect(decode_picture(data, "x"), config, surrogate=tiny).encoded("PNG")[0]
    store = Store(f"s3://{bucket}/by/us")
    assert [stored.place for stored in store.listed(STATE) if "plan" in stored.place] == []

    client().delete_object(Bucket=bucket, Key="set/bad.png")
    before = keys(bucket)
    assert go().finished == 3
    assert go(checksum=True).finished == 3
    assert keys(bucket) == before
    assert preview(request, config).statuses.count("finished") == 3
    put(bucket, **{"set/one.png": png(45, 37, 9)})
    assert go(existing="update").protected == 1
    changed = {key for key, data in keys(bucket).items() if before[key] != data}
    assert changed == {"set/one.png", "by/us/one.protected.png"}


def test_folder_to_bucket_and_bucket_to_folder(bucket: str, tmp_path: Path, config: ProtectConfig):
    photos = put_pictures(tmp_path / "photos", 4)
    run(Request((str(photos),), output=tmp_path / "out", recursive=True), config, Recorder())
    there = Request((str(photos),), output=f"s3://{bucket}/out", recursive=True)
    assert run(there, config, Recorder()).protected == 4
    assert run(there, config, Recorder()).finished == 4
    for path in photos.rglob("*.png"):
        put(bucket, **{f"in/{path.relative_to(photos).as_posix()}": path.read_bytes()})
    back = Request((f"s3://{bucket}/in",), output=tmp_path / "back")
    assert run(back, config, Recorder()).protected == 4
    assert run(back, config, Recorder()).finished == 4
    for path in (tmp_path / "out").rglob("*.png"):
        place = path.relative_to(tmp_path / "out").as_posix()
        assert (tmp_path / "back" / place).read_bytes() == path.read_bytes() == keys(bucket)[f"out/{place}"]


def test_an_object_that_came_into_being_is_not_replaced(bucket: str, tmp_path: Path, config: ProtectConfig):
    photos = put_pictures(tmp_path / "photos", 12)

    class Meddler(Recorder):
        def done(self, outcome: Outcome) -> None:
            if not self.outcomes:
                put(bucket, **{"out/010.protected.png": b"someone's"})
            super().done(outcome)

    summary = run(Request((str(photos),), output=f"s3://{bucket}/out"), config, Meddler())
    assert ["exists already" in failure.error for failure in summary.failures] == [True]
    assert keys(bucket)["out/010.protected.png"] == b"someone's"


def test_keys_that_are_no_paths_fail_by_name(bucket: str):
    put(bucket, **{"in//x.png": b"", "in/./y.png": b"", "in/b.png": b"", "in/x/../b.png": b"", "in/.z.png": b""})
    found = Found()
    list_bucket(f"s3://{bucket}/in", found, wanted=Filter())
    problems = {source.place: bool(source.problem) for source in found.sources}
    assert problems == {"/x.png": True, "./y.png": True, "x/../b.png": True, "b.png": False}
    assert (found.listed, found.hidden) == (5, 1)


def test_one_object_and_filters(bucket: str):
    put(bucket, **{"in/a.png": b"", "in/raw/b.png": b"", "in/c.jpg": b"", "in/out/d.png": b""})
    single, filtered = Found(), Found()
    list_bucket(f"s3://{bucket}/in/a.png", single, wanted=Filter())
    assert [(source.path, source.place) for source in single.sources] == [(f"s3://{bucket}/in/a.png", "a.png")]
    root = f"s3://{bucket}/in"
    list_bucket(root, filtered, wanted=Filter(("*.png",), ("raw",)), output=f"{root}/out")
    assert [source.place for source in filtered.sources] == ["a.png"]
    assert filtered.output_inside


def killed_run(bucket: str, config: ProtectConfig, photos: Path, output: bytes) -> Callable[..., Summary]:
    """A run that was killed after it wrote `output` and before it wrote the line; returns a function that runs it again."""
    request = Request((str(photos),), output=f"s3://{bucket}/out", recursive=True)
    weights = next(iter(json_of_run(bucket, request, config)))
    for key in keys(bucket):
        client().delete_object(Bucket=bucket, Key=key)
    for stored in list(Store(f"s3://{bucket}/out").listed(STATE)):
        Store(f"s3://{bucket}/out").remove(stored.place)
    put(bucket, **{"out/000.protected.png": output})
    write_plan(Store(f"s3://{bucket}/out"), "killed", request.digest(config), weights, ["000.protected.png"])
    return lambda **options: run(replace(request, **options), config, Recorder())


def json_of_run(bucket: str, request: Request, config: ProtectConfig) -> Iterator[str]:
    """The digests of the weights in the ledger of a run."""
    run(request, config, Recorder())
    ledger = read_ledger(Store(str(request.output)))
    for output in ledger:
        yield ledger.settings_of(ledger.of(output)[0])[1]


def test_outputs_of_a_run_that_was_killed(bucket: str, tmp_path: Path, config: ProtectConfig, tiny: Surrogate):
    """What it wrote and could not note any more is known by its plan and its marker, and made again."""
    photos = put_pictures(tmp_path / "photos", 1)
    ours = protect(decode_picture(png(20, 20, 3), "x"), config, surrogate=tiny).encoded("PNG")[0]
    again = killed_run(bucket, config, photos, ours)
    assert (again().protected, again().finished) == (1, 1)
    assert keys(bucket)["out/000.protected.png"] != ours
    assert read_plans(Store(f"s3://{bucket}/out"), [s.place for s in Store(f"s3://{bucket}/out").listed(STATE)]) == []

    again = killed_run(bucket, config, photos, b"of somebody else")
    with pytest.raises(UsageError, match=r"000\.protected\.png: exists already"):
        again()
    with pytest.raises(UsageError, match="exists already"):
        again(existing="update")


def test_a_batch_that_cannot_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, now = Store(str(tmp_path)), [0.0]
    ledger = BucketLedger(store, "run", clock=lambda: now[0])
    entry = LedgerEntry("a.png", "0" * 64, "c", "w", "a.out", "1" * 64, "1", 1.0, written=True)
    real = Store.write

    def refusing(self: Store, place: str, data: bytes, *, overwrite: bool, temporary: Path | None = None) -> None:
        raise PictureError("the bucket is away")

    monkeypatch.setattr(Store, "write", refusing)
    ledger.append(entry)
    now[0] = 11.0
    ledger.append(replace(entry, output="b.out"))
    assert "is away" in ledger.flush()
    monkeypatch.setattr(Store, "write", real)
    assert ledger.flush() == ""
    assert set(read_ledger(store)) == {"a.out", "b.out"}
    (segment,) = (tmp_path / SEGMENTS).iterdir()
    assert json.loads(segment.read_text().splitlines()[1]) == asdict(entry)


def test_storage_errors_are_sentences(bucket: str, tmp_path: Path, config: ProtectConfig, photo: Path):
    def go(name: str, output: str) -> None:
        run(Request((name,), output=output), config, Recorder())

    with pytest.raises(UsageError, match=r"s3://not-there/x: no such bucket or folder"):
        go("s3://not-there/x", f"s3://{bucket}/out")
    with pytest.raises(UsageError, match=r"no picture to protect"):
        go(f"s3://{bucket}/x", f"s3://{bucket}/out")
    with pytest.raises(UsageError, match=r"nonsense://x: cannot be opened"):
        go("nonsense://x", str(tmp_path / "out"))
    with pytest.raises(UsageError, match=r"s3://not-there/out: no such bucket or folder"):
        go(str(photo), "s3://not-there/out")
    put(bucket, **{"in/a.png": b""})
    with pytest.raises(UsageError, match="needs an output folder or URL"):
        run(Request((f"s3://{bucket}/in/a.png",)), config, Recorder())


def test_unreachable_storage(monkeypatch: pytest.MonkeyPatch):
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(UsageError, match=r"s3://pictures: the storage cannot be reached"):
        list(Store("s3://pictures").listed())
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("place", ["in/001.png", "in/deeper/002.png"])
def test_an_object_that_is_listed_and_cannot_be_read_fails_alone(
    bucket: str, config: ProtectConfig, monkeypatch: pytest.MonkeyPatch, place: str
):
    put_all(bucket, 4)
    refuse(monkeypatch, "get_object", lambda key: key == place)
    request = Request((f"s3://{bucket}/in",), output=f"s3://{bucket}/out")
    summary = run(request, config, Recorder())
    assert (summary.protected, [failure.input for failure in summary.failures]) == (3, [f"s3://{bucket}/{place}"])
    assert "cannot be read (Access Denied)" in summary.failures[0].error
    monkeypatch.undo()
    again = run(request, config, Recorder())
    assert (again.protected, again.finished) == (1, 3)


def test_a_bucket_that_fails_half_way_loses_nothing(
    bucket: str, config: ProtectConfig, monkeypatch: pytest.MonkeyPatch
):
    """After two outputs, it takes neither outputs nor the ledger; the next run redoes what has no line."""
    put_all(bucket, 6)
    written: list[str] = []

    def is_refused(key: str) -> bool:
        if key.endswith(".plan.jsonl"):
            return False
        written.append(key)
        return len(written) > 2

    refuse(monkeypatch, "put_object", is_refused)
    request = Request((f"s3://{bucket}/in",), output=f"s3://{bucket}/out", max_failures=3)
    observer = Recorder()
    summary = run(request, config, observer)
    assert summary.protected == 2
    assert 3 <= len(summary.failures) <= summary.total - summary.protected == 4
    assert "3 pictures failed" in summary.stopped
    assert ["the ledger could not be completed" in message for message in observer.messages] == [True]
    monkeypatch.undo()
    again = run(request, config, Recorder())
    assert (again.protected, again.finished, again.failures) == (6, 0, ())
    assert run(request, config, Recorder()).finished == 6


def test_a_key_that_no_disk_takes_as_a_name_fails_alone(bucket: str, tmp_path: Path, config: ProtectConfig):
    put(
        bucket,
        **{f"in/{'n' * 300}/a.png": png(16, 24, 0), f"in/{'n' * 300}.png": png(16, 24, 1), "in/b.png": png(16, 24, 2)},
    )
    summary = run(Request((f"s3://{bucket}/in",), output=tmp_path / "out"), config, Recorder())
    assert summary.protected == 1
    assert ["too long" in failure.error or "over the limit" in failure.error for failure in summary.failures] == [
        True
    ] * 2


def put_all(bucket: str, number: int) -> None:
    for index in range(number):
        place = f"{'deeper/' if index % 3 == 2 else ''}{index:03}.png"
        put(bucket, **{f"in/{place}": png(16, 24, index)})


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, is_refused: Callable[[str], bool]) -> None:
    """Let the storage deny a call for some keys, as a policy of the bucket does."""
    real = s3fs.S3FileSystem._call_s3

    async def denying(self: s3fs.S3FileSystem, name: str, *arguments: object, **options: Any) -> object:
        if name == method and is_refused(options["Key"]):
            raise PermissionError("Access Denied")
        return await real(self, name, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", denying)
