"""`auto`: the Stable Diffusion VAE if it is available, otherwise an embedded model that nobody can mistake for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result
from conftest import smooth_picture
from folders import Recorder, outputs, put_pictures
from huggingface_hub import constants
from PIL import Image
from typer.testing import CliRunner

from pca_protect import FallbackWarning, ModelError, ProtectConfig, UsageError, load_surrogate, protect
from pca_protect.batch.begin import classify_inputs, find
from pca_protect.batch.device_choice import DeviceChoice
from pca_protect.batch.preview import preview
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.cli.main import protect_app
from pca_protect.cli.picture_summary import summary_line
from pca_protect.io.header import read_header
from pca_protect.io.marker import MARKER_KEY
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.families import explain
from pca_protect.surrogates.load import load_surrogates
from pca_protect.surrogates.registry import PREFERRED, REGISTRY
from pca_protect.surrogates.resolve import Resolved, downloads, resolve

QUICK = ProtectConfig(preset="paper", steps=1, device="cpu")

Cache = Callable[[], None]


@pytest.fixture
def cache_sd(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """An empty hub cache; calling this puts a tiny VAE into it as the Stable Diffusion VAE."""
    cache = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def fill() -> None:
        repository = cache / f"models--{REGISTRY[PREFERRED].repo_id.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        shutil.copytree(tiny_folder, repository / "snapshots" / ("0" * 40))

    return fill


@pytest.fixture
def deaf_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network is permitted, and no hub answers."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def command(*arguments: object) -> Result:
    """One step. A Python warning beside what the program says would be an error here."""
    return CliRunner().invoke(protect_app, [*map(str, arguments), "--preset", "paper", "--steps", "1"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_auto_is_replaced(cache_sd: Cache):
    assert resolve(("sd", "owner/model"), offline=True) == Resolved(("sd", "owner/model"))
    fallen = resolve(("auto",), offline=True)
    assert (fallen.names, fallen.test_only) == (("pocket",), True)
    assert fallen.fallback_warning.startswith("test only: not protected against any real editor")
    assert "not in the local cache" in fallen.fallback_warning
    assert resolve(("pocket", "pocket-16"), offline=True).test_only
    assert not resolve(("pocket", "owner/model"), offline=True).test_only
    assert not resolve(("auto", "sdxl"), offline=True).test_only, "one encoder of an editor protects"
    with pytest.raises(ModelError, match="not in the local cache"):
        resolve(("auto",), offline=True, fallback=False)
    cache_sd()
    assert resolve(("auto", "pocket"), offline=True, fallback=False) == Resolved(("sd", "pocket"))


def test_python_is_warned_once(photo: Path, cache_sd: Cache):
    with pytest.warns(FallbackWarning, match="test only: not protected against any real editor") as caught:
        result = protect(photo, QUICK)
    (fallback,) = (one for one in caught if issubclass(one.category, FallbackWarning))
    assert result.record.test_only
    assert result.record.vae["name"] == "pocket"
    assert result.record.warnings[0] == str(fallback.message)
    with pytest.warns(FallbackWarning):
        assert load_surrogate("auto", device="cpu").embedded
    with pytest.raises(ModelError, match="not in the local cache"):
        load_surrogate("auto", fallback=False)
    with pytest.raises(ModelError, match="not in the local cache"):
        load_surrogates(["auto", "pocket-16"], fallback=False)
    cache_sd()
    assert load_surrogate("auto", device="cpu").name == "sd"


def test_one_encoder_of_an_editor_makes_a_protection(tiny_folder: Path):
    assert load_surrogates(["pocket", "pocket-16"], device="cpu").embedded
    assert not load_surrogates(["pocket", str(tiny_folder)], device="cpu").embedded


def test_a_fallback_shows_everywhere(photo: Path, cache_sd: Cache, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photo.parent)
    done = command(photo.name)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("test only: photo.test-only.png: ")
    said = [line for line in done.stderr.splitlines() if line.startswith("warning: test only: not protected")]
    assert len(said) == 1
    assert names(photo.parent) == ["photo.png", "photo.test-only.png"]
    output = photo.parent / "photo.test-only.png"
    header = read_header(output)
    assert header is not None
    assert header.ours, "a folder run leaves it out"
    with Image.open(output) as image:
        assert json.loads(image.info[MARKER_KEY])["test_only"] is True
    done = command(photo.name, "-o", "named.png", "--json")
    record = json.loads(done.stdout)
    assert (record["output"], record["test_only"]) == ("named.png", True)


def test_outputs_of_a_chosen_test_model_are_named_so(photo: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photo.parent)
    done = command(photo.name, "--vae", "pocket")
    assert done.stdout.startswith("test only: photo.test-only.png: ")
    done = command(photo.name, "--vae", "pocket", "--name", "{stem}_mine{ext}")
    assert done.stdout.startswith("test only: photo_mine.png: "), "a template given with a test model stays as given"
    done = command(photo.name, "--vae", tiny_folder, "-o", "real.png")
    assert done.stdout.startswith("real.png: ")
    done = command(photo.name, "--vae", tiny_folder, "--overwrite", "--json")
    assert json.loads(done.stdout)["test_only"] is False


def test_no_fallback_writes_nothing(photo: Path, cache_sd: Cache, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photo.parent)
    for more in ([], ["--dry-run"], ["--vae", "auto", "--vae", "pocket-16"]):
        done = command(photo.name, "--no-fallback", *more)
        assert isinstance(done.exception, ModelError)
        assert done.exception.exit_code == 3
        assert "not in the local cache" in str(done.exception)
    assert names(photo.parent) == ["photo.png"]
    done = command(photo.name, "--no-fallback", "--vae", "pocket")
    assert done.exit_code == 0, "an explicit choice is no fallback"


def test_a_folder_is_done_again_once_the_model_is_there(tmp_path: Path, cache_sd: Cache):
    request = Request((str(put_pictures(tmp_path / "photos", 3)),), output=tmp_path / "out", recursive=True)
    assert run(request, QUICK, Recorder()).protected == 3
    test_only = outputs(tmp_path / "out")
    assert set(test_only) == {"000.test-only.png", "001.test-only.png", "deeper/002.test-only.png"}
    assert run(request, QUICK, Recorder()).finished == 3
    cache_sd()
    assert run(request, QUICK, Recorder()).protected == 3
    both = outputs(tmp_path / "out")
    protected = set(both) - set(test_only)
    assert protected == {"000.protected.png", "001.protected.png", "deeper/002.protected.png"}
    assert test_only.items() <= both.items()
    with pytest.raises(UsageError, match="6 files were left out: outputs of this program"):
        run(replace(request, names=(str(tmp_path / "out"),), output=tmp_path / "more"), QUICK, Recorder())


@pytest.mark.usefixtures("cache_sd")
def test_the_device_chooses_the_size_of_the_test_editors_after_a_fallback(tmp_path: Path):
    photos = put_pictures(tmp_path / "photos", 2)
    request = Request((str(photos),), output=tmp_path / "out", recursive=True, device_choice=DeviceChoice())
    observer = Recorder()
    assert run(request, QUICK, observer).protected == 2
    assert observer.config is not None
    assert observer.config.scales == preview(request, QUICK).config.scales == (256,)
    assert run(request, QUICK, Recorder()).finished == 2


def test_a_fallback_repeats_nothing_that_is_protected(tmp_path: Path, cache_sd: Cache, monkeypatch: pytest.MonkeyPatch):
    photos = put_pictures(tmp_path / "photos", 3)
    request = Request((str(photos),), output=tmp_path / "out", recursive=True)
    cache_sd()
    run(request, QUICK, Recorder())
    smooth_picture(16, 24, seed=9).save(photos / "new.png")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nowhere"))
    before = outputs(tmp_path / "out")
    shown = preview(request, QUICK)
    assert [Path(job.target).name for job in shown.jobs] == [
        "000.protected.png",
        "001.protected.png",
        "new.test-only.png",
        "002.protected.png",
    ]
    summary = run(request, QUICK, Recorder())
    assert (summary.finished, summary.protected) == (3, 1)
    after = outputs(tmp_path / "out")
    assert set(after) - set(before) == {"new.test-only.png"}
    assert before.items() <= after.items()
    (photos / "new.png").unlink()
    (tmp_path / "out" / "000.protected.png").write_bytes(b"someone's")
    with pytest.raises(UsageError, match="exists already"):
        run(request, QUICK, Recorder())
    assert run(replace(request, existing="overwrite"), QUICK, Recorder()).protected == 1
    assert (tmp_path / "out" / "000.protected.png").read_bytes() == b"someone's", "never replaced by a test-only file"


@pytest.mark.usefixtures("cache_sd")
def test_nothing_is_downloaded_for_a_request_with_nothing_to_do(photo: Path):
    def refuse() -> Resolved:
        raise AssertionError("would download")

    settled = partial(classify_inputs, config=QUICK, resolve=refuse, weights_digest=lambda _: None)
    (photo.parent / "broken.png").write_bytes(photo.read_bytes()[:20])
    for name in ("broken.png", "missing.png"):
        request = Request((str(photo.parent / name),), output=None)
        found = settled(find(request), request)
        assert (found.statuses, found.resolved) == (["to do"], None)
    request = Request((str(photo),), output=None)
    with pytest.raises(AssertionError, match="would download"):
        settled(find(request), request)
    (photo.parent / "photo.protected.png").write_bytes(b"someone's")
    with pytest.raises(UsageError, match="exists already"):
        settled(find(request), request)
    request = replace(request, existing="skip")
    assert settled(find(request), request).resolved is None


@pytest.mark.usefixtures("cache_sd", "deaf_network")
def test_a_dry_run_says_what_the_names_depend_on(photo: Path, monkeypatch: pytest.MonkeyPatch):
    assert downloads(("auto",), offline=False) == ("sd",)
    assert not downloads(("auto",), offline=True)
    assert not downloads(("sdxl",), offline=False)
    monkeypatch.chdir(photo.parent)
    unknown = command(photo.name, "--dry-run")
    assert unknown.stdout == "photo.png -> photo.protected.png\n"
    assert "`sd` is not in the local cache and would be downloaded; if that fails" in unknown.stderr
    assert "no estimate of the time: sd has to be downloaded first" in unknown.stderr
    offline = command(photo.name, "--dry-run", "--offline")
    assert offline.stdout == "photo.png -> photo.test-only.png (test only)\n"
    assert "test only: not protected against any real editor" in offline.stderr
    assert "about" in offline.stderr.splitlines()[-1]


def test_a_dry_run_with_the_model_in_the_cache(photo: Path, cache_sd: Cache):
    cache_sd()
    shown = preview(Request((str(photo),), output=None), QUICK)
    assert (shown.resolved, shown.downloads, shown.messages) == (Resolved(("sd",)), (), explain(("auto",), ("sd",), ()))
    assert shown.jobs[0].target.endswith("photo.protected.png")


def test_a_picture_that_was_not_evaluated(photo: Path, pocket: Surrogate):
    record = protect(photo, QUICK, surrogate=pocket).record
    without = replace(record, output="photo.protected.png", psnr_db=None, protected=None, noise=None)  # type: ignore[arg-type]
    line = summary_line(without, input_bytes=0, output_bytes=0, verbose=True)
    assert line.startswith("test only: photo.protected.png: diffusion against pocket, not evaluated, ")
    assert ", not evaluated, " in line
    assert "PSNR" not in line
    assert "unchanged" not in line
