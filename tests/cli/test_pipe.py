"""Pictures from standard input and to standard output, with the real command."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import smooth_picture
from PIL import Image
from typer.testing import CliRunner

from pca_protect.cli.main import protect_app
from pca_protect.errors import ModelError, UsageError

QUICK = ("--steps", "1", "--preset", "paper", "--no-evaluate")

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `protect` with bytes on standard input, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def protect(*words: object, data: bytes = b"", vae: object = tiny_folder) -> Result:
        return CliRunner().invoke(protect_app, [*map(str, words), "--vae", str(vae), *QUICK], input=data)

    return protect


def encoded(format_name: str = "PNG", seed: int = 0, **options: object) -> bytes:
    file = io.BytesIO()
    smooth_picture(45, 37, seed=seed).save(file, format_name, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def through(*words: str, data: bytes, cwd: Path, **settings: object) -> subprocess.CompletedProcess[bytes]:
    """The real command in a process of its own."""
    line = [sys.executable, "-m", "pca_protect", "run", *words, *QUICK]
    return subprocess.run(line, input=data, cwd=cwd, stderr=subprocess.PIPE, check=False, **settings)  # type: ignore[call-overload,no-any-return]


def test_a_picture_goes_through_a_pipe(tmp_path: Path, tiny_folder: Path):
    data = encoded()
    done = through("-", "-o", "-", "--vae", str(tiny_folder), data=data, cwd=tmp_path, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    change = np.asarray(opened(done.stdout)).astype(int) - np.asarray(opened(data)).astype(int)
    assert 0 < np.abs(change).max() <= 16
    assert done.stderr.startswith(b"standard output: diffusion against ")
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_are_those_of_a_file(run: Run, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(encoded())
    assert run("a.png", "-o", "b.png").exit_code == 0
    expected = (tmp_path / "b.png").read_bytes()
    assert run("-", "-o", "-", data=encoded()).stdout_bytes == expected
    assert run("a.png", "-o", "-").stdout_bytes == expected
    assert run("-", "-o", "c.png", data=encoded()).exit_code == 0
    assert (tmp_path / "c.png").read_bytes() == expected


@pytest.mark.parametrize(
    ("data", "words", "format_name"),
    [
        (encoded("JPEG"), (), "PNG"),
        (encoded("PNG"), ("--format", "webp"), "WEBP"),
        (encoded("TIFF", save_all=True, append_images=[smooth_picture(45, 37, seed=1)]), (), "TIFF"),
    ],
)
def test_the_format_is_that_of_files_or_the_one_asked_for(
    run: Run, data: bytes, words: tuple[str, ...], format_name: str
):
    assert opened(run("-", "-o", "-", *words, data=data).stdout_bytes).format == format_name


def test_records_and_failures_of_a_stream(run: Run):
    record = json.loads(run("-", "-o", "out.tiff", "--json", data=encoded()).stdout)
    assert (record["input"], record["output"]) == ("-", "out.tiff")
    failed = run("-", "-o", "other.png", "--json", data=encoded()[:300])
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["input"] == "-"
    assert failed.stderr.startswith("error: standard input: is truncated")


def test_a_file_that_exists_is_treated_as_any_output(run: Run, tmp_path: Path):
    (tmp_path / "out.png").write_bytes(b"somebody's")
    assert isinstance(run("-", "-o", "out.png", data=encoded()).exception, UsageError)
    kept = run("-", "-o", "out.png", "--existing", "skip", data=encoded())
    assert (kept.exit_code, kept.stderr) == (0, "out.png: exists, skipped\n")
    assert (tmp_path / "out.png").read_bytes() == b"somebody's"
    assert run("-", "-o", "out.png", "--existing", "overwrite", data=encoded()).exit_code == 0
    assert opened((tmp_path / "out.png").read_bytes()).size == (45, 37)


@pytest.mark.parametrize("data", [b"", b"no picture", encoded()[:300], encoded("JPEG")[:700]])
def test_what_is_no_whole_picture_writes_nothing(run: Run, data: bytes):
    done = run("-", "-o", "-", "--max-megapixels", "0.5", data=data)
    assert (done.exit_code, done.stdout_bytes) == (1, b"")
    assert done.stderr.count("\n") == 1


def test_a_stream_is_not_read_to_its_end_if_no_picture_is_that_long(run: Run):
    done = run("-", "-o", "-", "--max-megapixels", "0.5", data=bytes(80_000_000))
    assert (done.exit_code, done.stdout_bytes) == (1, b"")
    assert done.stderr.startswith("error: standard input: is longer than 71 MB")


def test_a_large_picture_is_refused_like_a_file(run: Run):
    done = run("-", "-o", "-", "--max-megapixels", "0.001", data=encoded())
    assert (done.exit_code, done.stdout_bytes) == (1, b"")
    assert "over the limit" in done.stderr


def test_an_output_of_this_program_is_refused(run: Run):
    once = run("-", "-o", "-", data=encoded()).stdout_bytes
    again = run("-", "-o", "-", data=once)
    assert isinstance(again.exception, UsageError)
    assert again.stdout_bytes == b""


def test_a_stream_never_falls_back_to_a_test_model(run: Run, tmp_path: Path):
    done = run("-", "-o", "-", "--offline", data=encoded(), vae="auto")
    assert isinstance(done.exception, ModelError)
    assert done.stdout_bytes == b""
    assert run("-", "-o", "named.png", "--offline", data=encoded(), vae="auto").exit_code == 0
    assert (tmp_path / "named.png").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("-",),
        ("-", "-o", "."),
        ("-", "-o", "s3://bucket/x"),
        ("-", "-", "-o", "-"),
        ("-", "a.png", "-o", "-"),
        ("a.png", "b.png", "-o", "-"),
        (".", "-o", "-"),
        ("s3://bucket/x.png", "-o", "-"),
        ("-", "-o", "-", "--json"),
        ("-", "-o", "-", "--dry-run"),
        ("-", "-o", "-", "--from-file", "-"),
        ("-", "-o", "-", "--shard", "1/2"),
        ("-", "-o", "-", "--errors", "errors.jsonl"),
        ("-", "-o", "-", "--engine", "ray"),
        ("-", "-o", "-", "--name", "{stem}_p{ext}"),
        ("-", "-o", "-", "--format", "jpg"),
        ("-", "-o", "x.jpg"),
        ("-", "-o", "x.png", "--format", "webp"),
    ],
)
def test_what_no_stream_can_be_is_refused(run: Run, tmp_path: Path, words: tuple[str, ...]):
    done = run(*words, data=encoded())
    assert isinstance(done.exception, UsageError)
    assert done.stdout_bytes == b""
    assert list(tmp_path.iterdir()) == []


def test_quiet_leaves_the_picture_alone(run: Run):
    done = run("-", "-o", "-", "-q", data=encoded())
    assert opened(done.stdout_bytes).size == (45, 37)
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo terminals and closed pipes are of POSIX")
def test_terminals_are_refused_and_a_reader_that_ends_is_no_error(tmp_path: Path, tiny_folder: Path):
    import pty

    terminal, side = pty.openpty()
    words = ("-", "-o", "-", "--vae", str(tiny_folder))
    try:
        shown = through(*words, data=encoded(), cwd=tmp_path, stdout=side)
        typed = subprocess.run(
            [sys.executable, "-m", "pca_protect", "run", *words],
            stdin=side,
            capture_output=True,
            cwd=tmp_path,
            check=False,
        )
    finally:
        os.close(side)
        os.close(terminal)
    assert (shown.returncode, typed.returncode, typed.stdout) == (2, 2, b"")
    reading, writing = os.pipe()
    os.close(reading)
    gone = through(*words, data=encoded(), cwd=tmp_path, stdout=writing)
    os.close(writing)
    assert gone.returncode == 141
    assert gone.stderr == b""
