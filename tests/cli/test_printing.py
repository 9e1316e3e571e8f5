"""What a run prints, and where: results, notices, warnings and errors, with `-q`, with `--json`, and to a reader that ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result
from conftest import smooth_picture
from folders import outputs, put_pictures
from typer.testing import CliRunner

from pca_protect.cli.flags import in_flags
from pca_protect.cli.install_hint import installed_from
from pca_protect.cli.main import protect_app

QUICK = ("--steps", 1, "--preset", "paper", "--no-evaluate")

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `protect` over a folder `in`, with a picture and files that are named as pictures and are none."""
    monkeypatch.chdir(tmp_path)
    Path("in/folder.png").mkdir(parents=True)
    smooth_picture(45, 37).save("in/good.png")
    Path("in/zero.png").touch()
    Path("in/text.webp").write_text("no picture")
    Path("in/cut.jpg").write_bytes(Path("in/good.png").read_bytes()[:300])
    Path("in/notes.txt").write_text("no picture, and not named as one")
    return partial(protect, "in", "-o", "out", "--vae", tiny_folder, *QUICK)


def protect(*words: object) -> Result:
    return CliRunner().invoke(protect_app, list(map(str, words)))


BAD = {"in/zero.png", "in/text.webp", "in/cut.jpg"}


def test_files_named_as_pictures_fail_by_name_and_others_are_counted(run: Run):
    done = run()
    assert done.exit_code == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert {line.split(": ")[1] for line in errors} == BAD
    assert "1 file was ignored" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("1 protected, 3 failed in ")
    assert done.stdout.startswith(f"out{os.sep}good.protected.png: ")


def test_quiet_keeps_warnings_and_errors_alone(run: Run):
    done = run("-q", "--log-file", "log.txt")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert all(line.startswith(("error: ", "warning: ")) for line in done.stderr.splitlines())
    assert {line.split(": ")[1] for line in done.stderr.splitlines()} == BAD
    logged = Path("log.txt").read_text()
    assert "good.protected.png: diffusion" in logged
    assert "1 protected, 3 failed in " in logged
    again = run("-q")
    assert (again.exit_code, again.stdout) == (1, "")


def test_json_stays_with_quiet_and_has_a_line_for_everything(run: Run):
    *first, summary = map(json.loads, run("-q", "--json").stdout.splitlines())
    assert {line["input"] for line in first} == {*BAD, "in/good.png"}
    assert {line["input"] for line in first if "error" in line} == BAD
    assert (summary["summary"]["protected"], summary["summary"]["failed"]) == (1, 3)
    *again, summary = map(json.loads, run("-q", "--json").stdout.splitlines())
    assert [line["input"] for line in again if line.get("skipped") == "finished"] == ["in/good.png"]
    assert summary["summary"]["finished"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="closed pipes are of POSIX")
def test_a_reader_that_ends_stops_a_run_which_the_same_command_resumes(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    put_pictures(tmp_path / "photos", 3)
    words = ["photos", "-r", "-o", "out", "--vae", str(tiny_folder), *map(str, QUICK)]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pca_protect", "run", *words], stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    resumed = protect(*words)
    assert resumed.exit_code == 0
    assert len(outputs(tmp_path / "out")) == 3


def test_a_command_without_standard_streams_still_writes_its_picture(tmp_path: Path, tiny_folder: Path, photo: Path):
    """As under pythonw, or in a daemon that closed them."""
    code = (
        "import sys; sys.stdin = sys.stdout = sys.stderr = None; from pca_protect.cli.main import protect; "
        f"sys.argv = ['protect', {str(photo)!r}, '-o', 'out.png', '--vae', {str(tiny_folder)!r}, '--steps', '1']; protect()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'pca-protect[eval]'"),
        ({"url": "file:///my%20code", "dir_info": {"editable": True}}, "pip install -e '/my code[eval]'"),
        ({"url": "file:///my%20code", "dir_info": {}}, "pip install '/my code[eval]'"),
        ({"url": "file:///pca_protect-1.whl", "archive_info": {}}, "pip install 'pca-protect[eval]'"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="the paths are POSIX paths")
def test_extras_are_installed_from_where_the_program_is(
    origin: dict[str, object] | None, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    information = tmp_path / "pca_protect-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: pca-protect\nVersion: 1\n")
    if origin is not None:
        (information / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(tmp_path)
    installed_from.cache_clear()
    try:
        assert in_flags("x is not installed; run pip install 'pca-protect[eval]'").endswith(f"run {command}")
    finally:
        installed_from.cache_clear()
