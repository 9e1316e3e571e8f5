"""Several processes on one machine make the files that one makes, whatever happens to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from conftest import ROOT
from folders import Recorder, outputs, put_pictures

from pca_protect.batch.executors import processes
from pca_protect.batch.executors.dispatch import TRIES, Dispatch, SameEncoder
from pca_protect.batch.ledger import read_ledger
from pca_protect.batch.outcome import EncoderInfo, Outcome
from pca_protect.batch.output_options import OutputOptions
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.batch.store import Store
from pca_protect.config import ProtectConfig
from pca_protect.errors import DeviceError, ModelError
from pca_protect.io.picture import Picture
from pca_protect.io.plan import Job
from pca_protect.io.source import Source


@dataclass(frozen=True)
class KillingOptions(OutputOptions):
    """Stands for memory that runs out: the first worker that touches this picture dies on the spot."""

    def prepared(self, picture: Picture) -> Picture:
        flag = Path(f"{picture.source}.kill")
        if flag.exists():
            flag.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepared(picture)


@pytest.fixture
def config(tiny_folder: Path) -> ProtectConfig:
    return ProtectConfig(vae=str(tiny_folder), steps=2, device="cpu")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stray process group in the environment, as in a shell below torchrun, must mean nothing."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    # Workers import this file by name to unpickle what it defines.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "batch")]))


def test_two_processes_make_what_one_makes(tmp_path: Path, config: ProtectConfig):
    """A broken picture fails, and one that kills its worker is made by another, with those that this one had in hand."""
    photos = put_pictures(tmp_path / "photos", 9)
    (photos / "004.png").write_bytes((photos / "004.png").read_bytes()[:100])
    alone = run(Request((str(photos),), output=tmp_path / "one", recursive=True), config, Recorder())
    assert (alone.protected, len(alone.failures)) == (8, 1)

    (photos / "000.png.kill").touch()
    observer = Recorder()
    request = Request(
        (str(photos),),
        output=tmp_path / "two",
        recursive=True,
        jobs=2,
        output_options=KillingOptions(),
        existing="update",
    )
    both = run(request, config, observer)
    assert (both.protected, len(both.failures), both.total) == (8, 1, 9)
    assert not (photos / "000.png.kill").exists(), "it has killed"
    assert outputs(tmp_path / "two") == outputs(tmp_path / "one")
    assert observer.loaded_times == 1
    assert len(read_ledger(Store(str(tmp_path / "two")))) == 8
    assert run(replace(request, jobs=1, output_options=OutputOptions()), config, Recorder()).finished == 8


def test_an_interrupt_keeps_what_is_protected_and_ends_the_workers(tmp_path: Path, config: ProtectConfig):
    photos = put_pictures(tmp_path / "photos", 30)

    class StopError(Exception):
        pass

    class Interrupting(Recorder):
        def done(self, outcome: Outcome) -> None:
            super().done(outcome)
            if len(self.outcomes) == 3:
                raise StopError

    observer = Interrupting()
    request = Request((str(photos),), output=tmp_path / "out", recursive=True, jobs=2)
    with pytest.raises(StopError):
        run(request, config, observer)
    (summary,) = observer.summaries
    assert summary.protected == len(observer.outcomes) == len(outputs(tmp_path / "out")) >= 3
    assert summary.total == 30
    assert [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is a POSIX thing")
@pytest.mark.parametrize(("executor", "pictures", "kills"), [("threads", "60", "6"), ("processes", "12", "1")])
def test_kills_change_nothing(tmp_path: Path, tiny_folder: Path, executor: str, pictures: str, kills: str):
    sizes = ["--executor", executor, "--pictures", pictures, "--kills", kills, "--vae", str(tiny_folder)]
    program = [sys.executable, str(ROOT / "tools" / "kill_runs.py"), *sizes, "--out", str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{done.stdout} {done.stderr}"
    assert json.loads(done.stdout)["equal"]


def test_the_default_is_one_process_per_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    assert [processes.worker_count(None, device) for device in ("auto", "cuda", "cuda:1", "cpu")] == [8, 8, 1, 1]
    assert processes.worker_count(3, "cpu") == 3
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert processes.worker_count(None, "auto") == 1


def job(name: str) -> Job:
    return Job(Source(name, "", name), f"{name}.out")


def test_who_was_in_a_killers_hands_is_tried_alone():
    dispatch = Dispatch([job("killer"), job("a"), job("b")])
    assert [dispatch.take(0), dispatch.take(0), dispatch.take(1)] == [job("killer"), job("a"), job("b")]
    assert dispatch.lost(0, "") == []
    assert dispatch.take(0) is None
    for crash in range(2, TRIES + 1):
        suspect = dispatch.take(crash, alone=True)
        assert suspect == replace(job("killer" if crash == 2 else "a"), replace=True)
        if crash == 2:
            assert dispatch.lost(crash, "") == []
        else:
            dispatch.settle(crash, Outcome(suspect, left_out="done"))
    assert dispatch.take(9, alone=True).source.path == "killer"  # type: ignore[union-attr]
    (failure,) = dispatch.lost(9, "")
    assert "crashed its worker 3 times" in failure.failure.error  # type: ignore[union-attr]
    assert not dispatch.suspects


def test_workers_that_get_no_picture_end_the_run():
    """One of them may be on a machine that goes away while it loads."""
    dispatch = Dispatch([job("a")])
    for worker in range(TRIES - 1):
        assert dispatch.lost(worker, "exit code -9") == []
    with pytest.raises(DeviceError, match="while they loaded the encoder"):
        dispatch.lost(TRIES, "exit code -9")


def test_workers_have_to_load_one_encoder():
    same, info = SameEncoder(), EncoderInfo("sd", "here", "cpu", "fp32", "1", False, ())
    assert same.check(info)
    assert not same.check(replace(info, device="cuda:1"))
    with pytest.raises(ModelError, match="other weights"):
        same.check(replace(info, digest="2"))
