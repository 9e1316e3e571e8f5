"""`pca-protect universal`: train, list, export and add."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_picture
from typer.testing import CliRunner

from pca_protect.cli.main import app, protect_app
from pca_protect.errors import UsageError
from pca_protect.io.read import read_picture
from pca_protect.universals import store
from pca_protect.universals.files import read_universals


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        smooth_picture(66, 70, seed=number).save(folder / f"{number}.png")
    return folder


def call(*words: object, program=app):
    found = CliRunner().invoke(program, [str(word) for word in words])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found


def test_a_trained_tile_moves_to_another_machine(
    photos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ("universal", "train", "--vae", tiny_folder, "--images", photos, "--steps", 1, "--device", "cpu")
    trained = call(*words, "--mode", "concentration")
    path = Path(trained.stdout.strip())
    assert path.parent == store.cache_folder()
    assert "1 of 1 steps" in trained.stderr
    written = path.stat().st_mtime_ns
    assert "exists" in call(*words, "--mode", "concentration").stderr
    assert path.stat().st_mtime_ns == written

    rows = [json.loads(line) for line in call("universal", "list", "--json").stdout.splitlines()]
    (row,) = [row for row in rows if row["place"] == str(path)]
    assert (row["mode"], row["budget_levels"], row["steps"]) == ("concentration", 16, 1)
    assert path.name in call("universal", "list").stdout

    exported = tmp_path / "tile.safetensors"
    call("universal", "export", row["key"][:12], exported)
    assert exported.read_bytes() == path.read_bytes()

    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path / "elsewhere"))
    protect = (photos / "0.png", "--vae", tiny_folder, "--preset", "instant", "--mode", "concentration", "--json")
    with pytest.raises(UsageError, match="none is trained"):
        call(*protect, program=protect_app)
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    call(*protect, "--universal", exported, "-o", one, program=protect_app)
    assert call("universal", "add", exported).stdout.strip().startswith(str(tmp_path / "elsewhere"))
    call(*protect, "-o", other, program=protect_app)
    assert np.array_equal(read_picture(one).rgb, read_picture(other).rgb)


def test_a_file_of_its_own_leaves_the_cache_alone(photos: Path, tiny_folder: Path, tmp_path: Path):
    path = tmp_path / "new" / "tile.safetensors"
    call("universal", "train", "--vae", tiny_folder, "--images", photos, "--steps", 1, "-o", path)
    assert [one.mode for one in read_universals(path)] == ["diffusion"]
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert not store.cache_folder().exists()


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--images", "photos", "--mode", "loud"),
        ("train", "--images", "missing", "--vae", "pocket"),
        ("train", "--images", "photos", "--mode", "subtle", "--mode", "diffusion", "-o", "one.safetensors"),
        ("export", "nothing-like-it", "tile.safetensors"),
        ("export", "", "tile.safetensors"),
        ("add", "missing.safetensors"),
    ],
)
def test_mistakes_are_named_and_write_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        call("universal", *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
