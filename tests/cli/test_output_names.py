"""Templates and formats of outputs, given on the command line; reruns recognise them."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result
from conftest import smooth_picture
from folders import put_pictures
from PIL import Image
from typer.testing import CliRunner

from pca_protect.cli.flags import in_flags
from pca_protect.cli.main import protect_app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `protect` in a folder with pictures in `photos`."""
    monkeypatch.chdir(tmp_path)
    put_pictures(tmp_path / "photos", 3)
    return partial(protect, "--vae", tiny_folder, "--steps", 1, "--preset", "paper", "--no-evaluate")


def protect(*words: object) -> Result:
    return CliRunner().invoke(protect_app, list(map(str, words)))


def made(folder: Path | str) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.as_posix().startswith(f"{folder}/.pca_protect")
    )


def test_a_template_and_a_format_name_a_folder_and_a_rerun_knows_its_outputs(run: Run):
    template = ("photos", "-r", "-o", "out", "--name", "{number:02}-{stem}_p{ext}", "--format", "webp")
    assert run(*template).exit_code == 0
    assert made("out") == ["01-000_p.webp", "02-001_p.webp", "deeper/03-002_p.webp"]
    with Image.open("out/01-000_p.webp") as picture:
        assert picture.format == "WEBP"
    assert run(*template).stderr.splitlines()[-1].startswith("0 protected, 3 finished before")
    shards = [run(*template[:3], "parts", *template[4:], "--shard", f"{index}/2") for index in (1, 2)]
    assert [shard.exit_code for shard in shards] == [0, 0]
    assert made("parts") == made("out")


def test_a_template_with_slashes_is_the_whole_path(run: Run):
    assert run("photos", "-r", "-o", "flat", "--name", "./{stem}{ext}").exit_code == 0
    assert made("flat") == ["000.png", "001.png", "002.png"]
    assert run("photos", "-r", "-o", "deep", "--name", "{parent}/safe/{stem}{ext}").exit_code == 0
    assert made("deep") == ["deeper/safe/002.png", "safe/000.png", "safe/001.png"]


def test_outputs_beside_pictures_take_the_template_and_are_no_inputs_of_the_next_run(run: Run):
    assert run("photos/000.png", "--name", "{name}.safe{ext}", "--format", "tiff").exit_code == 0
    assert "000.png.safe.tiff" in made("photos")
    done = run("photos", "-o", "out")
    assert "1 file was left out: outputs of this program" in done.stderr
    assert made("out") == ["000.protected.png", "001.protected.png"]


def test_pictures_that_get_one_name_fail_and_the_others_are_done(run: Run, tmp_path: Path):
    smooth_picture(16, 24, seed=5).save(tmp_path / "photos" / "deeper" / "000.png")
    done = run("photos", "-r", "-o", "out", "--name", "./{stem}{ext}")
    assert done.exit_code == 1
    assert made("out") == ["001.png", "002.png"]
    assert done.stderr.count("photos/000.png and photos/deeper/000.png would both be written to out/000.png") == 2
    assert run("photos", "-r", "-o", "out", "--name", "{stem}{ext}").exit_code == 0


def test_a_fallback_marks_any_name(run: Run):
    done = protect("photos/000.png", "--offline", "--steps", 1, "--name", "{stem}-safe{ext}", "--no-evaluate")
    assert done.exit_code == 0
    assert "000-safe.test-only.png" in made("photos")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("photos/000.png", "--name", "{title}{ext}"), "has no field {title}"),
        (("photos/000.png", "--name", "new/{stem}{ext}"), "need an output folder; add -o FOLDER"),
        (("photos/000.png", "-o", "x.png", "--name", "{stem}{ext}"), "leave one of them out"),
        (("photos/000.png", "-o", "x.png", "--format", "tiff"), "does not fit --format tiff"),
        (("photos/000.png", "--format", "jpg"), "is not a lossless format; choose png, webp, tiff"),
    ],
)
def test_names_that_cannot_be_are_refused(run: Run, words: tuple[str, ...], says: str):
    before = made("photos")
    done = run(*words)
    assert says in in_flags(str(done.exception))
    assert made("photos") == before


def test_a_format_serves_formats_with_pages_alike(run: Run, tmp_path: Path):
    pages = io.BytesIO()
    first, second = (smooth_picture(20, 16, seed=seed) for seed in (1, 2))
    first.save(pages, "TIFF", save_all=True, append_images=[second])
    (tmp_path / "pages.tif").write_bytes(pages.getvalue())
    assert run("pages.tif").exit_code == 0
    assert (tmp_path / "pages.protected.tiff").exists()
    assert run("pages.tif", "--format", "png").exit_code == 0
    with Image.open("pages.protected.png") as picture:
        assert picture.n_frames == 2  # type: ignore[attr-defined]
