"""Whole folders: nothing lost, nothing half, nothing twice, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_picture
from folders import Recorder, outputs, put_pictures
from PIL import Image
from small_disk import small_disk

from pca_protect.batch import worker as worker_module
from pca_protect.batch.ledger import LedgerEntry, Segment, read_ledger
from pca_protect.batch.listing import read_list
from pca_protect.batch.outcome import Outcome, Summary
from pca_protect.batch.output_lock import output_lock
from pca_protect.batch.output_options import OutputOptions
from pca_protect.batch.preview import preview
from pca_protect.batch.request import Request, Shard
from pca_protect.batch.run import run
from pca_protect.batch.store import Store
from pca_protect.config import ProtectConfig
from pca_protect.errors import ModelError, UsageError
from pca_protect.io.read import read_picture


@pytest.fixture(scope="module")
def config(tiny_folder: Path) -> ProtectConfig:
    return ProtectConfig(vae=str(tiny_folder), steps=1, preset="paper", device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return put_pictures(tmp_path / "photos", 6)


def ask(*names: Path, output: Path, **values: object) -> Request:
    return replace(Request(tuple(map(str, names)), output=output, recursive=True), **values)


def test_a_folder_is_mirrored_and_resumed(tmp_path: Path, photos: Path, config: ProtectConfig):
    (photos / "broken.png").write_bytes((photos / "000.png").read_bytes()[:100])
    (photos / "notes.txt").write_text("hello")
    out, errors = tmp_path / "out", tmp_path / "errors.jsonl"
    request = ask(photos, output=out, errors=errors)
    first = Recorder()
    summary = run(request, config, first)
    assert (summary.protected, len(summary.failures), summary.exit_code) == (6, 1, 1)
    assert first.summaries == [summary]
    assert first.messages == ["1 file was ignored: not in a recognised image format"]
    assert set(outputs(out)) == {f"{place[:-4]}.protected.png" for place in outputs(photos) if place[:-4].isdigit()} | {
        f"deeper/{name}.protected.png" for name in ("002", "005")
    }
    for outcome in first.outcomes:
        if outcome.record is not None:
            saved = read_picture(Path(str(outcome.record.output)))
            assert saved.digest == outcome.record.output_sha256
            assert 0 < outcome.record.max_change_levels <= config.budget_levels
    (known,) = read_ledger(Store(str(out))).of("deeper/002.protected.png")
    assert known.output_sha256.hex() == read_picture(out / "deeper/002.protected.png").digest
    (again,) = read_list(errors)
    assert (again.path, again.root) == (str(photos / "broken.png"), str(photos))

    before = outputs(out)
    (out / "001.protected.png").unlink()
    assert run(request, config, Recorder()).finished == 5
    smooth_picture(16, 24, seed=99).save(photos / "broken.png")
    summary = run(replace(request, names=(), from_file=errors, errors=None), config, Recorder())
    assert (summary.protected, summary.total) == (1, 1)
    after = outputs(out)
    assert after.pop("broken.protected.png")
    assert after == before


def test_what_changed_since_is_refused_before_any_work(tmp_path: Path, photos: Path, config: ProtectConfig):
    request = ask(photos, output=tmp_path / "out")
    run(request, config, Recorder())
    before = outputs(tmp_path / "out")
    for other in (replace(config, seed=1), replace(config, budget_levels=8)):
        with pytest.raises(UsageError, match="protected with other settings"):
            run(request, other, Recorder())
    with pytest.raises(UsageError, match="protected with other settings"):
        run(replace(request, output_options=OutputOptions(rights_notice="mine")), config, Recorder())
    smooth_picture(16, 24, seed=99).save(photos / "000.png")
    with pytest.raises(UsageError, match=r"000\.png: changed since protection"):
        run(request, config, Recorder())
    assert run(replace(request, existing="skip"), config, Recorder()).skipped == 6
    assert outputs(tmp_path / "out") == before
    summary = run(replace(request, existing="overwrite"), config, Recorder())
    assert (summary.protected, summary.finished) == (1, 5)
    assert run(request, config, Recorder()).finished == 6


def test_files_of_others_are_never_replaced(tmp_path: Path, photos: Path, config: ProtectConfig):
    """One of them does not stop the others, unless the request is strict or nothing else is to do."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "000.protected.png").write_bytes(b"someone's")
    request = ask(photos, output=out)
    with pytest.raises(UsageError, match=r"000\.protected\.png: exists already"):
        run(replace(request, strict=True), config, Recorder())
    assert outputs(out) == {"000.protected.png": b"someone's"}
    for existing in ("refuse", "update"):
        with pytest.raises(UsageError, match="exists already"):
            run(replace(request, names=(str(photos / "000.png"),), existing=existing), config, Recorder())
    summary = run(request, config, Recorder())
    assert (summary.protected, len(summary.failures), summary.total) == (5, 1, 6)
    assert "exists already" in summary.failures[0].error
    with pytest.raises(UsageError, match="exists already"):
        run(request, config, Recorder())
    assert outputs(out)["000.protected.png"] == b"someone's"


