"""Families and programs: what their names stand for, and what happens where encoders of a family are unavailable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import Result
from conftest import smooth_picture, tiny_kl
from folders import Recorder, put_pictures
from fresh_python import run_python
from hub_server import GATED, HubServer, Repository, hub_server
from huggingface_hub import constants
from pretended_device import pretending
from typer.testing import CliRunner

from pca_protect import FallbackWarning, ModelError, ProtectConfig, UsageError, load_surrogate, protect
from pca_protect.batch.preview import preview
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.cli.main import protect_app
from pca_protect.surrogates.families import AUTO, FAMILIES, PROGRAMS, expand, explain, scales_of
from pca_protect.surrogates.load import load_surrogates
from pca_protect.surrogates.registry import REGISTRY
from pca_protect.surrogates.resolve import Resolved, downloads, foresee, resolve, resolve_cached

ONE_MEGAPIXEL = ("1mp", "native")
EDITORS = FAMILIES["editors"].members
QUICK = ProtectConfig(preset="paper", steps=1, device="cpu", vae="editors")

Cache = Callable[..., None]


@pytest.fixture(scope="session")
def vae_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny VAE with weights of its own for every encoder of `today`."""
    folder = tmp_path_factory.mktemp("families")
    for seed, name in enumerate(FAMILIES["today"].members):
        tiny_kl(seed=seed).save_pretrained(folder / name)
    return {name: folder / name for name in FAMILIES["today"].members}


