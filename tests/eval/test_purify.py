"""Purifiers that run models, and the benchmark of what they leave."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, smooth_picture, tiny_kl
from diffusers import DDPMPipeline, DDPMScheduler, StableDiffusionUpscalePipeline, UNet2DConditionModel, UNet2DModel
from numpy.typing import NDArray
from PIL import Image
from tiny_editors import SIDE, stable_diffusion

from pca_protect import ModelError, UsageError
from pca_protect.eval.benches.configs import FILTER_NAMES, PurifyConfig
from pca_protect.eval.benches.purify import measure_purify
from pca_protect.eval.metrics.classical import psnr
from pca_protect.eval.purifiers.filters import FILTERS
from pca_protect.eval.purifiers.models import load_purifier


def astronaut(side: int = 96) -> NDArray[np.uint8]:
    with Image.open(ASTRONAUT) as image:
        return np.asarray(image.crop((170, 60, 170 + side, 60 + side)))


def test_the_names_of_the_configuration_are_the_filters():
    assert tuple(FILTERS) == FILTER_NAMES


def test_a_round_trip_through_a_vae_keeps_the_picture_and_its_odd_size():
    picture = astronaut()[:, :77]
    back = load_purifier("vae=pocket", device="cpu", offline=True)(picture)
    assert back.shape == picture.shape
    assert psnr(picture, back) > 20
    other = load_purifier("vae=pocket-tiny", device="cpu", offline=True)(picture)
    assert not np.array_equal(back, other)


def test_denoising_changes_more_with_strength_and_is_decided_by_the_seed():
    picture = astronaut(256)
    gentle, strong = (load_purifier(f"denoise-{strength}=pocket-editor", device="cpu") for strength in ("0.05", "0.4"))
    assert psnr(picture, gentle(picture)) > psnr(picture, strong(picture)) > 12
    assert np.array_equal(gentle(picture, 1), gentle(picture, 1))
    assert not np.array_equal(gentle(picture, 1), gentle(picture, 2))


def test_noisy_upscaling_is_a_pipeline_of_diffusers(tmp_path: Path):
    base = stable_diffusion()
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=7,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=base.text_encoder.config.hidden_size,
        attention_head_dim=8,
        norm_num_groups=8,
        num_class_embeds=1000,
    )
    vae = tiny_kl()
    vae.register_to_config(scaling_factor=0.08333)
    StableDiffusionUpscalePipeline(
        vae=vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=unet,
        low_res_scheduler=DDPMScheduler(),
        scheduler=base.scheduler,
    ).save_pretrained(tmp_path)
    picture = astronaut(16)
    purify = load_purifier(f"upscale={tmp_path}", device="cpu", offline=True)
    assert purify(picture, 1).shape == picture.shape
    assert np.array_equal(purify(picture, 1), purify(picture, 1))
    assert not np.array_equal(purify(picture, 1), purify(picture, 2))


def test_gridpure_covers_every_pixel_and_refuses_small_pictures(tmp_path: Path):
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path)
    purify = load_purifier(f"gridpure={tmp_path}", device="cpu", offline=True)
    picture = astronaut(44)[:37]
    purified = purify(picture, 1)
    assert purified.shape == picture.shape
    assert psnr(picture, purified) > 15, "small steps change little even with an untrained model"
    changed = (purified != picture).any(axis=2)
    for part in (changed[:16], changed[-16:], changed[:, :16], changed[:, -16:]):
        assert part.any(), "every edge lies in some window"
    with pytest.raises(ModelError, match="at least 16x16 px"):
        purify(picture[:12])


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("jpeg-74", UsageError, "unknown purifier 'jpeg-74'; known are jpeg-95"),
        ("vae=", UsageError, "unknown purifier 'vae='"),
        ("denoise-much=pocket-editor", UsageError, "names no strength"),
        ("vae=nowhere/no-such-vae", ModelError, r"nowhere/no-such-vae \(vae/config.json\) is not in the local cache"),
        ("upscale=nowhere/no-such", ModelError, "nowhere/no-such: does not load as a StableDiffusionUpscalePipeline"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(name: str, error: type[Exception], message: str):
    with pytest.raises(error, match=message) as refused:
        load_purifier(name, device="cpu", offline=True)
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PurifyConfig:
    folder = tmp_path_factory.mktemp("purify")
    stable_diffusion().save_pretrained(folder / "editor")
    (folder / "images").mkdir()
    for seed in range(2):
        smooth_picture(SIDE, SIDE, seed=seed).save(folder / "images" / f"{seed}.png")
    return PurifyConfig(
        str(folder / "images"),
        editor=str(folder / "editor"),
        purifiers=("jpeg-50", "blur-1"),
        prompts=("at night",),
        device="cpu",
    )


def test_the_benchmark_compares_purified_with_purified(config: PurifyConfig, tmp_path: Path):
    finished = measure_purify(config, tmp_path / "out")
    rows = {(row["purifier"], row["arm"]): row for row in finished.tables["purify"]}
    assert {purifier for purifier, _ in rows} == {"none", "jpeg-50", "blur-1", "worst"}
    for (purifier, arm), row in rows.items():
        if purifier == "none":
            assert row["retained"] == pytest.approx(1)
            assert row["changes_picture"] == 0
        else:
            assert row["changes_picture"] > 0
            assert row["retained"] == pytest.approx(row["effect"] / rows["none", arm]["effect"])
        assert (row["noise_effect"] is None) == (arm == "noise-linf")
        if arm != "noise-linf":
            if purifier != "worst":
                assert row["noise_effect"] == rows[purifier, "noise-linf"]["effect"]
            assert row["difference"] == pytest.approx(row["effect"] - row["noise_effect"])
    log = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert measure_purify(config, tmp_path / "out").tables == finished.tables
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == log
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["command"] == "pca-protect bench purify"


def test_a_purifier_that_erases_everything_leaves_nothing(config: PurifyConfig, tmp_path: Path):
    """Pictures that are equal after purifying have equal edits."""
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(2):
        Image.fromarray(np.full((SIDE, SIDE, 3), 90 + seed, np.uint8)).save(images / f"{seed}.png")
    flat = replace(config, images=str(images), arms=("photoguard",), budget_levels=1, purifiers=("adverse-cleaner",))
    rows = measure_purify(flat, tmp_path / "out").tables["purify"]
    (row,) = [row for row in rows if (row["purifier"], row["arm"]) == ("adverse-cleaner", "photoguard")]
    assert row["effect"] < row["before"] / 3


def test_settings_that_mean_nothing_are_refused(config: PurifyConfig):
    for change, message in (
        ({"arms": ("noise-visible",)}, "control of this benchmark is noise-linf"),
        ({"purifiers": ()}, "no purifier given"),
        ({"budget_levels": 300}, "budget 300"),
    ):
        with pytest.raises(UsageError, match=message):
            replace(config, **change)
