"""What scripts and people see of a run over a folder: lines, logs, and the state of an output folder."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result
from folders import Recorder, put_pictures
from typer.testing import CliRunner

from pca_protect.batch.inspect import clean, status, verify
from pca_protect.batch.ledger import STATE
from pca_protect.batch.output_lock import output_lock
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.cli import console
from pca_protect.cli.flags import in_flags
from pca_protect.cli.main import app
from pca_protect.cli.progress import Lines
from pca_protect.cli.workload import Workload
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError


@pytest.fixture
def config(tiny_folder: Path) -> ProtectConfig:
    return ProtectConfig(vae=str(tiny_folder), steps=1, preset="paper", device="cpu")


@pytest.fixture
def out(tmp_path: Path, config: ProtectConfig) -> Path:
    """An output folder with three finished pictures."""
    photos = put_pictures(tmp_path / "photos", 3)
    run(Request((str(photos),), output=tmp_path / "out", recursive=True), config, Recorder())
    return tmp_path / "out"


def command(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def test_the_state_of_a_folder(out: Path):
    found = status(str(out))
    assert (found.finished, found.missing, found.segments, found.temporary, found.in_use) == (3, 0, 1, 0, False)
    (out / "000.protected.png").unlink()
    (out / "deeper" / ".pca-left.tmp").touch()
    with output_lock(out):
        found = status(str(out))
    assert (found.finished, found.missing, found.temporary, found.in_use) == (2, 1, 1, True)
    assert json.loads(command("status", out, "--json").stdout)["missing"] == 1
    assert "2 finished, 1 recorded as finished but missing" in command("status", out).stdout
    with pytest.raises(UsageError, match="has no ledger"):
        status(str(out.parent))


def test_outputs_are_verified(out: Path):
    assert [checked.state for checked in verify(str(out))] == ["intact"] * 3
    assert command("verify", out).exit_code == 0
    assert status(str(out)).test_only == 0
    (out / "000.protected.png").unlink()
    (out / "001.protected.png").write_bytes(b"x")
    states = {checked.output: checked.state for checked in verify(str(out))}
    assert states == {
        "000.protected.png": "missing",
        "001.protected.png": "changed",
        "deeper/002.protected.png": "intact",
    }
    done = command("verify", out, "--json")
    assert done.exit_code == 1
    assert {line["output"]: line["state"] for line in map(json.loads, done.stdout.splitlines())} == states
    assert command("verify", out).stdout == (
        "000.protected.png: missing\n001.protected.png: changed\n1 intact, 1 changed, 1 missing\n"
    )


def test_outputs_of_test_models_are_counted(tmp_path: Path):
    photos, out = put_pictures(tmp_path / "photos", 3), tmp_path / "out"
    words = ("run", photos, "-r", "-o", out, "--preset", "paper", "--steps", 1, "--no-evaluate", "--vae", "pocket")
    command(*words)
    again = command(*words)
    assert again.stderr.splitlines()[-1].startswith("test only: 0 written, 3 finished before")
    assert command(*words, "--dry-run").stdout.count(" (finished, skipped, test only)\n") == 3
    assert status(str(out)).test_only == 3
    assert "3 finished (3 test only" in command("status", out).stdout
    (out / "000.test-only.png").write_bytes(b"changed")
    assert [checked.test_only for checked in verify(str(out))] == [False, True, True]
    assert command("verify", out).stdout.splitlines()[-1].startswith("2 intact (2 test only")


def test_cleaning_removes_what_killed_runs_left(out: Path, config: ProtectConfig):
    before = {path: path.read_bytes() for path in out.rglob("*.png")}
    (out / "deeper" / ".pca-left.tmp").touch()
    (out / STATE / "tmp" / "run" / ".pca-left.tmp").touch()
    with output_lock(out), pytest.raises(UsageError, match="in use by another run"):
        clean(out)
    (out / STATE / "tmp" / "run").mkdir(parents=True, exist_ok=True)
    (out / STATE / "tmp" / "run" / ".pca-left.tmp").touch()
    assert clean(out) == 2
    assert list(out.rglob("*.tmp")) == []
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == before
    assert status(str(out)).finished == 3


def test_what_is_skipped_is_a_line_too(out: Path, config: ProtectConfig):
    words = ("run", out.parent / "photos", "-r", "-o", out, "--vae", config.vae, "--steps", 1, "--preset", "paper")
    done = command(*words, "--json", "--device", "cpu")
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert {line["skipped"] for line in lines} == {"finished"}
    assert len(lines) == last["summary"]["finished"] == last["summary"]["total"] == 3


def test_a_log_has_every_line_with_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    console.log_to(tmp_path / "log.txt")
    try:
        console.result("a result")
        console.warn("`max_failures=3` is\nreached")
    finally:
        console.close_log()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["a result", r"warning: --max-failures 3 is\nreached"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} ", line) for line in lines)
    with pytest.raises(UsageError, match="--log-file"):
        console.log_to(tmp_path / "missing" / "log.txt")
    console.result("not logged")
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 2
    assert capsys.readouterr().out == "a result\nnot logged\n"


def test_the_time_left_follows_the_work_and_not_the_reports():
    now = [0.0]
    workload = Workload([1.0, 1.0, 8.0], clock=lambda: now[0])
    now[0] = 30.0  # the encoder is loaded
    assert workload.seconds_left is None
    for work, seconds in ((1.0, 10.0), (1.0, 10.0), (8.0, 80.0)):
        workload.begin([work])
        for step in (1, 2, 3, 4):
            now[0] += seconds / 4
            workload.step(step, 4)
            assert workload.seconds_left == pytest.approx(130.0 - now[0]), "the pace is even"
    assert workload.pictures_done == 2, "the last one is not written yet"
    for work in (1.0, 1.0, 8.0):
        workload.report(work)
    assert (workload.pictures_done, workload.share, workload.seconds_left) == (3, 1.0, 0.0)


def test_a_rerun_says_what_is_left(out: Path, config: ProtectConfig):
    (out / "001.protected.png").unlink()
    words = ("run", out.parent / "photos", "-r", "-o", out, "--vae", config.vae, "--steps", 1, "--preset", "paper")
    assert "3 pictures: 2 finished before, 1 to do" in command(*words, "--device", "cpu").stderr.splitlines()


def test_without_a_terminal_lines_say_how_far(capsys: pytest.CaptureFixture[str]):
    now = [0.0]
    lines = Lines(shown=True, clock=lambda: now[0])
    now[0] = 9.0
    lines.prepare("comparing", 5, 40)
    now[0] = 11.0
    lines.prepare("comparing", 10, 40)
    now[0] = 61.0
    lines.prepare("comparing", 20, 40)
    now[0] = 71.0
    lines.prepare("comparing", 30, 40)
    lines.begin([1.0] * 10)
    for failed in (False, True, False):
        lines.pictures("a.png", [1.0])
        now[0] += 25.0
        lines.step(1, 2, 0.0)
        lines.done(1.0, failed=failed)
    written = capsys.readouterr().err.splitlines()
    assert written == ["comparing: 10 of 40", "comparing: 30 of 40", "2 of 10 pictures, 1 failed, about 4 min left"]
    one = Lines(shown=True, clock=lambda: now[0])
    one.begin([5.0])
    one.pictures("a.png", [5.0])
    for step in range(1, 9):
        now[0] += 25.0
        one.step(step, 8, 0.0)
    one.done(5.0, failed=False)
    steps = ["step 1 of 8, about 3 min left", "step 4 of 8, about 2 min left", "step 7 of 8, about 25 s left"]
    assert capsys.readouterr().err.splitlines() == steps
    hidden = partial(Lines, shown=False)(clock=lambda: 1e9)
    hidden.done(1.0, failed=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--existing", "replace"], "choose one of refuse, skip, update, overwrite"),
        (["--existing", "update", "--overwrite"], "mutually exclusive"),
        (["--max-failures", "0"], "--max-failures 0: give at least 1"),
        (["--jobs", "0"], "--jobs 0: give at least 1"),
        (["--shard", "3/2"], "--shard 3/2: give I/N"),
        (["--ray-address", "x:1"], "needs --engine ray"),
    ],
)
def test_values_that_are_refused(photo: Path, words: list[str], says: str, monkeypatch: pytest.MonkeyPatch):
    done = command("run", photo, *words)
    assert isinstance(done.exception, UsageError)
    assert says in in_flags(str(done.exception))