def test_update_makes_again_what_changed(tmp_path: Path, photos: Path, config: ProtectConfig):
    request = ask(photos, output=tmp_path / "out", existing="update")
    assert run(request, config, Recorder()).protected == 6
    before = outputs(tmp_path / "out")
    smooth_picture(16, 24, seed=99).save(photos / "000.png")
    (tmp_path / "out" / "001.protected.png").write_bytes(b"someone's")
    summary = run(request, config, Recorder())
    assert (summary.protected, summary.finished, len(summary.failures)) == (1, 4, 1)
    after = outputs(tmp_path / "out")
    assert {place for place in before if before[place] != after[place]} == {"000.protected.png", "001.protected.png"}
    assert after["001.protected.png"] == b"someone's"
    assert run(request, replace(config, seed=1), Recorder()).protected == 5


def test_two_pictures_with_one_output_fail_and_the_others_go_on(tmp_path: Path, photos: Path, config: ProtectConfig):
    smooth_picture(16, 24).save(photos / "000.jpg")
    request = ask(photos, output=tmp_path / "out")
    summary = run(request, config, Recorder())
    assert (summary.protected, len(summary.failures), summary.total) == (5, 2, 7)
    assert all("would both be written" in failure.error for failure in summary.failures)
    with pytest.raises(UsageError, match="would both be written"):
        run(replace(request, strict=True), config, Recorder())


def test_the_failures_that_are_allowed_are_limited(tmp_path: Path, photos: Path, config: ProtectConfig):
    for name in ("002.png", "005.png"):
        (photos / "deeper" / name).write_bytes(b"no picture")
    for number in range(100, 140):
        smooth_picture(16, 24, seed=number).save(photos / "deeper" / f"{number}.png")
    observer = Recorder()
    summary = run(ask(photos, output=tmp_path / "out", max_failures=2), config, observer)
    assert (len(summary.failures), summary.exit_code) == (2, 1)
    assert "`max_failures=2`" in summary.stopped
    assert summary.left > 20
    assert summary.total == 46
    assert len(outputs(tmp_path / "out")) == summary.protected


