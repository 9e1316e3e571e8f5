"""Editors are real pipelines: they load from folders, refuse damage, and treat every picture by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import tiny_editors
import tiny_modern_editors
import torch
from conftest import smooth_picture, tiny_kl
from diffusers import (
    AutoPipelineForImage2Image,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny_editors import SIDE

from pca_protect import DeviceError, ModelError, PictureError, UsageError, load_surrogate
from pca_protect.device_names import Precision
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.families import has_guidance
from pca_protect.eval.editors.load import editor_of, load_editor
from pca_protect.eval.editors.registry import EDITORS, EMBEDDED, EditSettings
from pca_protect.eval.editors.weights import digest_of_files
from pca_protect.eval.pictures import to_pixels
from pca_protect.io.picture import Picture
from pca_protect.surrogates.registry import REGISTRY

FAST = EditSettings(strength=0.5, guidance=2.0, steps=4)
KINDS = {
    "stable-diffusion": "img2img",
    "inpainting": "inpaint",
    "instruct-pix2pix": "instruct",
    "xl": "img2img",
    "xl-inpainting": "inpaint",
    "sd3": "img2img",
    "sd3-inpainting": "inpaint",
    "flux": "img2img",
    "kontext": "reference",
    "flux-fill": "inpaint",
    "flux2": "reference",
    "klein": "reference",
    "z-image": "img2img",
    "qwen-image": "img2img",
    "sana-sprint": "img2img",
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole pipeline with random weights of every sort."""
    return {
        name: tiny_editors.save(build(), tmp_path_factory.mktemp(name) / "pipeline")
        for name, build in (*tiny_editors.EDITORS.items(), *tiny_modern_editors.EDITORS.items())
    }


