"""The commands as a shell runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image

from pca_protect import __version__


def command(*arguments: object, cwd: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pca_protect", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        **settings,
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_protects_several_pictures_and_survives_a_bad_one(tmp_path: Path, photo: Path):
    smooth_picture(20, 33, seed=1).save(tmp_path / "second.webp", lossless=True)
    (tmp_path / "bad.png").write_text("no picture")
    done = command(
        "run", "photo.png", "bad.png", "second.webp", "--vae", "pocket", "--steps", 2, "--json", cwd=tmp_path
    )
    assert done.returncode == 1
    first, bad, second = map(json.loads, done.stdout.splitlines())
    assert (first["output"], second["output"]) == ("photo.protected.png", "second.protected.png")
    assert bad["input"] == "bad.png"
    assert "not a picture" in bad["error"]
    assert "error: bad.png: is not a picture" in done.stderr
    assert "1 of 3 pictures failed" in done.stderr
    assert (
        done.stderr.count("warning: the embedded `pocket` VAE protects the offline test bed, not Stable Diffusion") == 1
    )
    for name in ("photo", "second"):
        assert (tmp_path / f"{name}.protected.png").exists()
    change = np.abs(np.asarray(Image.open(photo)).astype(int) - np.asarray(Image.open(tmp_path / first["output"])))
    assert change.max() == first["max_change_levels"]


def test_summary_line_says_what_matters(tmp_path: Path, photo: Path):
    done = command("run", photo.name, "--vae", "pocket", "--steps", 2, "--mode", "concentration", cwd=tmp_path)
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    for part in ("photo.protected.png", "concentration", "pocket", "levels", "PSNR", "posterior moved", " s,", "MB"):
        assert part in line


BAD_REQUESTS = {
    "missing file": (["nowhere.png"], 1, "nowhere.png: no such file"),
    "folder": (["."], 2, "folders are not supported yet"),
    "unknown mode": (["photo.png", "--mode", "smash"], 2, "unknown mode 'smash'"),
    "unknown vae": (["photo.png", "--vae", "pokcet"], 2, "did you mean pocket?"),
    "unknown device": (["photo.png", "--device", "gpu"], 2, "unknown device 'gpu'"),
    "absent device": (["photo.png", "--vae", "pocket", "--device", "mps"], 3, "device mps is not available"),
    "absent model": (["photo.png", "--vae", "sd", "--offline"], 3, "not in the local cache"),
    "budget 0": (["photo.png", "--budget", "0"], 2, "budget 0"),
    "budget -1": (["photo.png", "--budget", "-1"], 2, "budget -1"),
    "budget 300": (["photo.png", "--budget", "300"], 2, "budget 300"),
    "budget words": (["photo.png", "--budget", "much"], 2, "--budget"),
    "output is the input": (["photo.png", "-o", "photo.png"], 2, "originals are never replaced"),
    "output folder missing": (["photo.png", "-o", "out/x.png"], 2, "no such folder"),
    "output exists": (["photo.png", "-o", "taken.png"], 2, "exists already"),
    "lossy output": (["photo.png", "-o", "x.jpg"], 2, "--allow-lossy"),
    "two ways at once": (["photo.png", "--overwrite", "--skip-existing"], 2, "contradict"),
    "target variance": (["photo.png", "--target-variance", "wide"], 2, "neither a number nor"),
    "unknown option": (["photo.png", "--fast"], 2, "--fast"),
    "zero bytes": (["empty.png"], 1, "0 bytes"),
    "text named png": (["text.png"], 1, "not a picture"),
    "one pixel": (["tiny.png"], 1, "too small"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
@pytest.mark.skipif(sys.platform == "darwin", reason="mps may be there")
def test_bad_requests_end_in_one_sentence_with_nothing_written(tmp_path: Path, photo: Path, name: str):
    (tmp_path / "taken.png").write_bytes(b"someone's")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello")
    Image.new("RGB", (1, 1)).save(tmp_path / "tiny.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    arguments, code, says = BAD_REQUESTS[name]
    done = command("run", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.lower().startswith("error: ")]) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_dry_run_and_skip_existing_do_nothing(tmp_path: Path, photo: Path):
    done = command("run", "photo.png", "--dry-run", cwd=tmp_path)
    assert done.stdout == "photo.png -> photo.protected.png\n"
    assert files(tmp_path) == ["photo.png"]
    (tmp_path / "photo.protected.png").write_bytes(b"earlier")
    done = command("run", "photo.png", "--skip-existing", cwd=tmp_path)
    assert done.returncode == 0
    assert "exists, skipped" in done.stderr
    assert (tmp_path / "photo.protected.png").read_bytes() == b"earlier"


def test_version_and_vaes(tmp_path: Path):
    assert command("--version", cwd=tmp_path).stdout.strip() == __version__
    assert command("run", "--version", cwd=tmp_path).stdout.strip() == __version__
    rows = [json.loads(line) for line in command("vaes", "--json", cwd=tmp_path).stdout.splitlines()]
    pocket = next(row for row in rows if row["name"] == "pocket")
    assert pocket["embedded"]
    assert pocket["at_hand"]
    assert next(row for row in rows if row["name"] == "sd21")["unavailable"]
    table = command("vaes", cwd=tmp_path).stdout.splitlines()
    assert table[0].split()[0] == "NAME"
    assert len(table) == len(rows) + 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX thing")
def test_interrupting_leaves_no_file_behind(tmp_path: Path, number: int, code: int):
    smooth_picture(256, 256).save(tmp_path / "in.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "pca_protect", "run", "in.png", "--vae", "pocket", "--steps", "100000", "-v"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not process.stderr.readline().startswith("config "):  # printed right before the optimisation
        assert process.poll() is None
    time.sleep(1)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert files(tmp_path) == ["in.png"]


def test_a_full_pipe_is_no_traceback(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "pca_protect", "vaes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert files(tmp_path) == []