def test_two_shards_at_once_make_what_one_run_makes(tmp_path: Path, config: ProtectConfig):
    photos = put_pictures(tmp_path / "photos", 9)
    shards = [ask(photos, output=tmp_path / "out", shard=Shard(index, 2)) for index in (1, 2)]

    class Other(Recorder):
        """Runs the second shard in the middle of the first."""

        def done(self, outcome: Outcome) -> None:
            super().done(outcome)
            if len(self.outcomes) == 1:
                summaries.append(run(shards[1], config, Recorder()))
                with pytest.raises(UsageError, match="is in use by another run"):
                    run(ask(photos, output=tmp_path / "out"), config, Recorder())

    summaries: list[Summary] = []
    summaries.append(run(shards[0], config, Other()))
    assert sum(summary.protected for summary in summaries) == sum(summary.total for summary in summaries) == 9
    assert all(summary.protected for summary in summaries)
    run(ask(photos, output=tmp_path / "whole"), config, Recorder())
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert run(ask(photos, output=tmp_path / "out"), config, Recorder()).finished == 9


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are a POSIX thing")
@pytest.mark.parametrize("folder", [True, False])
def test_outputs_are_as_private_as_their_pictures(tmp_path: Path, photos: Path, config: ProtectConfig, folder: bool):
    picture = photos / "000.png"
    picture.chmod(0o741)
    out = tmp_path if folder else tmp_path / "000.protected.png"
    run(ask(picture, output=out), config, Recorder())
    assert (tmp_path / "000.protected.png").stat().st_mode & 0o777 == 0o640


def test_times_are_kept_on_request(tmp_path: Path, photos: Path, config: ProtectConfig):
    then = 1_234_567_890_123_456_000
    for path in photos.rglob("*.png"):
        os.utime(path, ns=(then, then))
    request = ask(photos, output=tmp_path / "out", preserve_times=True)
    assert run(request, config, Recorder()).protected == 6
    found = {path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert len(found) == 1
    assert abs(found.pop() - then) < 1_000_000, "disks round"
    assert run(request, config, Recorder()).finished == 6
    assert run(replace(request, preserve_times=False), config, Recorder()).finished == 6
    with pytest.raises(UsageError, match="is for files, and s3://b/in is in a bucket"):
        replace(request, names=("s3://b/in",))


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX thing")
def test_a_ledger_that_takes_no_line_keeps_its_outputs_from_being_written(
    tmp_path: Path, photos: Path, config: ProtectConfig, monkeypatch: pytest.MonkeyPatch
):
    """The disk fills in the ledger: the picture fails, nothing is written without a line, and the run stops."""
    real = Segment.append

    def full(self: Segment, entry: LedgerEntry) -> None:
        if "00" in entry.output and not entry.written and "000" not in entry.output:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, entry)

    monkeypatch.setattr(Segment, "append", full)
    request = ask(photos, output=tmp_path / "out")
    summary = run(request, config, Recorder())
    assert summary.protected == len(outputs(tmp_path / "out")) == 1
    assert "nothing more can be written" in summary.stopped
    assert "No space left on device" in summary.failures[0].error
    monkeypatch.undo()
    again = run(request, config, Recorder())
    assert (again.finished, again.protected) == (1, 5)


def test_what_is_skipped_is_told(tmp_path: Path, photos: Path, config: ProtectConfig):
    request = ask(photos, output=tmp_path / "out")
    run(request, config, Recorder())
    observer = Recorder()
    run(request, config, observer)
    assert [reason for _, reason in observer.skips] == ["finished"] * 6
    observer = Recorder()
    assert run(replace(request, existing="skip"), config, observer).skipped == 6
    assert [reason for _, reason in observer.skips] == ["exists"] * 6


def test_a_preview_changes_nothing_and_loads_nothing(tmp_path: Path, photos: Path, config: ProtectConfig):
    request = ask(photos, output=tmp_path / "out")
    absent = replace(config, vae=str(tmp_path / "missing"))
    assert preview(request, absent).statuses == ["to do"] * 6
    assert not (tmp_path / "out").exists()
    run(request, config, Recorder())
    assert preview(request, config).to_do == []


def test_outputs_inside_the_input_folder_stay_out(photos: Path, config: ProtectConfig):
    request = ask(photos, output=photos / "protected")
    run(request, config, Recorder())
    again = Recorder()
    assert run(request, config, again).finished == 6
    assert again.messages == ["the output folder is inside an input folder and was left out"]


