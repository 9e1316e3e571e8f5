"""What is remembered about a folder, what that proves, and who may write there."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from small_disk import small_disk

from pca_protect.batch.classify import Evidence, classify, digest_of, refuse
from pca_protect.batch.ledger import (
    HEADER,
    SEGMENTS,
    STATE,
    Ledger,
    LedgerEntry,
    Segment,
    new_name,
    read_ledger,
)
from pca_protect.batch.listing import check_errors_file, read_list, write_errors
from pca_protect.batch.merge import merge_segments
from pca_protect.batch.outcome import Failure
from pca_protect.batch.output_lock import output_lock, worker_lock
from pca_protect.batch.output_options import OutputOptions
from pca_protect.batch.request import Existing, Shard
from pca_protect.batch.store import Store, local_info
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.io.plan import Job
from pca_protect.io.source import Listed, Source

ODD = "undecodable \udcff, new\nline, 😀.png"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def line(output: str = "a.protected.png", **values: object) -> LedgerEntry:
    known = LedgerEntry("a.png", sha("in"), "config", "weights", output, sha("out"), "0.1", 1.5)
    return replace(known, **values)


def put(folder: Path, name: str, *lines: LedgerEntry) -> None:
    segment = Segment(folder, name)
    for one in lines:
        segment.append(one)
    segment.close()


def outputs_of(ledger: Ledger, output: str) -> list[str]:
    return [known.output_sha256.hex() for known in ledger.of(output)]


def test_lines_come_back(tmp_path: Path):
    put(tmp_path, "1", line(), line(ODD, input=ODD), line(output_sha256=sha("other")), line())
    ledger = read_ledger(Store(str(tmp_path)))
    assert set(ledger) == {"a.protected.png", ODD}
    assert outputs_of(ledger, "a.protected.png") == [sha("out"), sha("other")]
    (known,) = ledger.of(ODD)
    assert (known.input_sha256.hex(), ledger.settings_of(known)) == (sha("in"), ("config", "weights"))


def test_a_written_output_supersedes_earlier_lines(tmp_path: Path):
    """A line without its output, of a killed run, does not."""
    put(tmp_path, "1", line(output_sha256=sha("first")), line(output_sha256=sha("first"), written=True))
    put(tmp_path, "2", line(output_sha256=sha("second")))
    assert outputs_of(read_ledger(Store(str(tmp_path))), "a.protected.png") == [sha("first"), sha("second")]
    put(tmp_path, "3", line(output_sha256=sha("third"), written=True))
    assert outputs_of(read_ledger(Store(str(tmp_path))), "a.protected.png") == [sha("third")]


def test_every_torn_line_is_passed_over(tmp_path: Path):
    put(tmp_path, "1", line("whole"))
    path = tmp_path / SEGMENTS / "1.jsonl"
    whole = path.read_bytes()
    put(tmp_path, "2", line("torn"))
    torn = (tmp_path / SEGMENTS / "2.jsonl").read_bytes().removeprefix(HEADER.encode())
    for length in range(len(torn) - 1):
        path.write_bytes(whole + torn[:length])
        (tmp_path / SEGMENTS / "2.jsonl").write_bytes(HEADER.encode()[: length % len(HEADER)])
        assert set(read_ledger(Store(str(tmp_path)))) == {"whole"}


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "3", "null", '{"input": 3}', "\ufffd"),
        *(
            json.dumps({**asdict(line()), **wrong})
            for wrong in ({"output_sha256": None}, {"input_sha256": "no hex"}, {"input_bytes": "3"}, {"output": 3})
        ),
    ],
)
def test_what_is_no_line_proves_nothing(tmp_path: Path, text: str):
    (tmp_path / SEGMENTS).mkdir(parents=True)
    (tmp_path / SEGMENTS / "1.jsonl").write_text(f"{HEADER}{text}\n", encoding="utf-8")
    assert list(read_ledger(Store(str(tmp_path)))) == []


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path):
    (tmp_path / SEGMENTS).mkdir(parents=True)
    (tmp_path / SEGMENTS / "1.jsonl").write_text('{"ledger": 3}\n{"something": "else"}\n')
    with pytest.raises(UsageError, match="format 3 of a newer version"):
        read_ledger(Store(str(tmp_path)))


def test_journals_of_earlier_versions_are_read_and_merged(tmp_path: Path):
    """Version 0.1 had a journal for one process, parts for several, and write-once files for a cluster."""
    old = {name: value for name, value in asdict(line("local")).items() if not name.endswith(("_bytes", "_tag"))}
    del old["written"]
    cluster = {**old, "output": "of ray", "input_bytes": 3, "input_etag": "tag", "output_bytes": 4}
    (tmp_path / STATE / "journal").mkdir(parents=True)
    (tmp_path / STATE / "journal.jsonl").write_text(json.dumps(old) + "\n")
    (tmp_path / STATE / "journal.1.jsonl").write_text(json.dumps({**old, "output": "of rank 1"}) + "\n")
    (tmp_path / STATE / "journal" / "run-000000.jsonl").write_text(json.dumps(cluster) + "\n")
    store = Store(str(tmp_path))
    for _ in range(2):
        ledger = read_ledger(store)
        assert set(ledger) == {"local", "of rank 1", "of ray"}
        assert ledger.of("of ray")[0].input_bytes == 3
        merge_segments(store)
    (merged,) = [path for path in (tmp_path / STATE).rglob("*") if path.is_file()]
    assert len(merged.read_text().splitlines()) == 4


def test_folders_that_vanish_while_they_are_listed_are_passed_over(tmp_path: Path):
    """As the temporary folder of a run does while `status` lists its output folder."""
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    listing = Store(str(tmp_path)).listed()
    first = next(listing).place
    for folder in (tmp_path / name for name in "abc" if f"{name}/file" != first):
        (folder / "file").unlink()
        folder.rmdir()
    assert [stored.place for stored in listing] == []
    assert list(Store(str(tmp_path / "missing")).listed()) == []


def test_merging_keeps_what_is_known(tmp_path: Path):
    store = Store(str(tmp_path))
    put(tmp_path, "1", line("a"), line("a", written=True, output_tag="1"), line("b"))
    merge_segments(store)
    assert [path.name for path in (tmp_path / SEGMENTS).iterdir()] == ["1.jsonl"], "one segment is not rewritten"
    put(tmp_path, "2", line("b", output_sha256=sha("other")), line("c", written=True))
    before = {output: read_ledger(store).of(output) for output in "abc"}
    merge_segments(store)
    assert {output: read_ledger(store).of(output) for output in "abc"} == before
    (merged,) = (tmp_path / SEGMENTS).iterdir()
    assert len(merged.read_text().splitlines()) == 1 + 4


def test_merging_keeps_the_order_around_a_large_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The newest line of an output counts, also if its segment is too large to be merged with older ones."""
    monkeypatch.setattr("pca_protect.batch.merge._MERGED_BYTES", 5000)
    old, new = line(output_sha256=sha("old"), written=True), line(output_sha256=sha("new"), written=True)
    put(tmp_path, "1", line("z"))
    put(tmp_path, "2", old)
    put(tmp_path, "3", *(line(f"other {index}") for index in range(20)), new)
    put(tmp_path, "4", line("y"))
    put(tmp_path, "5", line("x"))
    before = set(read_ledger(Store(str(tmp_path))))
    merge_segments(Store(str(tmp_path)))
    ledger = read_ledger(Store(str(tmp_path)))
    assert outputs_of(ledger, "a.protected.png") == [sha("new")]
    assert set(ledger) == before
    assert len(list((tmp_path / SEGMENTS).iterdir())) == 3