@pytest.fixture(scope="module", params=KINDS)
def sort(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def any_editor(folders: dict[str, Path], sort: str) -> Editor:
    return load(folders, sort)


def load(folders: dict[str, Path], sort: str, precision: Precision = "fp32") -> Editor:
    """Today's editors are told the size, since their configuration has none but that of the published weights."""
    size_px = SIDE if sort in tiny_modern_editors.EDITORS else None
    return load_editor(str(folders[sort]), device="cpu", precision=precision, size_px=size_px)


@pytest.fixture(scope="module")
def folder(folders: dict[str, Path]) -> Path:
    return folders["stable-diffusion"]


@pytest.fixture(scope="module")
def editor(folder: Path) -> Editor:
    return load_editor(str(folder), device="cpu")


def picture(seed: int = 0, side: int = SIDE) -> NDArray[np.uint8]:
    return np.asarray(smooth_picture(side, side, seed=seed))


def fast(editor: Editor) -> EditSettings:
    """The editor's own settings with fewer steps."""
    return replace(editor.settings, steps=4)


def test_an_edit_is_a_picture_and_depends_on_prompt_and_seed(any_editor: Editor, sort: str):
    assert any_editor.kind == KINDS[sort]
    assert any_editor.size_px == (tiny_editors.FLUX_SIDE if sort == "flux" else SIDE)
    settings, original = fast(any_editor), picture(side=any_editor.size_px)
    edit = any_editor.edit([original], "at night", settings, seeds=[1])[0]
    assert edit.shape == original.shape
    assert edit.dtype == np.uint8
    assert edit.std() > 5, "an empty picture depends on nothing"
    assert np.array_equal(edit, any_editor.edit([original], "at night", settings, seeds=[1])[0])
    assert not np.array_equal(edit, any_editor.edit([original], "add some snow", settings, seeds=[1])[0])
    assert not np.array_equal(edit, any_editor.edit([original], "at night", settings, seeds=[2])[0])
    other = picture(seed=1, side=any_editor.size_px)
    assert not np.array_equal(edit, any_editor.edit([other], "at night", settings, seeds=[1])[0])


def test_a_picture_is_edited_alike_alone_and_in_a_batch(any_editor: Editor):
    settings, side = fast(any_editor), any_editor.size_px
    pictures, prompts = [picture(seed, side) for seed in range(2)], ["add some snow", "at night"]
    together = any_editor.edit(pictures, prompts, settings, seeds=[5, 6])
    alone = any_editor.edit(pictures[1:], prompts[1], settings, seeds=[6])
    difference = np.abs(together[1].astype(int) - alone[0].astype(int))
    assert difference.max() <= 1, "sums in another order may round otherwise"


def test_every_setting_changes_an_edit(any_editor: Editor, sort: str):
    settings, original = fast(any_editor), picture(side=any_editor.size_px)
    edit = any_editor.edit([original], "at night", settings, seeds=[1])[0]
    changes: list[dict[str, float]] = [{"steps": 5}]
    if any_editor.kind == "instruct":
        changes.append({"image_guidance": 1.0})
    elif any_editor.kind != "reference":
        changes.append({"strength": 0.3})
    if has_guidance(any_editor.pipeline, any_editor.family):
        changes += [{"guidance": 1.0}, {"guidance": 1.5}]
    for change in changes:
        changed = any_editor.edit([original], "at night", replace(settings, **change), seeds=[1])[0]
        assert not np.array_equal(edit, changed), change


def test_the_encoder_sees_the_picture_at_its_own_size(any_editor: Editor):
    """Resizing by the pipeline would be a purifier that no table names."""
    sizes: list[tuple[int, int]] = []
    handle = any_editor.pipeline.vae.encoder.register_forward_pre_hook(
        lambda _, inputs: sizes.append(tuple(inputs[0].shape[-2:]))
    )
    any_editor.edit([picture(side=any_editor.size_px)], "at night", fast(any_editor), seeds=[0])
    handle.remove()
    assert set(sizes) == {(any_editor.size_px, any_editor.size_px)}


def test_settings_of_another_kind_are_refused(any_editor: Editor):
    settings, original = fast(any_editor), picture(side=any_editor.size_px)
    if settings.strength is None:
        other, message = replace(settings, strength=0.5), f"of kind `{any_editor.kind}` has no strength; leave it out"
    else:
        other = replace(settings, image_guidance=1.5)
        message = f"of kind `{any_editor.kind}` has no image guidance; leave it out"
    with pytest.raises(UsageError, match=message):
        any_editor.edit([original], "", other, seeds=[0])


def test_its_surrogate_is_the_encoder_of_its_vae(any_editor: Editor, folders: dict[str, Path], sort: str):
    surrogate, same = any_editor.surrogate, load_surrogate(str(folders[sort] / "vae"), device="cpu")
    assert surrogate.digest == same.digest
    assert (surrogate.name, surrogate.origin) == (f"{folders[sort]}/vae",) * 2
    assert surrogate.multiple == same.multiple
    pixels = to_pixels(Picture(picture()))
    assert torch.equal(surrogate.posterior(pixels).mean, same.posterior(pixels).mean)


@pytest.mark.usefixtures("bf16_on_any_cpu")
def test_precision_is_of_the_pipeline_and_not_of_surrogate_or_digest(
    any_editor: Editor, folders: dict[str, Path], sort: str
):
    lower = load(folders, sort, "bf16")
    assert (lower.digest, lower.surrogate.digest) == (any_editor.digest, any_editor.surrogate.digest)
    assert lower.surrogate.dtype == torch.float32
    parts = [part for part in lower.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {part.dtype for part in parts} == {torch.bfloat16}
    original = picture(side=any_editor.size_px)
    settings = fast(lower) if lower.settings.guidance is None else replace(fast(lower), guidance=2.0)
    edits = [editor.edit([original], "at night", settings, seeds=[1])[0] for editor in (any_editor, lower)]
    difference = np.abs(edits[0].astype(float) - edits[1]).mean()
    assert 0 < difference < 2, "eight bits of mantissa; edits from two seeds are 35 levels apart"


def test_weights_saved_in_half_precision_edit_alike(folder: Path, editor: Editor, tmp_path: Path):
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(folder, dtype=torch.float16)
    pipeline.save_pretrained(tmp_path / "half")
    assert load_file(tmp_path / "half" / "vae" / WEIGHTS)["encoder.conv_in.weight"].dtype == torch.float16
    half = load_editor(str(tmp_path / "half"), device="cpu")
    assert half.digest != editor.digest, "it is of the files"
    assert half.surrogate.dtype == torch.float32
    edits = [one.edit([picture()], "at night", FAST, seeds=[1])[0] for one in (editor, half)]
    assert np.abs(edits[0].astype(float) - edits[1]).mean() < 1, "eleven bits of mantissa in the weights alone"


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_the_digest_is_of_every_part(folder: Path, editor: Editor, tmp_path: Path, part: str):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load_editor(str(copy), device="cpu").digest == editor.digest
    change_weight(next((copy / part).glob("*.safetensors")), 0.5)
    assert load_editor(str(copy), device="cpu").digest != editor.digest


def test_the_digest_of_the_hubs_cache_is_read_from_its_names(folder: Path, tmp_path: Path, monkeypatch):
    """A large file is a link to a file named by its SHA-256, so that no byte of it is read."""
    cached = tmp_path / "models--owner--tiny"
    snapshot = cached / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "blobs").mkdir()
    for file in snapshot.rglob("*.safetensors"):
        stored = cached / "blobs" / sha256(file.read_bytes()).hexdigest()
        file.rename(stored)
        file.symlink_to(stored)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    parts = ("unet", "vae", "text_encoder")
    of_folder = digest_of_files(folder, parts)
    assert digest_of_files("owner/tiny", parts) == of_folder
    for stored in (cached / "blobs").iterdir():
        stored.write_bytes(b"")
    assert digest_of_files("owner/tiny", parts) == of_folder
    with pytest.raises(ModelError, match="no longer in the hub's cache"):
        digest_of_files("owner/other", parts)


def test_variants_are_not_hashed(folder: Path, tmp_path: Path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.copy(copy / "unet" / WEIGHTS, copy / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert digest_of_files(copy, ["unet"]) == digest_of_files(folder, ["unet"])


def change_weight(path: Path, value: float) -> None:
    weights = load_file(path)
    name = next(name for name in weights if name.endswith(".weight"))
    weights[name].view(-1)[0] = value
    save_file(weights, path, metadata={"format": "pt"})


def test_an_edit_that_is_not_finite_is_refused(folders: dict[str, Path], sort: str, tmp_path: Path):
    copy = shutil.copytree(folders[sort], tmp_path / "copy")
    part = "transformer" if (copy / "transformer").exists() else "unet"
    change_weight(copy / part / WEIGHTS, float("nan"))
    broken = load({sort: copy}, sort)
    with pytest.raises(ModelError, match=r"not finite; use precision fp32 .* again$"):
        broken.edit([picture(side=broken.size_px)], "at night", fast(broken), seeds=[0])


@pytest.mark.parametrize("holds_back", [False, True])
def test_an_edit_that_the_safety_checker_blacks_out_is_none(folder: Path, tmp_path: Path, holds_back: bool):
    checked = load_editor(
        str(tiny_editors.with_safety_checker(folder, tmp_path / "checked", threshold=-2.0 if holds_back else 2.0)),
        device="cpu",
    )
    if not holds_back:
        assert checked.edit([picture()], "at night", FAST, seeds=[0])[0].std() > 5
        return
    assert checked.edit_or_block([picture()] * 2, "at night", FAST, seeds=[0, 1]) == [None, None]
    with pytest.raises(
        ModelError, match="its safety checker blacked out an edit; leave this picture or this prompt out"
    ):
        checked.edit([picture()], "at night", FAST, seeds=[0])


def test_an_edit_of_one_colour_is_refused(folder: Path, tmp_path: Path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "vae" / WEIGHTS
    weights = load_file(path)
    weights["decoder.conv_out.weight"].zero_()
    weights["decoder.conv_out.bias"].fill_(-1.0)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"an edit is one flat colour; use precision fp32"):
        load_editor(str(copy), device="cpu").edit([picture()], "at night", FAST, seeds=[0])


def test_batches_halve_when_memory_runs_out(folder: Path, editor: Editor):
    small = load_editor(str(folder), device="cpu")
    sizes: list[int] = []

    def require_few(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        sizes.append(len(inputs[0]) // 2)  # guidance doubles the batch
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    small.pipeline.unet.register_forward_pre_hook(require_few)
    pictures, prompts = [picture(seed) for seed in range(5)], ["at night", "add some snow"] * 2 + ["at night"]
    edits = small.edit(pictures, prompts, FAST, seeds=range(5))
    assert list(dict.fromkeys(sizes)) == [5, 2, 1]
    expected = editor.edit(pictures, prompts, FAST, seeds=range(5))
    assert max(np.abs(one.astype(int) - other).max() for one, other in zip(edits, expected, strict=True)) <= 1
    sizes.clear()
    small.edit(pictures[:4], "at night", FAST, seeds=range(4))
    assert set(sizes) == {2}, "the size that fits is remembered"


def test_a_single_edit_that_does_not_fit_is_refused(folder: Path):
    small = load_editor(str(folder), device="cpu")

    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9000000000 bytes")

    small.pipeline.unet.register_forward_pre_hook(fail)
    with pytest.raises(
        DeviceError, match="an edit at 64x64 px does not fit into the memory of device cpu; use a smaller"
    ):
        small.edit([picture()] * 3, "at night", FAST, seeds=[0, 1, 2])


def test_inpainting_repaints_the_mask(folders: dict[str, Path]):
    """With the mask of one half, the other half is that of the picture as its VAE renders it."""
    inpainting = load_editor(str(folders["inpainting"]), device="cpu")
    settings = replace(fast(inpainting), strength=1.0)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, : SIDE // 2] = True
    edits = []
    for columns in (slice(0, 0), slice(8, 16), slice(48, 56)):
        changed = picture().copy()
        changed[8:16, columns] = 255 - changed[8:16, columns]
        edits.append(inpainting.edit([changed], "at night", settings, seeds=[0], mask=mask)[0])
    assert np.array_equal(edits[0], edits[1]), "it does not see what it repaints"
    assert not np.array_equal(edits[0], edits[2])


@pytest.mark.parametrize("sort_of_inpainting", ["inpainting", "xl-inpainting"])
def test_inpainting_sees_the_middle_alone(folders: dict[str, Path], sort_of_inpainting: str):
    inpainting = load_editor(str(folders[sort_of_inpainting]), device="cpu")
    settings = replace(fast(inpainting), strength=1.0)
    edits = []
    for rows in (slice(0, 0), slice(0, 9), slice(28, 36)):  # the disc in the middle begins 9.6 px from the border
        changed = picture().copy()
        changed[rows, 28:36] = 255 - changed[rows, 28:36]
        edits.append(inpainting.edit([changed], "at night", settings, seeds=[0])[0])
    assert np.array_equal(edits[0], edits[1])
    assert not np.array_equal(edits[0], edits[2])


def test_a_text_to_image_folder_edits_too(folder: Path, editor: Editor, tmp_path: Path):
    StableDiffusionPipeline.from_pretrained(folder, vae=tiny_kl(seed=1)).save_pretrained(tmp_path / "other")
    other = load_editor(str(tmp_path / "other"), device="cpu")
    assert isinstance(other.pipeline, StableDiffusionImg2ImgPipeline)
    assert other.size_px == SIDE
    assert other.digest != editor.digest
    assert other.surrogate.digest != editor.surrogate.digest


@pytest.mark.parametrize("size", [(SIDE, 72), (48, 48)])
def test_a_picture_of_another_size_is_refused(editor: Editor, size: tuple[int, int]):
    array = np.zeros((size[1], size[0], 3), np.uint8)
    with pytest.raises(PictureError, match=rf"{size[0]}x{size[1]} px: .* edits 64x64 px; crop or resize"):
        editor.edit([array], "", FAST, seeds=[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 0.0}, "strength 0.0: has to be above 0 and at most 1"),
        ({"strength": 1.5}, "strength 1.5"),
        ({"guidance": 0.5}, "guidance 0.5: has to be 1 or more"),
        ({"image_guidance": 0.5}, "image guidance 0.5: has to be 1 or more"),
        ({"strength": 0.1, "steps": 5}, "less than one"),
        ({"strength": None, "steps": 0}, "steps 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str):
    with pytest.raises(UsageError, match=message):
        EditSettings(**settings)


def test_the_table_agrees_with_itself():
    for name, entry in EDITORS.items():
        assert entry.vae in REGISTRY, name
        assert (entry.settings.strength is None) == (entry.kind in ("instruct", "reference")), name
        assert (entry.settings.image_guidance is None) == (entry.kind != "instruct"), name
        assert (name in EMBEDDED) == (not entry.repo_id), name


def test_an_unknown_name_is_refused_with_a_hint():
    with pytest.raises(
        UsageError, match=r"unknown editor 'pocket-editr'; did you mean pocket-editor\? a pipeline folder"
    ):
        load_editor("pocket-editr", device="cpu")
    with pytest.raises(
        UsageError, match=f"known ones are {', '.join(EDITORS)}; a pipeline folder or a hub id works too"
    ):
        load_editor("??", device="cpu")


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument is deprecated")  # diffusers' own use of it
def test_an_editor_comes_out_of_the_hubs_cache(
    folder: Path, editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commit = "0" * 40
    cached = tmp_path / "models--CompVis--stable-diffusion-v1-4"
    shutil.copytree(folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = load_editor("sd14", device="cpu", offline=True)
    assert found.digest == editor.digest
    assert (found.name, found.size_px, found.settings) == ("sd14", 512, EDITORS["sd14"].settings)
    assert (found.surrogate.name, found.surrogate.digest) == ("sd14", editor.surrogate.digest)
    assert load_editor("CompVis/stable-diffusion-v1-4", device="cpu", offline=True).size_px == SIDE
    with pytest.raises(
        ModelError, match=r"^stable-diffusion-v1-5/.*: does not load as an editor \(.*\); go online, log in"
    ):
        load_editor("sd15", device="cpu", offline=True)


def damage_weights(folder: Path) -> None:
    path = next((folder / "unet").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1000])


def remove_weights(folder: Path) -> None:
    next((folder / "text_encoder").glob("*.safetensors")).unlink()


def pickle_weights(folder: Path) -> None:
    path = next((folder / "vae").glob("*.safetensors"))
    path.rename(path.with_suffix(".bin"))


def lose_weight_of(part: str) -> Callable[[Path], None]:
    """diffusers would leave it without memory, transformers would draw it at random."""

    def lose_weight(folder: Path) -> None:
        path = next((folder / part).glob("*.safetensors"))
        weights = load_file(path)
        del weights[next(name for name in weights if name.endswith(".weight"))]
        save_file(weights, path, metadata={"format": "pt"})

    return lose_weight


def remove_vocabulary(folder: Path) -> None:
    """transformers would make do with a handful of special tokens, and every prompt would read alike."""
    (folder / "tokenizer" / "tokenizer.json").unlink()


def raise_format(folder: Path) -> None:
    (folder / "pocket.json").write_text('{"format": 99}')


def forget_format(folder: Path) -> None:
    (folder / "pocket.json").write_text("{}")


def break_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def drop_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def empty_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("[]")


def change_json(folder: Path, file: str, **changes: object) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rename_class(folder: Path) -> None:
    change_json(folder, "model_index.json", _class_name="NoSuchPipeline")


def rename_part(folder: Path) -> None:
    change_json(folder, "model_index.json", unet=["diffusers", "NoSuchModel"])


def drop_vae(folder: Path) -> None:
    change_json(folder, "model_index.json", vae=[None, None])


def swap_vae(folder: Path) -> None:
    change_json(folder, "model_index.json", vae=["diffusers", "UNet2DConditionModel"])


def change_shape(folder: Path) -> None:
    change_json(folder, "unet/config.json", block_out_channels=[16, 16])


def change_type(folder: Path) -> None:
    change_json(folder, "unet/config.json", block_out_channels="ab")


def change_heads(folder: Path) -> None:
    change_json(folder, "text_encoder/config.json", num_attention_heads=3)


def change_activation(folder: Path) -> None:
    change_json(folder, "text_encoder/config.json", hidden_act="no such function")


def forget_size(folder: Path) -> None:
    change_json(folder, "unet/config.json", sample_size=None)


NOT_AN_EDITOR = r"does not load as an editor \(.+\); copy or download it again"
DAMAGES = {
    damage_weights: NOT_AN_EDITOR,
    remove_weights: "text_encoder: no safetensors weights; copy the folder again",
    pickle_weights: r"vae: no safetensors weights \(diffusion_pytorch_model.bin is pickled, and could run code",
    lose_weight_of("unet"): r"\(unet lacks \S+ and 0 others\)",
    lose_weight_of("vae"): r"\(vae lacks \S+ and 0 others\)",
    lose_weight_of("text_encoder"): r"\(text_encoder lacks \S+ and 0 others\)",
    remove_vocabulary: r"tokenizer: no vocabulary \(tokenizer.json, .*\); copy the folder again",
    raise_format: "format 99, and this program reads format 1",
    forget_format: "names no format version",
    break_index: "not readable as JSON",
    drop_index: r"no model_index.json in it; give the folder of a diffusers pipeline",
    empty_index: "names no pipeline; copy it again",
    rename_class: NOT_AN_EDITOR,
    rename_part: NOT_AN_EDITOR,
    drop_vae: "it has no VAE",
    swap_vae: NOT_AN_EDITOR,
    change_shape: NOT_AN_EDITOR,
    change_type: NOT_AN_EDITOR,
    change_heads: NOT_AN_EDITOR,
    change_activation: NOT_AN_EDITOR,
    forget_size: NOT_AN_EDITOR,
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


def test_a_distilled_editor_has_no_guidance():
    distilled = editor_of(
        tiny_modern_editors.klein(distilled=True), "klein", "reference", device=torch.device("cpu"), size_px=SIDE
    )
    assert distilled.settings.guidance is None
    distilled.require(distilled.settings)
    with pytest.raises(UsageError, match="an editor of kind `reference` has no guidance; leave it out"):
        distilled.require(replace(distilled.settings, guidance=4.0))


@pytest.mark.parametrize("sort", ["stable-diffusion", "xl-inpainting", "sd3", "klein", "z-image", "qwen-image"])
def test_guidance_1_predicts_without_the_empty_prompt(folders: dict[str, Path], sort: str):
    editor = load(folders, sort)
    network = getattr(editor.pipeline, "unet", None) or editor.pipeline.transformer
    predictions: list[int] = []
    network.register_forward_pre_hook(
        lambda _, inputs, named: predictions.append(len(inputs[0] if inputs else named["hidden_states"])),
        with_kwargs=True,
    )
    counts = []
    for guidance in (1.0, 2.0):
        predictions.clear()
        editor.edit([picture()], "at night", replace(fast(editor), guidance=guidance), seeds=[0])
        counts.append(sum(predictions))
    assert counts[1] == 2 * counts[0]


def test_the_settings_of_flux1_let_it_see_the_picture(folders: dict[str, Path]):
    """At strength 0.8 all of its four steps would run, from pure noise."""
    flux = load(folders, "flux")
    edits = [
        flux.edit([picture(seed, flux.size_px)], "at night", EDITORS["flux1"].settings, seeds=[1])[0] for seed in (0, 1)
    ]
    assert not np.array_equal(*edits)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_sana_sprint_takes_any_number_of_steps(folders: dict[str, Path], steps: int):
    """The schedule that diffusers has by default is for two."""
    sana = load(folders, "sana-sprint")
    counts: list[int] = []
    sana.pipeline.transformer.register_forward_pre_hook(lambda *_: counts.append(1))
    sana.edit([picture()], "at night", replace(sana.settings, steps=steps, strength=1.0), seeds=[1])
    assert len(counts) == steps


def test_the_settings_of_sana_sprint_let_it_see_the_picture(folders: dict[str, Path]):
    sana = load(folders, "sana-sprint")
    assert EDITORS["sana-sprint"].settings == sana.settings
    edits = [sana.edit([picture(seed)], "at night", sana.settings, seeds=[1])[0] for seed in (0, 1)]
    assert np.abs(edits[0].astype(float) - edits[1]).mean() > 1


def test_an_editor_edits_at_a_given_size(folder: Path, folders: dict[str, Path]):
    smaller = load_editor(str(folder), device="cpu", size_px=72)
    assert smaller.edit([picture(side=72)], "at night", FAST, seeds=[0])[0].shape == (72, 72, 3)
    for size_px, message in ((70, "give 72"), (56, "from 64 px; give 64")):
        with pytest.raises(UsageError, match=message):
            load_editor(str(folder), device="cpu", size_px=size_px)
    with pytest.raises(UsageError, match="multiples of 16 px"):
        load_editor(str(folders["kontext"]), device="cpu", size_px=72)
