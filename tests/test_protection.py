"""One picture from file to file: budgets are measured on bytes re-read from disk."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ASTRONAUT, smooth_picture
from PIL import Image
from tiny_vaes import TINY

import pca_protect
from pca_protect import Cancelled, PictureError, ProtectConfig, ProtectionWarning, UsageError, load_surrogate, protect
from pca_protect.eval.pictures import to_pixels, with_pixels
from pca_protect.io.header import read_header
from pca_protect.io.picture import Picture, Text
from pca_protect.modes import MODES
from pca_protect.surrogates.encoder import Surrogate


def levels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("budget", [1, 4, 16, 255])
@pytest.mark.parametrize("preset", ["paper", "balanced"])
def test_saved_bytes_stay_within_the_budget_and_use_it(
    tmp_path: Path, photo: Path, tiny: Surrogate, mode: str, budget: int, preset: str
):
    config = ProtectConfig(mode=mode, budget_levels=budget, preset=preset, steps=12)
    record = protect(photo, config, surrogate=tiny).save(tmp_path / "out.png")
    change = np.abs(levels(tmp_path / "out.png") - levels(photo)).max()
    assert change <= budget
    assert record.max_change_levels == change
    if budget <= 16:
        assert change == budget, "12 steps reach the budget; rounding must not lose its last level"


@pytest.mark.parametrize("mode", MODES)
def test_moves_the_loss_the_wanted_way_and_further_than_noise(photo: Path, tiny: Surrogate, mode: str):
    record = protect(photo, ProtectConfig(mode=mode), surrogate=tiny).record
    assert (record.protected.loss > record.loss_clean) == (MODES[mode].direction == "up")
    assert record.gain_over_noise > 2
    assert record.protected.latent > 1.5 * record.noise.latent


@pytest.mark.parametrize(("width", "height"), [(8, 8), (9, 61), (33, 20)])
def test_any_size_keeps_its_size(tmp_path: Path, tiny: Surrogate, width: int, height: int):
    image = smooth_picture(width, height)
    result = protect(image, ProtectConfig(steps=2), surrogate=tiny)
    assert result.image().size == (width, height)
    result.save(tmp_path / "out.webp")
    assert levels(tmp_path / "out.webp").shape == (height, width, 3)


def test_alpha_and_the_input_stay_byte_for_byte(tmp_path: Path, tiny: Surrogate):
    source = tmp_path / "cutout.png"
    smooth_picture(40, 24, channels=4).save(source)
    before = source.read_bytes()
    protect(source, ProtectConfig(steps=3), surrogate=tiny).save(tmp_path / "out.png")
    assert source.read_bytes() == before
    assert np.array_equal(levels(tmp_path / "out.png")[..., 3], levels(source)[..., 3])
    assert not np.array_equal(levels(tmp_path / "out.png")[..., :3], levels(source)[..., :3])


def test_same_request_same_bytes(tmp_path: Path, photo: Path, tiny: Surrogate):
    for name in ("a.png", "b.png"):
        protect(photo, ProtectConfig(steps=4), surrogate=tiny).save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_accepts_paths_strings_and_images_alike(photo: Path, tiny: Surrogate):
    config = ProtectConfig(steps=2)
    found = [protect(thing, config, surrogate=tiny).picture.rgb for thing in (photo, str(photo), Image.open(photo))]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_noise_control_depends_on_seed_and_picture_only(photo: Path, tiny: Surrogate):
    def noise(**settings: object) -> float:
        return protect(photo, ProtectConfig(steps=1, **settings), surrogate=tiny).record.noise.latent

    assert noise() == noise(mode="concentration")
    assert noise() != noise(seed=1)


def test_posterior_variance_and_custom_direction(photo: Path, tiny: Surrogate):
    config = ProtectConfig(target_variance="posterior", direction="up", steps=5)
    record = protect(photo, config, surrogate=tiny).record
    assert record.config["mode"] == "custom"
    assert record.protected.loss > record.loss_clean


def test_an_encoder_without_variance_is_said_in_the_record(tmp_path: Path, photo: Path):
    TINY["AutoencoderTiny"]().save_pretrained(tmp_path / "t")
    surrogate = load_surrogate(str(tmp_path / "t"), device="cpu")
    record = protect(photo, ProtectConfig(steps=3), surrogate=surrogate).record
    assert any("mean term" in warning for warning in record.warnings)
    assert record.protected.loss > record.loss_clean
    with pytest.raises(UsageError, match="has none"):
        protect(photo, ProtectConfig(target_variance="posterior"), surrogate=surrogate)


def test_the_file_says_what_was_done(tmp_path: Path, pocket: Surrogate):
    smooth_picture(24, 16).save(tmp_path / "in.png")
    protect(tmp_path / "in.png", ProtectConfig(steps=1), surrogate=pocket).save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        note = json.loads(image.text["pca_protect"])
    facts = {"mode": "diffusion", "vae": "pocket", "test_only": True, "budget_levels": 16, "scales": ["native"]}
    assert note == {"version": pca_protect.__version__, **facts}


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".jpg"])
def test_no_path_and_no_message_gets_into_the_file(tmp_path: Path, tiny_folder: Path, tiny: Surrogate, suffix: str):
    smooth_picture(24, 16).save(tmp_path / "in.png")
    warned = replace(tiny, warnings=(f"a cache at {tmp_path} is stale",))
    result = protect(tmp_path / "in.png", ProtectConfig(steps=1), surrogate=warned)
    target = tmp_path / f"out{suffix}"
    record = result.save(target, allow_lossy=True)
    assert (record.vae["name"], record.warnings[0]) == (str(tiny_folder), f"a cache at {tmp_path} is stale")
    data = target.read_bytes()
    assert str(tmp_path.parent).encode() not in data
    assert b"stale" not in data
    assert f'"vae": "{tiny.digest[:12]}"'.encode() in data
    result.save(target, allow_lossy=True, overwrite=True, marker=False)
    header = read_header(target)
    assert header is not None
    assert not header.ours
    assert b"budget_levels" not in target.read_bytes()


def test_alpha_and_low_bytes_are_part_of_the_proof(monkeypatch: pytest.MonkeyPatch, tiny: Surrogate):
    rgb = np.asarray(smooth_picture(24, 16))
    alpha = np.full((16, 24), 65535, np.uint16)
    result = protect(Picture(rgb, alpha=alpha, low=rgb), ProtectConfig(steps=1), surrogate=tiny)
    result.encoded("PNG")
    for other in (replace(result.original, low=rgb ^ 1), replace(result.original, alpha=alpha - 1)):
        with pytest.raises(PictureError, match="would differ in the file"):
            replace(result, original=other).encoded("PNG")


def test_lossy_output_reports_what_compression_did(tmp_path: Path, photo: Path, tiny: Surrogate):
    result = protect(photo, ProtectConfig(steps=2, budget_levels=1), surrogate=tiny)
    record = result.save(tmp_path / "out.jpg", allow_lossy=True)
    assert record.max_change_levels == np.abs(levels(tmp_path / "out.jpg") - levels(photo)).max() > 1
    assert "over the budget of 1" in record.warnings[-1]


def test_record_is_plain_json_and_complete(tmp_path: Path, photo: Path, tiny: Surrogate):
    record = json.loads(protect(photo, ProtectConfig(steps=2), surrogate=tiny).save(tmp_path / "out.png").as_json())
    assert record["input"] == str(photo)
    assert record["output"] == str(tmp_path / "out.png")
    assert record["vae"]["weights_sha256"] == tiny.digest
    assert {"torch", "diffusers", "pca_protect"} <= record["versions"].keys()
    assert record["config"]["steps"] == record["steps"] == 2
    assert record["seconds"] > 0


def test_cancelling_leaves_nothing(tmp_path: Path, photo: Path, tiny: Surrogate):
    def stop(done: int, steps: int, loss: float) -> None:
        raise Cancelled("enough")

    before = sorted(tmp_path.iterdir())
    with pytest.raises(Cancelled):
        protect(photo, surrogate=tiny, on_step=stop).save(tmp_path / "out.png")
    assert sorted(tmp_path.iterdir()) == before


def test_windows_of_a_recipe_without_steps_and_the_evaluation_report(pocket: Surrogate):
    calls: list[tuple[int, int]] = []
    config = ProtectConfig(preset="instant", tile_px=128)
    picture = smooth_picture(300, 100)
    protect(picture, config, surrogate=pocket, on_step=lambda done, of, loss: calls.append((done, of)))
    windows = max(of for _, of in calls)
    assert windows > 1
    assert calls[:windows] == [(number, windows) for number in range(1, windows + 1)]
    assert calls[windows:] == [(1, 1)], "the evaluated sample is one window"


@pytest.mark.parametrize("steps", [0, 2])
def test_the_evaluation_is_cancelled_at_a_window(pocket: Surrogate, steps: int):
    def stop(done: int, of: int, loss: float) -> None:
        if math.isnan(loss):
            raise Cancelled("enough")

    preset = "fast" if steps else "instant"
    config = ProtectConfig(preset=preset, tile_px=128, steps=steps)
    with pytest.raises(Cancelled):
        protect(smooth_picture(300, 100), config, surrogate=pocket, on_step=stop)


def test_rounding_not_truncating():
    """Truncation to uint8, a classic, would turn +1 level into 0 and -1 level into -1 or -2."""
    from pca_protect.io.read import from_pil

    picture = from_pil(smooth_picture(16, 16))
    pixels = to_pixels(picture)
    for change in (-1, 0, 1):
        shifted = with_pixels(picture, (pixels + change / 255).clamp(0, 1)).rgb.astype(int)
        assert np.array_equal(shifted, (picture.rgb.astype(int) + change).clip(0, 255))


@pytest.mark.parametrize("mode", MODES)
def test_the_embedded_vae_on_a_photograph(tmp_path: Path, pocket: Surrogate, mode: str):
    Image.open(ASTRONAUT).crop((120, 20, 313, 157)).save(tmp_path / "face.png")
    record = protect(tmp_path / "face.png", ProtectConfig(mode=mode), surrogate=pocket).save(tmp_path / "out.png")
    assert record.max_change_levels <= 16
    assert record.gain_over_noise > (1.5 if mode == "concentration" else 4)
    if mode == "concentration":
        assert record.protected.norm < 0.75 * record.noise.norm
    else:
        assert record.protected.latent > 2 * record.noise.latent
    if mode == "subtle":
        assert record.protected.norm > 2 * record.noise.norm


def test_what_hardly_protects_is_said(pocket: Surrogate):
    """One short step is little beside noise of the whole budget."""
    face = Image.open(ASTRONAUT).crop((120, 20, 313, 157))
    with pytest.warns(ProtectionWarning, match="hardly protects") as caught:
        record = protect(face, ProtectConfig(preset="paper", steps=1), surrogate=pocket).record
    assert [str(warning.message) for warning in caught] == [record.warnings[-1]], "not what is known of the encoder"
    assert record.gain_over_noise < 2
    assert "hardly protects" in record.warnings[-1]


def test_what_a_format_has_no_place_for_is_said(tiny: Surrogate):
    from pca_protect.io.read import from_pil

    picture = replace(from_pil(smooth_picture(24, 16)), text=(Text("Title", "a title"),))
    result = protect(picture, ProtectConfig(steps=1), surrogate=tiny)
    said = "the file's text chunks cannot be stored in WebP and were left out"
    assert said not in result.encoded("PNG")[1].warnings
    assert said in result.encoded("WEBP")[1].warnings


def test_a_blank_frame_stays_and_the_others_are_protected(tiny: Surrogate):
    shown, blank = (np.full((16, 24), level, dtype=np.uint8) for level in (255, 0))
    frames = [
        Picture(np.asarray(smooth_picture(24, 16, seed=seed)), alpha) for seed, alpha in enumerate((blank, shown))
    ]
    picture = replace(frames[0], following=(frames[1],), source="sticker.png")
    result = protect(picture, ProtectConfig(steps=3), surrogate=tiny)
    assert result.record.frames == 2
    assert np.array_equal(result.picture.rgb, picture.rgb)
    assert not np.array_equal(result.picture.following[0].rgb, frames[1].rgb)
    with pytest.raises(PictureError, match=r"sticker\.png: is fully transparent"):
        protect(replace(picture, following=(replace(frames[1], alpha=blank),)), ProtectConfig(), surrogate=tiny)