def test_inputs_that_vanish_or_change_while_running(tmp_path: Path, config: ProtectConfig):
    photos = put_pictures(tmp_path / "photos", 15)
    vanishing, changing = photos / "deeper" / "011.png", photos / "deeper" / "014.png"

    class Meddler(Recorder):
        def done(self, outcome: Outcome) -> None:
            super().done(outcome)
            if len(self.outcomes) == 1:
                vanishing.unlink()
                smooth_picture(16, 24, seed=99).save(changing)

    request = ask(photos, output=tmp_path / "out")
    summary = run(request, config, Meddler())
    assert [failure.error for failure in summary.failures] == [f"{vanishing}: no such file; check the name"]
    assert summary.protected == 14
    assert (
        run(request, config, Recorder()).finished == 14
    )  # the changed one was read after it changed, as its line says
    changing.write_bytes(changing.read_bytes() + b"x")
    with pytest.raises(UsageError, match=r"014\.png: changed since protection"):
        run(request, config, Recorder())


def test_two_runs_into_one_folder(tmp_path: Path, photos: Path, config: ProtectConfig):
    with output_lock(tmp_path / "out"), pytest.raises(UsageError, match="is in use by another run"):
        run(ask(photos, output=tmp_path / "out"), config, Recorder())
    assert outputs(tmp_path / "out") == {}


def test_a_model_that_is_not_there_is_said_and_nothing_written(tmp_path: Path, photos: Path, config: ProtectConfig):
    with pytest.raises((ModelError, UsageError)):
        run(ask(photos, output=tmp_path / "out"), replace(config, vae=str(tmp_path / "missing")), Recorder())
    assert outputs(tmp_path / "out") == {}


def test_bad_files_alone_need_no_model(tmp_path: Path, config: ProtectConfig):
    (tmp_path / "bad.png").write_text("no picture")
    observer = Recorder()
    summary = run(Request((str(tmp_path / "bad.png"), str(tmp_path / "nowhere.png"))), config, observer)
    assert (len(summary.failures), observer.loaded_times) == (2, 0)
    assert not summary.folder


def test_a_full_disk_ends_the_run_and_the_rest_is_done_later(tmp_path: Path, config: ProtectConfig):
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(12):
        noise = np.random.default_rng(index).integers(0, 256, (64, 56, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photos / f"{index:02}.png")
    request = ask(photos, output=tmp_path / "out")
    with small_disk(tmp_path) as disk:
        full = replace(request, output=disk / "out")
        summary = run(full, config, Recorder())
        assert summary.stopped
        assert summary.exit_code == 1
        assert summary.left > 0
        assert "disk is full" in summary.failures[0].error or "No space left" in summary.failures[0].error
        assert 0 < summary.protected < 10
        assert len(outputs(disk / "out")) == summary.protected
        subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
        resumed = run(full, config, Recorder())
        assert (resumed.finished, resumed.protected) == (summary.protected, 12 - summary.protected)
        run(request, config, Recorder())
        assert outputs(disk / "out") == outputs(tmp_path / "out")


class _Interrupted(SystemExit):
    pass


def test_an_interrupt_goes_through_and_says_what_is_done(
    tmp_path: Path, photos: Path, config: ProtectConfig, monkeypatch: pytest.MonkeyPatch
):
    real, calls = worker_module.protect_batch, []

    def interrupted(*arguments: object, **values: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise _Interrupted(130)
        return real(*arguments, **values)

    monkeypatch.setattr(worker_module, "protect_batch", interrupted)
    observer = Recorder()
    with pytest.raises(_Interrupted):
        run(ask(photos, output=tmp_path / "out"), config, observer)
    (summary,) = observer.summaries
    assert (summary.protected, summary.left) == (2, 4)
    assert len(outputs(tmp_path / "out")) == 2
    monkeypatch.setattr(worker_module, "protect_batch", real)
    assert run(ask(photos, output=tmp_path / "out"), config, Recorder()).finished == 2