def test_names_of_runs_sort_by_time():
    names = [new_name() for _ in range(50)]
    assert names == sorted(names)
    assert len(set(names)) == 50


def test_a_name_has_seconds_and_nanoseconds_of_one_clock(monkeypatch: pytest.MonkeyPatch):
    """`time.gmtime()` reads a coarser clock than `time.time_ns()`: right after a full second it is a second behind."""
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000 * 10**9 + 5)
    assert new_name().startswith("20231114T221320-000000005-")


def test_a_folder_is_for_one_run_at_a_time(tmp_path: Path):
    folder = tmp_path / "new" / "out"
    with output_lock(folder) as temporary:
        (temporary / "half").write_bytes(b"x")
        put(folder, "1", line())
        with pytest.raises(UsageError, match="is in use by another run"), output_lock(folder):
            pass
        with pytest.raises(UsageError, match="is in use by another run"), output_lock(folder, Shard(1, 2), wait=0):
            pass
        assert (temporary / "half").exists()
    with output_lock(folder) as temporary:
        assert list(temporary.iterdir()) == []
        assert set(read_ledger(Store(str(folder)))) == {"a.protected.png"}


def test_a_run_that_finished_nothing_leaves_nothing(tmp_path: Path):
    with output_lock(tmp_path / "new" / "out"):
        assert (tmp_path / "new" / "out" / STATE).is_dir()
    assert list(tmp_path.iterdir()) == []
    with output_lock(tmp_path / "out"):
        (tmp_path / "out" / STATE / "lock").unlink()  # somebody removed it meanwhile
        (tmp_path / "out" / STATE / "tmp" / "run").rmdir()


