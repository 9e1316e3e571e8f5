"""Editors are real pipelines: they load from folders, refuse damage, and treat every picture by itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_picture, tiny_kl
from diffusers import (
    AutoPipelineForImage2Image,
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from numpy.typing import NDArray
from prompts import LONGEST, make_tokenizer
from transformers import CLIPTextConfig, CLIPTextModel

from pca_protect import ModelError, PictureError, UsageError
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EditSettings

SIDE = 64
FAST = EditSettings(strength=0.5, guidance=2.0, steps=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole pipeline with random weights."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(["at night", "add some snow"])
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=LONGEST,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    pipeline = StableDiffusionImg2ImgPipeline(
        vae=tiny_kl(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    path = tmp_path_factory.mktemp("editor") / "pipeline"
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def editor(folder: Path) -> Editor:
    return load_editor(str(folder), device="cpu")


def picture(seed: int = 0, side: int = SIDE) -> NDArray[np.uint8]:
    return np.asarray(smooth_picture(side, side, seed=seed))


def test_an_edit_is_a_picture_and_depends_on_prompt_seed_and_strength(editor: Editor):
    plain = editor.edit([picture()], "", FAST, seeds=[1])[0]
    assert plain.shape == (SIDE, SIDE, 3)
    assert plain.dtype == np.uint8
    assert np.array_equal(plain, editor.edit([picture()], "", FAST, seeds=[1])[0])
    assert not np.array_equal(plain, editor.edit([picture()], "at night", FAST, seeds=[1])[0])
    assert not np.array_equal(plain, editor.edit([picture()], "", FAST, seeds=[2])[0])
    assert not np.array_equal(plain, editor.edit([picture()], "", EditSettings(1.0, 2.0, 4), seeds=[1])[0])


def test_a_picture_is_edited_alike_alone_and_in_a_batch(editor: Editor):
    together = editor.edit([picture(0), picture(1)], "at night", FAST, seeds=[5, 6])
    alone = editor.edit([picture(1)], "at night", FAST, seeds=[6])
    difference = np.abs(together[1].astype(int) - alone[0].astype(int))
    assert difference.max() <= 1, "sums in another order may round otherwise"


def test_size_and_digest_are_the_models_own(editor: Editor, folder: Path, tmp_path: Path):
    assert editor.size_px == SIDE
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load_editor(str(copy), device="cpu").digest == editor.digest
    StableDiffusionPipeline.from_pretrained(folder, vae=tiny_kl(seed=1)).save_pretrained(tmp_path / "other")
    other = load_editor(str(tmp_path / "other"), device="cpu")
    assert other.digest != editor.digest, "a text-to-image folder edits too, and has another VAE"


@pytest.mark.parametrize("size", [(SIDE, 72), (48, 48)])
def test_a_picture_of_another_size_is_refused(editor: Editor, size: tuple[int, int]):
    array = np.zeros((size[1], size[0], 3), np.uint8)
    with pytest.raises(PictureError, match=rf"{size[0]}x{size[1]} px: .* edits 64x64 px; crop or resize"):
        editor.edit([array], "", FAST, seeds=[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 0.0}, "strength 0.0"),
        ({"strength": 1.5}, "strength 1.5"),
        ({"guidance": 0.5}, "guidance 0.5"),
        ({"strength": 0.1, "steps": 5}, "less than one"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str):
    with pytest.raises(UsageError, match=message):
        EditSettings(**settings)


def test_an_unknown_name_is_refused_with_a_hint():
    with pytest.raises(UsageError, match="did you mean pocket-editor"):
        load_editor("pocket-editr", device="cpu")
    with pytest.raises(UsageError, match="pocket-editor-16"):
        load_editor("??", device="cpu")


def damage_weights(folder: Path) -> None:
    path = next((folder / "unet").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1000])


def remove_weights(folder: Path) -> None:
    next((folder / "text_encoder").glob("*.safetensors")).unlink()


def pickle_weights(folder: Path) -> None:
    path = next((folder / "vae").glob("*.safetensors"))
    path.rename(path.with_suffix(".bin"))


def raise_format(folder: Path) -> None:
    (folder / "pocket.json").write_text('{"format": 99}')


def forget_format(folder: Path) -> None:
    (folder / "pocket.json").write_text("{}")


def break_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def drop_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def rename_class(folder: Path) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "NoSuchPipeline"}))


def change_shape(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "block_out_channels": [16, 16]}))


DAMAGES = {
    damage_weights: "does not load as an image-to-image pipeline",
    remove_weights: "text_encoder: no safetensors weights; copy the folder again",
    pickle_weights: r"vae: no safetensors weights \(diffusion_pytorch_model.bin is pickled, and could run code",
    raise_format: "format 99, and this program reads format 1",
    forget_format: "names no format version",
    break_index: "not readable as JSON",
    drop_index: r"no model_index.json in it; give the folder of a diffusers pipeline",
    rename_class: "does not load as an image-to-image pipeline",
    change_shape: "does not load as an image-to-image pipeline",
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_folder_is_refused_in_one_line(folder: Path, tmp_path: Path, damage, message: str):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy)
    with pytest.raises(ModelError, match=message) as refused:
        load_editor(str(copy), device="cpu")
    assert "\n" not in str(refused.value)
    assert str(copy) in str(refused.value)


def test_the_folder_is_one_that_diffusers_opens_by_itself(folder: Path):
    assert isinstance(AutoPipelineForImage2Image.from_pretrained(folder), StableDiffusionImg2ImgPipeline)