@pytest.fixture
def cached(
    tmp_path_factory: pytest.TempPathFactory, vae_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Cache:
    """An empty hub cache; calling this puts encoders into it."""
    cache = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def fill(*names: str) -> None:
        for name in names:
            repository = cache / f"models--{REGISTRY[name].repo_id.replace('/', '--')}"
            (repository / "refs").mkdir(parents=True)
            (repository / "refs" / "main").write_text("0" * 40)
            shutil.copytree(vae_folders[name], repository / "snapshots" / ("0" * 40) / REGISTRY[name].subfolder)

    return fill


@pytest.fixture
def hub(vae_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that has every encoder of `today`, and a network that leads to it."""
    with hub_server() as server:
        for name, folder in vae_folders.items():
            prefix = f"{REGISTRY[name].subfolder}/" if REGISTRY[name].subfolder else ""
            files = {prefix + path.name: path.read_bytes() for path in folder.iterdir()}
            server.repositories[REGISTRY[name].repo_id] = Repository(files)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = f"{server.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    smooth_picture(40, 24).save(path)
    return path


def command(*arguments: object) -> Result:
    return CliRunner().invoke(protect_app, [*map(str, arguments), "--preset", "paper", "--steps", "1"])


def test_names_are_known_once_and_their_claims_are_those_of_the_registry():
    known = [*REGISTRY, *FAMILIES, *PROGRAMS, AUTO]
    assert len(set(known)) == len(known)
    for family in FAMILIES.values():
        assert set(family.members) <= REGISTRY.keys()
    for name, program in PROGRAMS.items():
        assert program.model in REGISTRY[program.vae].covers + REGISTRY[program.vae].covers_unverified, name
    assert PROGRAMS["qwen-image-edit"].is_verified
    assert not PROGRAMS["kontext"].is_verified
    assert set(FAMILIES["today"].members) == {*FAMILIES["classic"].members, *EDITORS}


def test_names_are_expanded_once_and_in_order():
    assert expand(("editors",)) == ("flux1", "flux2", "qwen-image")
    assert expand(("classic", "kontext")) == ("sd", "sdxl", "flux1")
    assert expand(("today", "sd", "illustrious")) == FAMILIES["today"].members
    assert expand(("flux2", "today"))[:2] == ("flux2", "sd")
    assert expand(("auto", "owner/model", "./folder")) == ("auto", "owner/model", "./folder")
    assert resolve(("kontext", "chroma", "pony"), offline=True) == Resolved(("flux1", "sdxl"))


def test_a_family_brings_its_scales_unless_the_request_has_some():
    assert scales_of(("classic", "pony", "flux1", "auto")) == ()
    assert scales_of(("kontext", "editors")) == ONE_MEGAPIXEL
    assert ProtectConfig(vae="today").scales == ONE_MEGAPIXEL
    assert ProtectConfig(vae=("sd", "kontext")).scales == ONE_MEGAPIXEL
    assert ProtectConfig(vae="editors", scales=("native",)).scales == ("native",)
    assert ProtectConfig(vae="editors", scales=(512,)).scales == (512,)
    assert ProtectConfig(vae="flux1").scales == ()
    assert ProtectConfig(vae="editors").digest() == ProtectConfig(vae="editors", scales=ONE_MEGAPIXEL).digest()
    assert ProtectConfig(vae="editors").digest() != ProtectConfig(vae="editors", scales=("native",)).digest()


@pytest.mark.parametrize(
    ("config", "digest"),
    [
        (ProtectConfig(), "23aa6dbc5ef299bcc0d41d76d03f4d197299a929391b458a93e3e92fc8dba413"),
        (ProtectConfig(scales=(512, "native")), "7b7bcba8f1c3c6a53ad9ee6c69a40532d528c5d78ff88a513e4f1b96b06ed066"),
    ],
)
def test_other_requests_keep_the_digest_that_journals_have(config: ProtectConfig, digest: str):
    assert config.digest() == digest


def test_what_names_stand_for_is_explained():
    assert explain(("sd", "owner/model"), ("sd", "owner/model"), ()) == []
    (kontext,) = explain(("kontext",), ("flux1",), ("native",))
    assert "VAE kontext: flux1 (FLUX.1, Z-Image)" in kontext
    assert "not covered" not in kontext
    named, sizes = explain(("editors",), EDITORS, ONE_MEGAPIXEL)
    assert "not covered: Stable Diffusion 1.x, 2.x, SDXL" in named
    assert "1mp, native" in sizes
    (today,) = explain(("today",), FAMILIES["today"].members, ())
    assert "not covered" not in today
    (partial,) = explain(("today",), ("sd", "flux1", "qwen-image"), ())
    assert "not covered: SDXL, FLUX.2" in partial
    (auto,) = explain(("auto", "sd14"), ("sd14",), ())
    assert "not covered: SDXL, FLUX.1, Z-Image, FLUX.2, Qwen-Image" in auto


def test_members_that_are_unavailable_are_left_out(cached: Cache):
    cached("flux1", "qwen-image")
    assert resolve_cached(("editors",)) is None
    assert downloads(("editors",), offline=False) == ()
    found = resolve(("editors", "sd"), offline=True)
    assert found.names == ("flux1", "qwen-image", "sd"), "a name by itself is required, and not looked up"
    (warning,) = found.left_out
    assert warning.startswith(
        "VAE editors is used without flux2, so there is no protection against FLUX.2 (black-forest-labs/"
    )
    assert "not in the local cache" in warning
    assert len(warning) <= 300
    assert found.fallback_warning == ""
    assert not found.test_only
    assert resolve(("flux2", "editors"), offline=True) == Resolved(("flux2", "flux1", "qwen-image"))
    cached("flux2")
    assert resolve_cached(("editors",)) == Resolved(EDITORS) == resolve(("editors",), offline=True)


def test_a_family_without_any_encoder_names_the_nearest(cached: Cache):
    with pytest.raises(
        ModelError, match=r"none of flux1, flux2, qwen-image is available .*; `vae=pocket` is built in"
    ) as caught:
        resolve(("sd", "editors"), offline=True)
    assert len(str(caught.value)) <= 300
    assert caught.value.exit_code == 3
    cached("sdxl")
    with pytest.raises(ModelError, match="`vae=sdxl` is in the local cache and covers SDXL") as caught:
        resolve(("editors",), offline=True)
    assert len(str(caught.value)) <= 300


def test_a_gated_member_is_left_out_and_the_others_are_downloaded(photo: Path, hub: HubServer, cached: Cache):
    hub.repositories[REGISTRY["flux2"].repo_id] = GATED
    assert downloads(("editors", "flux1"), offline=False) == ("flux2", "qwen-image")
    assert foresee(("editors",), offline=False) == Resolved(EDITORS)
    assert hub.asked == []
    done = command(photo, "--vae", "editors", "--json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    said = done.stderr.splitlines()
    assert any(line.startswith("VAE editors: flux1, qwen-image (") and "not covered" in line for line in said)
    assert sum(line.startswith("warning: VAE editors is used without flux2") for line in said) == 1
    assert any("hf auth login" in line and "is gated" in line for line in said)
    record = json.loads(done.stdout)
    assert record["vae"]["name"] == "flux1 + qwen-image"
    assert (record["config"]["vae"], record["config"]["scales"]) == ("editors", list(ONE_MEGAPIXEL))
    assert any("is used without flux2" in warning for warning in record["warnings"])
    assert not record["test_only"]


def test_nothing_of_a_family_writes_nothing(photo: Path, hub: HubServer, cached: Cache):
    for name in EDITORS:
        hub.repositories[REGISTRY[name].repo_id] = GATED
    done = command(photo, "--vae", "editors")
    assert isinstance(done.exception, ModelError)
    assert done.exception.exit_code == 3
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]
    done = command(photo, "--vae", "kontext")
    assert isinstance(done.exception, ModelError)
    assert "is gated" in str(done.exception), "one encoder: its own reason"


def test_auto_downloads_one_encoder(hub: HubServer, cached: Cache):
    cached("flux1")
    with pretending("cuda"):
        assert downloads(("auto",), offline=False) == ("sd",)
        assert resolve(("auto",), offline=False, device="auto").names == ("sd", "flux1")
    assert {asked.path.split("/resolve/")[0].strip("/") for asked in hub.asked} == {REGISTRY["sd"].repo_id}


def test_auto_takes_cached_encoders_on_a_large_cuda_device(cached: Cache, monkeypatch: pytest.MonkeyPatch):
    cached("sd", "sdxl", "flux2")
    assert resolve_cached(("auto",), device="cpu") == resolve(("auto",), offline=True) == Resolved(("sd",))
    with pretending("mps"):
        assert resolve_cached(("auto",), device="auto") == Resolved(("sd",))
    with pretending("cuda"):
        every = Resolved(("sd", "sdxl", "flux2"))
        assert resolve_cached(("auto",), device="auto") == resolve(("auto",), offline=True, device="cuda") == every
        assert resolve_cached(("flux2", "auto"), device="auto") == Resolved(("flux2", "sd", "sdxl"))
        without = resolve_cached(("auto",), device="auto", precision="fp16")
        assert without == Resolved(("sd", "flux2")), "sdxl overflows"
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (8e9, 8.5e9))
        assert resolve_cached(("auto",), device="auto") == Resolved(("sd",))


def test_auto_on_a_cpu_imports_no_torch(cached: Cache):
    cached("sd", "sdxl")
    run_python(
        f"import os, sys\nos.environ['HF_HUB_CACHE'] = {constants.HF_HUB_CACHE!r}\n"
        "from pca_protect.surrogates.resolve import resolve\n"
        "assert resolve(('auto',), offline=True, device='cpu').names == ('sd',)\n"
        "assert 'torch' not in sys.modules\n"
    )


def test_auto_without_its_own_encoder_takes_cached_ones_on_a_large_cuda_device(cached: Cache):
    cached("flux1")
    assert resolve(("auto",), offline=True).names == ("pocket",)
    with pretending("cuda"):
        found = resolve(("auto",), offline=True, device="auto", fallback=False)
    assert (found.names, found.fallback_warning) == (("flux1",), "")
    assert found.left_out[0].startswith(
        "VAE auto is used without sd, so there is no protection against Stable Diffusion 1.x, 2.x"
    )


def test_python_loads_families_and_is_warned(photo: Path, cached: Cache):
    cached("flux1", "flux2")
    with pytest.raises(UsageError, match="stands for several encoders"):
        load_surrogate("editors")
    assert load_surrogate("kontext", device="cpu").name == "flux1"
    with pytest.warns(FallbackWarning, match="used without qwen-image"):
        surrogate = load_surrogates(["editors"], device="cpu")
    assert surrogate.name == "flux1 + flux2"
    with pytest.warns(FallbackWarning, match="used without qwen-image"):
        record = protect(photo, QUICK).record
    assert record.vae["name"] == "flux1 + flux2"
    assert any("used without qwen-image" in warning for warning in record.warnings)
    cached("qwen-image")
    assert protect(photo, QUICK).record.vae["name"] == "flux1 + flux2 + qwen-image"


def test_a_folder_is_finished_with_the_encoders_that_it_was_begun_with(tmp_path: Path, cached: Cache):
    cached("flux1", "flux2")
    request = Request((str(put_pictures(tmp_path / "photos", 2)),), output=tmp_path / "out", recursive=True)
    assert run(request, QUICK, Recorder()).protected == 2
    assert run(request, QUICK, Recorder()).finished == 2, "whatever its encoder: nothing is to do"
    cached("qwen-image")
    with pytest.raises(UsageError, match="protected with other settings before"):
        run(request, QUICK, Recorder())
    assert run(replace(request, existing="overwrite"), QUICK, Recorder()).protected == 2


@pytest.mark.usefixtures("hub")
def test_a_dry_run_names_the_downloads(photo: Path, cached: Cache):
    cached("flux1")
    shown = preview(Request((str(photo),)), QUICK)
    assert (shown.resolved, shown.downloads) == (Resolved(EDITORS), ("flux2", "qwen-image"))
    assert any("flux2, qwen-image (about 844 MB)" in message for message in shown.messages)
    shown = preview(Request((str(photo),), offline=True), QUICK)
    assert (shown.resolved is not None and shown.resolved.names, shown.downloads) == (("flux1",), ())
    assert sum("is used without" in message for message in shown.messages) == 2


def test_transfer_to_other_encoders_may_be_asked_of_a_family(photo: Path, cached: Cache):
    cached("sd", "sdxl")
    done = command(photo, "--vae", "classic", "--for-unknown", "--device", "cpu", "--dry-run")
    assert done.exit_code == 0, done.output
    assert isinstance(command(photo, "--vae", "kontext", "--for-unknown", "--dry-run").exception, UsageError)


def test_a_misspelt_program_is_suggested():
    with pytest.raises(UsageError, match="did you mean kontext"):
        load_surrogate("kontxt")