def test_shards_write_at_the_same_time(tmp_path: Path):
    with output_lock(tmp_path, Shard(1, 2)) as first, output_lock(tmp_path, Shard(2, 2)) as second:
        assert first != second
        (first / "half").write_bytes(b"x")
        for other in (None, Shard(1, 2), Shard(1, 3)):
            with pytest.raises(UsageError, match="is in use by another run"), output_lock(tmp_path, other):
                pass
    with output_lock(tmp_path):
        assert not first.exists()


def test_a_worker_of_a_killed_run_is_waited_for(tmp_path: Path):
    (tmp_path / STATE).mkdir()
    with worker_lock(tmp_path, "run-0"), pytest.raises(UsageError, match="is in use"), output_lock(tmp_path, wait=0.1):
        pass
    (tmp_path / STATE / "killed.worker.lock").touch()
    with output_lock(tmp_path):
        assert list((tmp_path / STATE).glob("*.worker.lock")) == []


def test_shards_divide_all_pictures():
    places = [f"folder/{number}.png" for number in range(200)]
    shards = [[place for place in places if Shard(index, 3).owns(place)] for index in (1, 2, 3)]
    assert sorted(place for shard in shards for place in shard) == sorted(places)
    assert all(40 < len(shard) < 95 for shard in shards)
    assert Shard.parse("2/8") == Shard(2, 8)
    for wrong in ("0/2", "3/2", "1/0", "2", "a/b", "1/2/3", "-1/2"):
        with pytest.raises(UsageError, match="give I/N"):
            Shard.parse(wrong)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written to"), output_lock(tmp_path / "file" / "out"):
        pass


@pytest.fixture
def job(tmp_path: Path) -> Job:
    source, target = tmp_path / "a.png", tmp_path / "out" / "b" / "a.protected.png"
    target.parent.mkdir(parents=True)
    source.write_bytes(b"picture")
    target.write_bytes(b"protected")
    status = source.stat()
    return Job(Source(str(source), "", "a.png", size_bytes=status.st_size, tag=str(status.st_mtime_ns)), str(target))


def evidence(job: Job, tmp_path: Path, existing: Existing, weights: str, **values: object) -> Evidence:
    """A ledger with a line that does not apply and one that proves the job, but for `values`."""
    known = line("b/a.protected.png", input_sha256=digest_of(job.source.path), output_sha256=digest_of(job.target))
    texts = [json.dumps(asdict(one)).encode() for one in (line("b/a.protected.png"), replace(known, **values))]
    return Evidence(Store(str(tmp_path / "out")), Ledger(texts), existing, "config", lambda: weights)


def status(job: Job, tmp_path: Path, existing: Existing = "refuse", weights: str = "weights", **values: object) -> str:
    """The status of the job; "replace" if it is to be done and may replace its output, or its conflict."""
    (done,), (found,) = classify([job], evidence(job, tmp_path, existing, weights, **values))
    return "replace" if done.replace else done.conflict or found


def test_finished_is_proved_by_every_digest(tmp_path: Path, job: Job):
    assert status(job, tmp_path) == "finished"
    assert status(job, tmp_path, "overwrite") == status(job, tmp_path, "update") == "finished"
    assert status(job, tmp_path, "skip") == "exists"
    for changes, says, is_ours in (
        ({"output_sha256": sha("x")}, "exists already", False),
        ({"input_sha256": sha("x")}, "changed since protection", True),
        ({"config_sha256": "x"}, "with other settings", True),
        ({"weights_sha256": "x"}, "with other settings", True),
    ):
        assert says in status(job, tmp_path, **changes)
        assert status(job, tmp_path, "overwrite", **changes) == "replace"
        assert status(job, tmp_path, "skip", **changes) == "exists"
        updated = status(job, tmp_path, "update", **changes)
        assert updated == "replace" if is_ours else says in updated


