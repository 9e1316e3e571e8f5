"""What is remembered about a folder, what that proves, and who may write there."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pca_protect.batch.classify import classify, digest_of
from pca_protect.batch.journal import Journal, LedgerEntry, merge_parts, read_journal
from pca_protect.batch.listing import check_errors_file, read_list, write_errors
from pca_protect.batch.outcome import Failure
from pca_protect.batch.output_lock import output_lock, state_of
from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.io.discover import Listed, Source
from pca_protect.io.plan import Job, Plan

ODD = "undecodable \udcff, new\nline, 😀.png"


def line(output: str = "a.protected.png", **values: object) -> LedgerEntry:
    known = LedgerEntry("a.png", "in", "config", "weights", output, "out", "0.1", 1.5)
    return replace(known, **values)


def test_lines_come_back(tmp_path: Path):
    lines = [line(), line(ODD, input=ODD), line(output_sha256="other")]
    journal = Journal(tmp_path)
    for one in lines:
        journal.append(one)
    assert read_journal(tmp_path) == {"a.protected.png": [lines[0], lines[2]], ODD: [lines[1]]}
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) == 3


def test_every_torn_line_is_passed_over(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    Journal(tmp_path).append(line("whole"))
    whole = path.read_bytes()
    Journal(tmp_path).append(line("torn"))
    both = path.read_bytes()
    for length in range(len(whole), len(both) - 1):
        path.write_bytes(both[:length])
        assert set(read_journal(tmp_path)) == {"whole"}
        Journal(tmp_path).append(line("next"))
        assert set(read_journal(tmp_path)) == {"whole", "next"}


@pytest.mark.parametrize(
    "text", ["[]", "3", "null", '{"input": 3}', "\ufffd", json.dumps({**asdict(line()), "output_sha256": None})]
)
def test_what_is_no_line_proves_nothing(tmp_path: Path, text: str):
    (tmp_path / "journal.jsonl").write_text(f"{text}\n", encoding="utf-8")
    assert read_journal(tmp_path) == {}


def test_parts_are_read_and_merged_once(tmp_path: Path):
    Journal(tmp_path).append(line("first"))
    for part in (0, 1):
        Journal(tmp_path, part=part).append(line(f"of part {part}"))
    known = read_journal(tmp_path)
    assert set(known) == {"first", "of part 0", "of part 1"}
    merge_parts(tmp_path)
    merge_parts(tmp_path)
    assert read_journal(tmp_path) == known
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]


def test_a_folder_is_for_one_run_at_a_time(tmp_path: Path):
    folder = tmp_path / "new" / "out"
    with output_lock(folder) as state:
        (state.temporary / "half").write_bytes(b"x")
        Journal(state.folder, part=1).append(line())
        with pytest.raises(UsageError, match="is in use by another run"), output_lock(folder):
            pass
        assert (state.temporary / "half").exists()
    with output_lock(folder) as state:
        assert list(state.temporary.iterdir()) == []
        assert (state.folder / "journal.jsonl").exists()


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
    return Job(Source(str(source), "", "a.png"), str(target))


def job_status(job: Job, tmp_path: Path, existing: str = "refuse", weights: str = "weights", **values: str) -> str:
    known = line(input_sha256=digest_of(job.source.path), output_sha256=digest_of(job.target))
    journal = {"b/a.protected.png": [line(), replace(known, **values)]}
    plan = Plan([job], tmp_path / "out")
    (found,) = classify(plan, journal, existing=existing, config_digest="config", weights_digest=lambda: weights)
    return found


def test_finished_is_proved_by_every_digest(tmp_path: Path, job: Job):
    assert job_status(job, tmp_path) == "finished"
    assert job_status(job, tmp_path, "overwrite") == "finished"
    assert job_status(job, tmp_path, "skip") == "exists"
    for changes, says in (
        ({"output_sha256": "x"}, "exists already"),
        ({"input_sha256": "x"}, "changed since protection"),
        ({"config_sha256": "x"}, "with other settings"),
        ({"weights_sha256": "x"}, "with other settings"),
    ):
        with pytest.raises(UsageError, match=says):
            job_status(job, tmp_path, **changes)
        assert job_status(job, tmp_path, "overwrite", **changes) == "to do"
        assert job_status(job, tmp_path, "skip", **changes) == "exists"


def test_a_line_without_its_output_is_work_to_do(tmp_path: Path, job: Job):
    Path(job.target).unlink()
    assert job_status(job, tmp_path) == "to do"
    Path(job.target).symlink_to("nowhere")
    with pytest.raises(UsageError, match="exists already"):
        job_status(job, tmp_path)


def test_a_long_list_of_refusals_is_cut(tmp_path: Path):
    jobs = []
    for number in range(12):
        (tmp_path / f"{number}.protected.png").write_bytes(b"")
        jobs.append(Job(Source(f"{number}.png", "", f"{number}.png"), str(tmp_path / f"{number}.protected.png")))
    with pytest.raises(UsageError, match=r"2\.protected\.png and 9 more: exist already"):
        classify(Plan(jobs, tmp_path), {}, existing="refuse", config_digest="", weights_digest=None)


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


def test_the_state_lies_in_the_output_folder(tmp_path: Path):
    assert state_of(tmp_path).folder == tmp_path / ".pca_protect"
