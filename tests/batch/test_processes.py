"""Several processes on one machine make the files that one makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from folders import outputs, put_pictures

from pca_protect.batch.processes import all_processes, rank_and_world

LAUNCH = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2"]
"""Without a GPU in the machine accelerate starts its processes on the CPU."""


@pytest.mark.parametrize(
    ("rank", "world", "expected"),
    [("", "", (0, 1)), ("0", "1", (0, 1)), ("1", "2", (1, 2)), ("x", "2", (0, 2)), ("3", "2", (0, 1))],
)
def test_the_launcher_says_who_is_who(
    monkeypatch: pytest.MonkeyPatch, rank: str, world: str, expected: tuple[int, int]
):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    assert rank_and_world() == expected


def test_a_process_alone_talks_to_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with all_processes("cpu") as alone:
        assert (alone.rank, alone.world) == (0, 1)
        assert alone.from_first(lambda: 3) == 3
        assert alone.gather("x") == ["x"]


def launch(folder: Path, *arguments: str, processes: bool) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        environment.pop(name, None)
    command = [*(LAUNCH if processes else [sys.executable]), "-m", "pca_protect", "run", "photos", "-r", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment, timeout=300
    )


def test_two_processes_make_the_same_files(tmp_path: Path, tiny_folder: Path):
    photos = put_pictures(tmp_path / "photos", 9)
    (photos / "004.png").write_bytes((photos / "004.png").read_bytes()[:100])
    (photos / "deeper" / "005.png").write_bytes((photos / "deeper" / "005.png").read_bytes()[:100])
    settings = ["--vae", str(tiny_folder), "--steps", "2", "--json"]
    alone = launch(tmp_path, *settings, "-o", "one", processes=False)
    both = launch(tmp_path, *settings, "-o", "two", "--errors", "errors.jsonl", processes=True)
    assert alone.returncode == 1, alone.stderr
    assert both.returncode == 1, both.stderr
    assert outputs(tmp_path / "two") == outputs(tmp_path / "one") != {}
    assert both.stderr.count("7 protected, 2 failed") == 1
    assert both.stderr.count("error: photos/004.png") == both.stderr.count("error: photos/deeper/005.png") == 1
    assert len((tmp_path / "errors.jsonl").read_text().splitlines()) == 2
    lines = [json.loads(line) for line in both.stdout.splitlines()]
    assert {line["input"] for line in lines} == {json.loads(line)["input"] for line in alone.stdout.splitlines()}
    state = tmp_path / "two" / ".pca_protect"
    assert [path.name for path in state.glob("journal*")] == ["journal.jsonl"]
    assert len((state / "journal.jsonl").read_text().splitlines()) == 7

    refused = launch(tmp_path, *settings, "-o", "two", "--seed", "1", processes=True)
    assert refused.returncode != 0
    assert refused.stderr.count("error: ") == 1
    assert "protected with other settings" in refused.stderr
    assert refused.stdout == ""