def test_sizes_and_times_stand_for_digests(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch):
    output = local_info(job.target)
    assert output is not None
    known = {
        "input_bytes": job.source.size_bytes,
        "input_tag": job.source.tag,
        "output_bytes": output.size_bytes,
        "output_tag": output.tag,
    }
    (before,) = classify([job], evidence(job, tmp_path, "refuse", "weights", **known))[1]
    proof = evidence(job, tmp_path, "refuse", "weights", **known)
    hashed: list[str] = []

    def hashing(path: str) -> str:
        hashed.append(path)
        return digest_of(path)

    monkeypatch.setattr("pca_protect.batch.classify.digest_of", hashing)
    assert classify([job], proof)[1] == [before] == ["finished"]
    assert job.source.path not in hashed
    classify([job], replace(proof, checksum=True))
    assert {job.source.path, job.target} <= set(hashed)
    # A copy has another time, and the same content.
    os.utime(job.target, ns=(0, 0))
    assert classify([replace(job, source=replace(job.source, tag="1"))], proof)[1] == ["finished"]
    # Another size needs no look at the content.
    hashed.clear()
    Path(job.target).write_bytes(b"of somebody else")
    assert classify([job], proof)[1] == ["failed"]


def test_a_line_without_its_output_is_work_to_do(tmp_path: Path, job: Job):
    Path(job.target).unlink()
    assert status(job, tmp_path) == "to do"
    Path(job.target).symlink_to("nowhere")
    assert "exists already" in status(job, tmp_path)


def test_a_long_list_of_refusals_is_cut():
    jobs = [
        Job(Source(f"{number}.png", "", f"{number}.png"), f"{number}.out", conflict=f"{number}.out: exists already; no")
        for number in range(12)
    ]
    with pytest.raises(UsageError, match=r"^0\.out, 1\.out, 2\.out and 9 more: exists already; no$"):
        refuse(jobs)
    other = replace(jobs[0], conflict="a and b would both be written")
    with pytest.raises(UsageError, match=r"^a and b would both be written \(and 1 more\)$"):
        refuse([other, jobs[1]])
    refuse([replace(other, conflict="")])


def test_what_decides_the_bytes_is_in_the_digest():
    config, plain = ProtectConfig(), OutputOptions()
    others = [
        OutputOptions(strip_metadata=True),
        OutputOptions(strip_gps=True),
        OutputOptions(rights_notice="x"),
        OutputOptions(allow_lossy=True),
    ]
    digests = {plain.digest(config), plain.digest(ProtectConfig(seed=1)), *(one.digest(config) for one in others)}
    assert len(digests) == 6
    assert plain.digest(ProtectConfig(device="cpu")) == plain.digest(config)


def test_lists_come_back(tmp_path: Path):
    path = tmp_path / "errors.jsonl"
    failures = [Failure(f"photos/{ODD}", "photos", "is damaged"), Failure("b.png", "", "is empty")]
    write_errors(path, failures)
    assert read_list(path) == [Listed(f"photos/{ODD}", "photos"), Listed("b.png")]
    check_errors_file(path)
    write_errors(path, [])
    assert read_list(path) == []
    check_errors_file(path)
    assert [found.name for found in tmp_path.iterdir()] == ["errors.jsonl"]


def test_lists_separated_by_null_bytes(tmp_path: Path):
    path = tmp_path / "list"
    path.write_bytes(b"new\nline.png\0{b}.png\0\0")
    assert read_list(path, null_separated=True) == [Listed("new\nline.png"), Listed("{b}.png")]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_plain_lists(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.png\r\n\n b.png\n{c}.png\nbad \xff.png")
    assert read_list(path) == [Listed(os.fsdecode(name)) for name in (b"a.png", b" b.png", b"{c}.png", b"bad \xff.png")]
    path.write_bytes(b"a\0b\n")
    with pytest.raises(UsageError, match="line 1 is not a path"):
        read_list(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_list(tmp_path / "missing")


def test_errors_never_replace_a_file_that_is_none(tmp_path: Path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UsageError, match="not a list of errors"):
        check_errors_file(tmp_path / "photo.jpg")
    with pytest.raises(UsageError, match="no such folder"):
        check_errors_file(tmp_path / "missing" / "errors.jsonl")


def test_a_disk_that_fills_in_the_ledger_tears_no_other_line(tmp_path: Path):
    """The line that does not fit fails; after room was made, the segment goes on behind the torn line."""
    with small_disk(tmp_path) as disk:
        segment = Segment(disk, "1")
        segment.append(line("first"))
        (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        with pytest.raises(OSError, match=r"No space left|only be written in part"):
            collections.deque(segment.append(line(f"{'long' * 50}{number}")) for number in range(1000))
        (disk / "filler").unlink()
        segment.append(line("last"))
        segment.close()
        known = set(read_ledger(Store(str(disk))))
    assert {"first", "last"} <= known
