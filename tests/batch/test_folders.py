"""Whole folders: nothing lost, nothing half, nothing twice, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, smooth_picture
from folders import Recorder, outputs, put_pictures
from PIL import Image
from small_disk import small_disk

from pca_protect.batch import work as work_module
from pca_protect.batch.journal import read_journal
from pca_protect.batch.listing import read_list
from pca_protect.batch.outcome import Failure, Outcome
from pca_protect.batch.output_lock import output_lock, state_of
from pca_protect.batch.output_options import OutputOptions
from pca_protect.batch.pipeline import Stages, group_by_size, run_pipeline
from pca_protect.batch.request import Request
from pca_protect.batch.run import preview, run
from pca_protect.config import ProtectConfig
from pca_protect.errors import Cancelled, DeviceError, ModelError, PictureError, UsageError
from pca_protect.io.discover import Source
from pca_protect.io.picture import Picture
from pca_protect.io.plan import Job
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
    (line,) = read_journal(state_of(out).folder)["deeper/002.protected.png"]
    assert line.input == "deeper/002.png"
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
    out = tmp_path / "out"
    out.mkdir()
    (out / "000.protected.png").write_bytes(b"someone's")
    with pytest.raises(UsageError, match="exists already"):
        run(ask(photos, output=out), config, Recorder())
    assert outputs(out) == {"000.protected.png": b"someone's"}


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is a POSIX thing")
def test_twenty_kills_change_nothing(tmp_path: Path, config: ProtectConfig):
    photos = put_pictures(tmp_path / "photos", 200)

    def attempt(kills: int, longest_seconds: float, output: str) -> tuple[float, list[int]]:
        program = [
            sys.executable,
            str(ROOT / "tests" / "kill_program.py"),
            str(kills),
            str(longest_seconds),
            "0",
            output,
        ]
        arguments = ["photos", "-r", "--vae", config.vae, "--steps", "1", "--preset", "paper"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["exit_code"] == 0, done.stderr
        return result["seconds"], result["lines"]

    seconds, _ = attempt(0, 0, "whole")
    _, lines = attempt(20, seconds / 7, "killed")
    assert len({number for number in lines if 0 < number < 200}) >= 5, f"killed at the wrong moments: {lines}"
    whole = outputs(tmp_path / "whole")
    assert len(whole) == len(outputs(photos)) == 200
    assert outputs(tmp_path / "killed") == whole
    assert list((tmp_path / "killed" / ".pca_protect" / "tmp").iterdir()) == []


# The pipeline alone, with stages that are easy to steer.


def jobs(number: int, size: tuple[int, int] = (16, 24)) -> list[Job]:
    return [Job(Source(f"{index}.png", "", f"{index}.png", ".png", *size), f"{index}.out") for index in range(number)]


def blank(job: Job) -> Picture:
    return Picture(np.zeros((24, 16, 3), np.uint8), source=job.source.path)


def stages(**values: object) -> Stages:
    def echo(pictures: Sequence[tuple[Job, Picture]]) -> list[object]:
        return [SimpleNamespace(source=picture.source) for _, picture in pictures]

    given = {"read": blank, "together": lambda job: 1, "optimise": echo, "write": lambda job, protected: protected}
    return Stages(**{**given, **values})


def test_order_is_kept_and_each_fails_for_itself():
    def read(job: Job) -> Picture:
        if job.target == "3.out":
            raise PictureError("3.png: is bad")
        if job.target == "5.out":
            raise MemoryError
        return blank(job)

    def write(job: Job, protected: object) -> object:
        if job.target == "6.out":
            raise OSError(5, "Input/output error", "6.out")
        return protected

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
    groups = list(group_by_size(mixed, lambda job: 8))
    assert sorted(job.source.path + str(job.source.width_px) for group in groups for job in group) == sorted(
        job.source.path + str(job.source.width_px) for job in mixed
    )
    assert all(len(group) == 8 and len({job.source.width_px for job in group}) == 1 for group in groups)
    looked_at: list[int] = []

    def all_different() -> Iterator[Job]:
        for index, job in enumerate(jobs(500)):
            looked_at.append(index)
            yield Job(replace(job.source, width_px=index), job.target)

    for index, group in enumerate(group_by_size(all_different(), lambda job: 8)):
        assert [job.source.width_px for job in group] == [index]
        assert len(looked_at) <= index + 64


def test_a_bad_picture_does_not_take_its_batch_along():
    sizes: list[int] = []

    def optimise(pictures: Sequence[tuple[Job, Picture]]) -> list[object]:
        sizes.append(len(pictures))
        if any(job.target == "2.out" for job, _ in pictures):
            raise PictureError("2.png: does not fit")
        return [object() for _ in pictures]

    seen: list[Outcome] = []
    run_pipeline(jobs(8), stages(together=lambda job: 4, optimise=optimise), seen.append)
    assert sizes == [4, 1, 1, 1, 1, 4]
    assert [outcome.failure for outcome in seen if outcome.failure] == [Failure("2.png", "", "2.png: does not fit")]


def test_a_rotated_picture_leaves_its_batch():
    def read(job: Job) -> Picture:
        shape = (16, 24, 3) if job.target == "1.out" else (24, 16, 3)
        return Picture(np.zeros(shape, np.uint8))

    shapes: list[set[int]] = []

    def optimise(pictures: Sequence[tuple[Job, Picture]]) -> list[object]:
        shapes.append({picture.width for _, picture in pictures})
        return [object() for _ in pictures]

    run_pipeline(jobs(4), stages(together=lambda job: 4, read=read, optimise=optimise), lambda outcome: None)
    assert shapes == [{16}, {24}]


def test_what_was_optimised_is_written_even_if_the_run_breaks_off():
    def optimise(pictures: Sequence[tuple[Job, Picture]]) -> list[object]:
        if pictures[0][0].target == "3.out":
            raise DeviceError("gone")
        return [object()]

    seen: list[Outcome] = []
    with pytest.raises(DeviceError, match="gone"):
        run_pipeline(jobs(9), stages(optimise=optimise), seen.append)
    assert [outcome.job.target for outcome in seen] == ["0.out", "1.out", "2.out"]


class _Interrupted(SystemExit):
    pass


def test_an_interrupt_goes_through_and_says_what_is_done(
    tmp_path: Path, photos: Path, config: ProtectConfig, monkeypatch: pytest.MonkeyPatch
):
    real, calls = work_module.protect_batch, []

    def interrupted(*arguments: object, **values: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise _Interrupted(130)
        return real(*arguments, **values)

    monkeypatch.setattr(work_module, "protect_batch", interrupted)
    observer = Recorder()
    with pytest.raises(_Interrupted):
        run(ask(photos, output=tmp_path / "out"), config, observer)
    (summary,) = observer.summaries
    assert (summary.protected, summary.left) == (2, 4)
    assert len(outputs(tmp_path / "out")) == 2
    monkeypatch.setattr(work_module, "protect_batch", real)
    assert run(ask(photos, output=tmp_path / "out"), config, Recorder()).finished == 2


def test_only_a_few_pictures_are_in_memory_at_once():
    alive = [0]
    most = [0]

    def read(job: Job) -> Picture:
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        return blank(job)

    def write(job: Job, protected: object) -> object:
        alive[0] -= 1
        return protected

    run_pipeline(jobs(300), stages(read=read, write=write), lambda outcome: None)
    assert most[0] <= 8


@pytest.mark.parametrize(("side_px", "most"), [(100, 3), (6000, 2)])
def test_of_large_pictures_fewer_are_in_memory(side_px: int, most: int):
    """Read, and not yet given up by the optimiser: the one in hand and those that wait."""
    held, seen = [0], []

    def read(job: Job) -> Picture:
        held[0] += 1
        return blank(job)

    def optimise(pictures: Sequence[tuple[Job, Picture]]) -> list[object]:
        time.sleep(0.02)  # the reader gets as far as it may
        seen.append(held[0])
        held[0] -= 1
        raise PictureError("enough")

    run_pipeline(jobs(8, (side_px, side_px)), stages(read=read, optimise=optimise), lambda outcome: None)
    assert len(seen) == 8
    assert max(seen) == most


@pytest.mark.parametrize("error", [UsageError("means nothing"), Cancelled("enough"), ModelError("is not there")])
def test_what_is_not_a_pictures_fault_ends_the_run(error: Exception):
    def optimise(pictures: Sequence[tuple[Job, Picture]]) -> list[object]:
        raise error

    with pytest.raises(type(error)):
        run_pipeline(jobs(3), stages(optimise=optimise), lambda outcome: None)


def test_a_surprise_is_one_pictures_alone():
    def read(job: Job) -> Picture:
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
