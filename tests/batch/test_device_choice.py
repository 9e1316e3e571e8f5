"""Settings that the device decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import smooth_picture
from folders import Recorder, put_pictures
from typer.testing import CliRunner

from pca_protect.batch.device_choice import DeviceChoice
from pca_protect.batch.preview import preview
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.cli.main import protect_app
from pca_protect.config import ProtectConfig


@pytest.mark.parametrize(
    ("device", "preset"), [("cuda", "thorough"), ("cuda:1", "thorough"), ("mps", "balanced"), ("cpu", "fast")]
)
def test_each_device_has_a_preset(device: str, preset: str):
    config = ProtectConfig(device=device, mode="subtle", seed=3)
    chosen, sentence = DeviceChoice().applied(config)
    assert chosen.preset == preset
    assert (chosen.mode, chosen.seed, chosen.device) == ("subtle", 3, device)
    assert preset in sentence
    assert chosen.scales == ((512,) if device == "cpu" else (512, "native"))
    assert (chosen.tile_px == config.tile_px) == (device != "cpu")
    assert ("protects the full size" in sentence) == (device == "cpu")


def test_auto_is_the_first_device_there_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for has_cuda, preset in ((True, "thorough"), (False, "fast")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_cuda=has_cuda: has_cuda)
        assert DeviceChoice().applied(ProtectConfig())[0].preset == preset


@pytest.mark.parametrize(
    ("vae", "scales"),
    [
        ("auto", (512,)),
        (("sd", "pocket"), (512,)),
        (("pocket", "pocket-16"), (256,)),
        ("some/model", (512,)),
        ("sdxl", ("1mp",)),
        ("classic", ("1mp",)),
        ("today", ("1mp",)),
        ("kontext", ("1mp",)),
    ],
)
def test_the_cpu_protects_at_the_size_of_the_editors(vae: str, scales: tuple[object, ...]):
    assert DeviceChoice().applied(ProtectConfig(vae=vae, device="cpu"))[0].scales == scales
    assert DeviceChoice().applied(ProtectConfig(vae=vae, device="cuda"))[0].scales == (*scales, "native")


def test_settings_of_the_user_stay():
    config = ProtectConfig(device="cpu", scales=("native", 768), tile_px=512, steps=3, until=4.0)
    chosen, _ = DeviceChoice(scales=False, tile_px=False).applied(config)
    assert (chosen.scales, chosen.tile_px, chosen.recipe.steps) == (("native", 768), 512, 3)
    assert chosen.preset == "balanced"  # the effect asked for ends the steps
    assert DeviceChoice(tile_px=False).applied(config)[0].tile_px == 512


def test_a_run_and_its_preview_complete_the_settings(tmp_path: Path, tiny_folder: Path):
    photos = put_pictures(tmp_path / "photos", 2)
    config = ProtectConfig(vae=str(tiny_folder), device="cpu")
    request = Request((str(photos),), output=tmp_path / "out", device_choice=DeviceChoice())
    planned = preview(request, config)
    assert planned.config.preset == "fast"
    assert any("fast" in message for message in planned.messages)
    observer = Recorder()
    assert run(request, config, observer).protected == 2
    assert observer.config == planned.config
    again = Recorder()
    assert run(request, config, again).finished == 2
    assert again.messages == []
    on_cluster = Request(("a.png",), engine="ray", device_choice=DeviceChoice())
    assert on_cluster.completed(config) == (config, "")


def test_the_command_line_leaves_the_choice_to_the_device(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    smooth_picture(530, 520).save("photo.png")

    def record(*words: str) -> tuple[dict[str, object], str]:
        line = ["photo.png", "--vae", str(tiny_folder), "--device", "cpu", "--json", "--no-evaluate", *words]
        done = CliRunner().invoke(protect_app, line)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    chosen, said = record("-o", "auto.png")
    assert (chosen["config"]["preset"], chosen["config"]["scales"]) == ("fast", [512])  # type: ignore[index]
    assert "--preset thorough would take about " in said
    same, said = record("-o", "named.png", "--preset", "fast", "--scales", "512", "--tile", "4096")
    assert said == ""
    assert same["output_sha256"] == chosen["output_sha256"]
    native, _ = record("-o", "native.png", "--scales", "native", "--steps", "1")
    assert native["config"]["scales"] == ["native"]  # type: ignore[index]
