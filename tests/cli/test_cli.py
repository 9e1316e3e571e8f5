"""The commands, run in processes of their own and through Typer's runner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import smooth_picture, tiny_kl
from PIL import Image
from typer.testing import CliRunner

from pca_protect import UsageError, __version__
from pca_protect.cli import console
from pca_protect.cli.main import app, protect_app
from pca_protect.cli.picture_summary import in_words
from pca_protect.cli.progress import Bar
from pca_protect.modes import MODES


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
    first, bad, second, last = map(json.loads, done.stdout.splitlines())
    assert {name: last["summary"][name] for name in ("protected", "failed", "total")} == {
        "protected": 2,
        "failed": 1,
        "total": 3,
    }
    assert (first["output"], second["output"]) == ("photo.test-only.png", "second.test-only.png")
    assert bad["input"] == "bad.png"
    assert "recognised image format" in bad["error"]
    assert "error: bad.png: is not in a recognised" in done.stderr
    assert "\ntest only: 2 written, 1 failed in " in done.stderr
    assert done.stderr.count("warning: `pocket` is a test model") == 1
    for name in ("photo", "second"):
        assert (tmp_path / f"{name}.test-only.png").exists()
    change = np.abs(np.asarray(Image.open(photo)).astype(int) - np.asarray(Image.open(tmp_path / first["output"])))
    assert change.max() == first["max_change_levels"]


def test_summary_line_says_what_matters(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch):
    run = partial(in_process, photo.name, "--vae", "pocket", "--steps", 2, cwd=tmp_path, monkeypatch=monkeypatch)
    (line,) = run("--mode", "concentration").stdout.splitlines()
    for part in (
        "photo.test-only.png",
        "concentration against pocket",
        "latent shift",
        "(random noise: ",
        " kB became ",
    ):
        assert part in line
    assert "PSNR" not in line
    (line,) = run("-v", "-o", "more.png").stdout.splitlines()
    for part in ("levels", "PSNR", "gain over noise", "2 steps", "MB"):
        assert part in line


@pytest.mark.parametrize(
    ("levels", "words"), [(0.1, "invisible"), (0.5, "hard to see"), (1.0, "smooth areas"), (1.5, "clearly visible")]
)
def test_visibility_in_words(levels: float, words: str):
    assert words in in_words(levels)


def test_what_may_be_seen_and_has_to_last_and_several_encoders(
    tmp_path: Path, photo: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    tiny_kl(latent_channels=16, seed=4).save_pretrained(tmp_path / "other")
    vaes = ("--vae", tiny_folder, "--vae", tmp_path / "other")
    options = ("--mode", "subtle", "--max-visibility", 0.4, "--survive", "social", "--steps", 3, "--for-unknown")
    run = partial(in_process, photo.name, *vaes, *options, cwd=tmp_path, monkeypatch=monkeypatch)
    done = run("--json", "-o", "a.png")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    asked = {name: record["config"][name] for name in ("mode", "max_visibility", "survive", "vae", "for_unknown")}
    assert asked == {
        "mode": "subtle",
        "max_visibility": 0.4,
        "survive": "social",
        "vae": [str(tiny_folder), str(tmp_path / "other")],
        "for_unknown": True,
    }
    assert 0 < record["visible_levels"] <= 0.4
    assert record["vae"]["name"] == f"{tiny_folder} + {tmp_path / 'other'}"
    (line,) = run("-o", "b.png").stdout.splitlines()
    assert f"subtle against {record['vae']['name']}" in line
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "about" in run("-o", "c.png", "--dry-run").stderr
    assert not (tmp_path / "c.png").exists()


def test_encoders_that_make_no_ensemble_write_nothing(
    tmp_path: Path, photo: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    tiny_kl().save_pretrained(tmp_path / "copy")
    broken = tiny_kl(seed=5)
    broken.encoder.conv_out.bias.data.fill_(1e20)
    broken.quant_conv.weight.data.fill_(1e20)  # their product overflows
    broken.save_pretrained(tmp_path / "broken")
    before = files(tmp_path)
    run = partial(in_process, photo.name, "--vae", tiny_folder, cwd=tmp_path, monkeypatch=monkeypatch)
    same = run("--vae", "copy").exception
    assert isinstance(same, UsageError)
    assert "vae and copy have the same weights; give one of them" in str(same)
    unknown = run("--vae", "pokcet").exception
    assert isinstance(unknown, UsageError)
    assert "did you mean pocket?" in str(unknown)
    for mode in MODES:
        done = run("--vae", "broken", "--mode", mode, "--steps", 2, "-q")
        assert done.exit_code == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: photo.png: the encoder returned a value that is not finite at step 0; ")
    assert files(tmp_path) == before


BAD_REQUESTS = {
    "missing file": (["nowhere.png"], 1, "nowhere.png: no such file"),
    "folder without a place for its outputs": (["."], 2, "add -o FOLDER"),
    "pattern that nothing matches": (["*.gif"], 2, "matches nothing"),
    "no picture": (["--offline"], 2, "no picture given"),
    "list that is not there": (["--from-file", "list.txt"], 2, "--from-file list.txt: cannot be read"),
    "errors over a picture": (["photo.png", "--errors", "text.png"], 2, "not a list of errors"),
    "unknown engine": (["photo.png", "--engine", "cloud"], 2, "unknown engine 'cloud'"),
    "unknown mode": (["photo.png", "--mode", "smash"], 2, "unknown mode 'smash'"),
    "unknown vae": (["photo.png", "--vae", "pokcet"], 2, "did you mean pocket?"),
    "unknown device": (["photo.png", "--device", "gpu"], 2, "unknown device 'gpu'"),
    "absent device": (["photo.png", "--vae", "pocket", "--device", "mps"], 3, "device mps is not available"),
    "absent index": (["photo.png", "--vae", "pocket", "--device", "cuda:7"], 3, "device cuda:7 is not available"),
    "absent model": (["photo.png", "--vae", "sd", "--offline"], 3, "not in the local cache"),
    "budget 0": (["photo.png", "--budget", "0"], 2, "budget 0"),
    "budget -1": (["photo.png", "--budget", "-1"], 2, "budget -1"),
    "budget 300": (["photo.png", "--budget", "300"], 2, "budget 300"),
    "budget words": (["photo.png", "--budget", "much"], 2, "--budget"),
    "output is the input": (["photo.png", "-o", "photo.png"], 2, "originals are never replaced"),
    "output folder missing": (["photo.png", "-o", "out/x.png"], 2, "no such folder"),
    "output exists": (["photo.png", "-o", "taken.png"], 2, "exists already"),
    "lossy output": (["photo.png", "-o", "x.jpg"], 2, "--allow-lossy"),
    "two ways at once": (["photo.png", "--overwrite", "--skip-existing"], 2, "mutually exclusive"),
    "target variance": (["photo.png", "--target-variance", "wide"], 2, "neither a number nor"),
    "max visibility 0": (["photo.png", "--max-visibility", "0"], 2, "max visibility 0.0 is out of range"),
    "max visibility nan": (["photo.png", "--max-visibility", "nan"], 2, "max visibility nan"),
    "max visibility words": (["photo.png", "--max-visibility", "little"], 2, "--max-visibility"),
    "for unknown with one encoder": (["photo.png", "--for-unknown", "--vae", "pocket"], 2, "needs several encoders"),
    "unknown survive": (["photo.png", "--survive", "fax"], 2, "unknown upload to survive 'fax'; choose jpeg or social"),
    "subtle with a direction": (
        ["photo.png", "--mode", "subtle", "--direction", "down"],
        2,
        "mode subtle takes no target variance",
    ),
    "subtle with a target": (
        ["photo.png", "--mode", "subtle", "--target-variance", "1"],
        2,
        "mode subtle takes no target variance",
    ),
    "one vae twice": (["photo.png", "--vae", "pocket", "--vae", "pocket"], 2, "give each once"),
    "unknown option": (["photo.png", "--fast"], 2, "--fast"),
    "zero bytes": (["empty.png"], 1, "0 bytes"),
    "text named png": (["text.png"], 1, "recognised image format"),
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
    assert done.stdout == "photo.png -> photo.test-only.png (test only)\n"
    assert files(tmp_path) == ["photo.png"]
    (tmp_path / "photo.protected.png").write_bytes(b"earlier")
    done = command("run", "photo.png", "--skip-existing", cwd=tmp_path)
    assert done.returncode == 0
    assert "exists, skipped" in done.stderr
    assert (tmp_path / "photo.protected.png").read_bytes() == b"earlier"


def in_process(*arguments: object, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Runs `protect` without a new process, for tests that need none."""
    monkeypatch.chdir(cwd)
    return CliRunner().invoke(protect_app, list(map(str, arguments)))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_odd_names_are_one_line_each(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    names = [os.fsdecode(name) for name in (b"new\nline.png", "emoji 😀.png".encode(), b"bytes \xff\x1b[2J.png")]
    for name in names:
        (tmp_path / "in").mkdir(exist_ok=True)
        smooth_picture(16, 24).save(tmp_path / "in" / name)
    (tmp_path / "in" / "bad\nname.png").write_bytes((tmp_path / "in" / names[0]).read_bytes()[:90])
    run = partial(
        in_process, "in", "-o", "out", "--vae", tiny_folder, "--steps", 1, cwd=tmp_path, monkeypatch=monkeypatch
    )
    planned = run("--dry-run")
    assert len(planned.stdout.splitlines()) == 4
    assert "in/new\\nline.png -> out/new\\nline.protected.png" in planned.stdout.splitlines()
    assert "4 pictures, 0.00154 megapixels: about 1 s" in planned.stderr
    done = run("--json")
    *lines, _ = map(json.loads, done.stdout.splitlines())
    assert {line["input"] for line in lines} == {f"in/{name}" for name in (*names, "bad\nname.png")}
    assert [line for line in done.stderr.splitlines() if line.startswith("error: in/bad\\nname.png: is truncated")]
    assert "\x1b" not in done.stderr + done.stdout
    assert done.stderr.splitlines()[-1].startswith("3 protected, 1 failed in ")
    assert done.exit_code == 1
    again = run()
    assert again.stderr.splitlines()[-1].startswith("0 protected, 3 finished before, 1 failed in ")
    assert again.stdout == ""
    assert sum("finished, skipped" in line for line in run("--dry-run").stdout.splitlines()) == 3


def test_many_failures_do_not_bury_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = [f"{number}.png" for number in range(25)]
    done = in_process(*names, cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.exit_code == 1
    *listed, rest, summary = done.stderr.splitlines()
    assert len(listed) == 20
    assert rest == "and 5 more; use --errors FILE to record all"
    assert summary.startswith("0 protected, 25 failed")
    in_process(*names, "--errors", "errors.jsonl", cwd=tmp_path, monkeypatch=monkeypatch)
    assert len((tmp_path / "errors.jsonl").read_text().splitlines()) == 25
    done = in_process("--from-file", "errors.jsonl", cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.stderr.splitlines()[-1].startswith("0 protected, 25 failed")
    (tmp_path / "errors.jsonl").write_text("")
    done = in_process("--from-file", "errors.jsonl", cwd=tmp_path, monkeypatch=monkeypatch)
    assert (done.exit_code, done.stderr) == (0, "errors.jsonl: lists no pictures; nothing to do\n")


def test_the_estimate_of_a_dry_run_needs_no_download(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch):
    done = in_process(photo.name, "--vae", "sd", "--dry-run", cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.exit_code == 0
    assert "\n1 picture; no estimate of the time: " in done.stderr


def test_metadata_options_reach_the_file(
    tmp_path: Path, photo: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    exif = Image.Exif()
    exif[0x013B] = "the artist"
    smooth_picture(45, 37).save(photo, exif=exif)
    run = partial(in_process, photo.name, "--vae", tiny_folder, "--steps", 1, cwd=tmp_path, monkeypatch=monkeypatch)
    run("-o", "kept.png")
    run("-o", "stripped.png", "--strip-metadata", "--notice", "do not train on this")
    with Image.open(tmp_path / "kept.png") as kept, Image.open(tmp_path / "stripped.png") as stripped:
        assert kept.getexif()[0x013B] == "the artist"
        assert 0x013B not in stripped.getexif()
    assert b"do not train on this" in (tmp_path / "stripped.png").read_bytes()
    done = run("-o", "small.png", "--max-megapixels", 0.0015)
    assert done.exit_code == 1
    assert "over the limit" in done.stderr


@pytest.mark.parametrize("group", [[], ["bench"], ["universal"]])
def test_the_list_of_commands_fits_into_80_columns(group: list[str]):
    shown = CliRunner().invoke(app, [*group, "--help"], terminal_width=80).stdout
    listed = shown.partition("Commands:\n")[2].splitlines()
    assert len(listed) >= 4
    assert [line for line in listed if line.endswith("...") or len(line) > 80] == []


def test_the_bar_counts_pictures_and_keeps_results_on_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich is concerned
    bar = Bar(shown=True)
    bar.begin([1.0, 1.0, 1.0])
    bar.pictures("new\nline.png", [1.0])
    bar.step(1, 2, 5.0)
    bar.done(1.0, failed=True)
    bar.print_above(lambda: console.result("a result"))
    assert bar._count() == "1/3, 1 failed"
    bar.end()
    written = capsys.readouterr()
    assert written.out == "a result\n"
    assert "a result" not in written.err
    assert "new\\nline.png" in written.err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (99.4, "99 s"), (179, "3 min"), (5900, "98 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str):
    assert console.duration(seconds) == text


def test_version_and_vaes(tmp_path: Path):
    assert command("--version", cwd=tmp_path).stdout.strip() == __version__
    assert command("run", "--version", cwd=tmp_path).stdout.strip() == __version__
    rows = [json.loads(line) for line in command("vaes", "--json", cwd=tmp_path).stdout.splitlines()]
    pocket = next(row for row in rows if row["name"] == "pocket")
    assert pocket["embedded"]
    assert pocket["is_cached"]
    flux1 = next(row for row in rows if row["name"] == "flux1")
    assert flux1["covers"] == ["Z-Image"]
    assert "FLUX.1 dev" in flux1["covers_unverified"]
    table = command("vaes", cwd=tmp_path).stdout.splitlines()
    assert table[0].split()[0] == "NAME"
    assert any(line.startswith("flux1 ") and "Z-Image, FLUX.1 dev?" in line for line in table)
    kontext = next(row for row in rows if row["name"] == "kontext")
    assert (kontext["kind"], kontext["vae"], kontext["is_verified"]) == ("program", "flux1", False)
    editors = next(row for row in rows if row["name"] == "editors")
    assert (editors["kind"], editors["members"]) == ("family", ["flux1", "flux2", "qwen-image"])
    assert len(table) == len(rows) + 5, "three headings and two empty lines"


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
    assert process.returncode == code, stderr
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
