"""The parts of training that can be right or wrong; whether it went well is measured by `bench testbed`."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_picture, tiny_kl
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

import training.__main__
from pca_protect.eval.editors.registry import EMBEDDED
from training.checkpoints import follow, resume, save
from training.editor import PIPELINES
from training.instruct import EDITS, build_scheduler, build_unet, pairs
from training.kl_vae import whiten_latents
from training.pictures import RENDERED, latent_crops, load_styled_pictures
from training.prompts import LONGEST, make_tokenizer, prompt_for
from training.recipes import (
    EDITOR_SCHEDULES,
    EDITORS,
    INSTRUCT_EDITORS,
    INSTRUCT_SCHEDULES,
    VAE_SCHEDULES,
    VAES,
    InstructRecipe,
    KlRecipe,
    Schedule,
    Stage,
    TinyRecipe,
)
from training.texture import BANDS, amplitudes, fine_error
from training.vae import learning_rate


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of training data: 24 pictures of 256x256 px in one pack, and their captions."""
    folder = tmp_path_factory.mktemp("train")
    rows = ["pack,file,caption"]
    with tarfile.open(folder / "pack-0.tar", "w") as archive:
        for number in range(24):
            path = folder / f"{number:02}.webp"
            smooth_picture(256, 256, seed=number).save(path, lossless=True)
            archive.add(path, path.name)
            path.unlink()
            rows.append(f"pack-0.tar,{number:02}.webp,cup")
    (folder / "captions.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def pictures(count: int = 4) -> Tensor:
    arrays = [np.asarray(smooth_picture(64, 48, seed=seed)) for seed in range(count)]
    return torch.from_numpy(np.stack(arrays)).movedim(-1, 1).float() / 255


def test_whitening_makes_channels_unit_and_uncorrelated_and_changes_no_reconstruction():
    vae, batch = tiny_kl().eval(), pictures(8)
    with torch.no_grad():
        before = vae.decode(vae.encode(batch * 2 - 1).latent_dist.mean).sample
        whiten_latents(vae, [batch[:4], batch[4:]])
        posterior = vae.encode(batch * 2 - 1).latent_dist
        columns = posterior.mean.movedim(1, -1).flatten(end_dim=-2)
    assert torch.allclose(columns.mean(dim=0), torch.zeros(4), atol=1e-3)
    assert torch.allclose(torch.cov(columns.T), torch.eye(4), atol=1e-2)
    assert torch.allclose(vae.decode(posterior.mean).sample, before, atol=1e-3)


def test_whitening_mixes_variances_as_a_mixture_of_channels_has_them():
    vae, batch = tiny_kl().eval(), pictures(8)
    with torch.no_grad():
        old = vae.encode(batch * 2 - 1).latent_dist
        weight = vae.quant_conv.weight[:4, :, 0, 0].clone()
        whiten_latents(vae, [batch])
        new = vae.encode(batch * 2 - 1).latent_dist
        mixing = torch.linalg.lstsq(weight.T, vae.quant_conv.weight[:4, :, 0, 0].T).solution.T
        wanted = torch.einsum("ij,bjhw->bihw", mixing.square(), old.var)
    assert float((new.var / wanted).log().abs().mean()) < 0.05, "a fit, not an identity"


def stripes(levels: float, *, across: bool) -> Tensor:
    """The finest stripes, as strong as an attack may make them."""
    sign = torch.tensor([1.0, -1.0]).repeat(8)
    pattern = sign.expand(16, 16) if across else sign[:, None].expand(16, 16)
    return (0.5 + levels / 255 * pattern).expand(1, 3, 16, 16)


def test_texture_tells_directions_and_strengths_apart():
    flat = amplitudes(torch.full((1, 3, 16, 16), 0.5))
    assert flat.shape == (1, BANDS, 2, 2)
    assert float(flat.abs().max()) < 1e-3
    weak, strong = (amplitudes(stripes(levels, across=True)) for levels in (8, 16))
    turned = amplitudes(stripes(16, across=False))
    assert torch.allclose(strong, 2 * weak, atol=1e-4)
    assert int(strong[0, :, 0, 0].argmax()) != int(turned[0, :, 0, 0].argmax())


def test_a_pattern_stands_out_further_than_noise_of_the_same_budget():
    noise = 0.5 + (torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1) * 16 / 255
    found, by_noise = (amplitudes(picture).mean(dim=(0, 2, 3)).max() for picture in (stripes(16, across=True), noise))
    assert float(found) > 3 * float(by_noise)


def test_coarse_texture_is_not_asked_for():
    wanted, read = torch.zeros(1, BANDS, 2, 2), torch.zeros(1, BANDS, 2, 2)
    read[:, :3] = 1
    assert float(fine_error(read, wanted)) == 0
    read[:, -1] = 1
    assert float(fine_error(read, wanted)) > 0


def test_learning_rate_rises_and_falls():
    schedule = VAE_SCHEDULES["cpu"]
    rates = [learning_rate(schedule, step) for step in (0, 100, schedule.steps // 2, schedule.steps - 1)]
    assert rates[0] < rates[2] < rates[1] <= schedule.learning_rate
    assert rates[3] < 0.05 * schedule.learning_rate


def test_recipes_belong_together():
    editors = EDITORS | INSTRUCT_EDITORS
    assert editors.keys() == EMBEDDED.keys()
    for name, recipe in editors.items():
        assert recipe.vae == EMBEDDED[name]
        assert isinstance(VAES[recipe.vae], KlRecipe)
    for recipe in VAES.values():
        if isinstance(recipe, TinyRecipe):
            assert recipe.teacher in VAES
    for recipe in INSTRUCT_EDITORS.values():
        assert EDITORS[recipe.start].vae == recipe.vae
    recipes = [*VAES.values(), *EDITORS.values(), *INSTRUCT_EDITORS.values()]
    assert len({recipe.seed for recipe in recipes}) == len(recipes)
    assert VAE_SCHEDULES.keys() >= {"cpu", "gpu"}
    assert EDITOR_SCHEDULES.keys() >= {"cpu", "gpu"}


def test_styled_pictures_are_made_once_and_in_order(tmp_path: Path):
    source = np.stack([np.asarray(smooth_picture(32, 32, seed=seed)) for seed in range(5)])
    styled = load_styled_pictures(source, tmp_path / "styled.npy")
    assert styled.shape == (2, len(RENDERED), 32, 32, 3)
    assert np.array_equal(styled[1, 2], RENDERED[2].render(source[4]))
    assert np.array_equal(load_styled_pictures(source[:0], tmp_path / "styled.npy"), styled)


def test_latent_crops_say_where_they_are_from():
    latents = np.arange(3 * 2 * 1 * 8 * 8, dtype=np.float16).reshape(3, 2, 1, 8, 8)
    crops, rows, styles = latent_crops(latents, 6, 4, np.random.default_rng(0))
    assert crops.shape == (6, 1, 4, 4)
    for crop, row, style in zip(crops, rows, styles, strict=True):
        assert np.isin(crop.numpy(), latents[row, style]).all()


def test_tokenizer_keeps_known_words_whole_and_spells_the_rest(tmp_path: Path):
    tokenizer = make_tokenizer(["dalmatian", "add some snow", "at night"])
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert again.tokenize("At Night, dalmatian") == ["at</w>", "night</w>", ",</w>", "dalmatian</w>"]
    assert again.unk_token_id not in again("zebra é", add_special_tokens=False).input_ids
    assert again("", padding="max_length").input_ids[:2] == [again.bos_token_id, again.eos_token_id]


@pytest.mark.parametrize(("phrase", "kinds"), [("", {"", "cup", "a photo of a cup"}), ("at night", None)])
def test_prompts(phrase: str, kinds: set[str] | None):
    draws = np.random.default_rng(0)
    prompts = [prompt_for("cup", phrase, 0.2, draws) for _ in range(400)]
    assert 0.1 < prompts.count("") / len(prompts) < 0.3
    if kinds is None:
        kinds = {"", "at night", "cup, at night", "a photo of a cup, at night"}
    assert set(prompts) == kinds


def edit_latents() -> NDArray[np.float16]:
    """`(5, edits, 1, 2, 2)`; the value is 10 * row + edit + 1."""
    values = 10 * np.arange(5)[:, None] + np.arange(len(EDITS)) + 1
    return np.broadcast_to(values[..., None, None, None], (5, len(EDITS), 1, 2, 2)).astype(np.float16)


def test_pairs_hold_an_edit_its_instruction_and_the_photograph_of_the_same_row():
    wanted, given, prompts = pairs(edit_latents(), InstructRecipe("", "", 0, 0.0), 64, np.random.default_rng(0))
    rows, edits = (wanted[:, 0, 0, 0] - 1).div(10, rounding_mode="floor"), (wanted[:, 0, 0, 0] - 1) % 10
    assert torch.equal(given[:, 0, 0, 0], rows * 10 + 1)
    assert prompts == [EDITS[int(edit)].prompt for edit in edits]
    assert {int(edit) for edit in edits} == set(range(len(EDITS)))


def test_pairs_lose_instruction_and_photograph_for_both_guidances():
    latents = edit_latents()[:, 1:2].repeat(len(EDITS), axis=1)  # no row without an instruction of its own
    recipe = InstructRecipe("", "", 0, 0.1)
    draws = np.random.default_rng(0)
    _, given, prompts = pairs(latents, recipe, 4000, draws)
    no_picture = given.flatten(1).abs().sum(dim=1) == 0
    no_prompt = torch.tensor([prompt == "" for prompt in prompts])
    unedited = 1 / len(EDITS)
    assert float((no_picture & no_prompt).float().mean()) == pytest.approx(0.1 + 0.1 * unedited, abs=0.02)
    assert float((no_picture & ~no_prompt).float().mean()) == pytest.approx(0.1 * (1 - unedited), abs=0.02)
    assert float((~no_picture & no_prompt).float().mean()) == pytest.approx(0.1 + 0.7 * unedited, abs=0.03)


def test_an_instruction_editor_starts_as_the_editor_it_continues():
    start = PIPELINES / INSTRUCT_EDITORS["pocket-instruct"].start
    widened = build_unet(start)
    original = UNet2DConditionModel.from_pretrained(start, subfolder="unet", torch_dtype=torch.float32)
    latents, given = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    words, step = torch.zeros(1, LONGEST, 128), torch.tensor([500])
    with torch.no_grad():
        expected = original(latents, step, words).sample
        assert torch.allclose(widened(torch.cat([latents, given], dim=1), step, words).sample, expected, atol=1e-5)
    assert widened.config.in_channels == 8


def test_the_last_step_of_an_instruction_editor_has_no_signal():
    scheduler = build_scheduler()
    scheduler.set_timesteps(4)
    assert int(scheduler.timesteps[0]) == 999
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(0, abs=1e-7)


def test_training_goes_on_where_it_was_stopped(tmp_path: Path):
    cpu = torch.device("cpu")
    model, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert resume({"model": model}, tmp_path, cpu) == (0, 0.0)
    save({"model": model}, tmp_path, 7, 1.5)
    assert resume({"model": other}, tmp_path, cpu) == (7, 1.5)
    assert torch.equal(other.weight, model.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_the_average_follows_quickly_at_first_and_slowly_later():
    average, model = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(average.weight)
    torch.nn.init.ones_(model.weight)
    follow(average, model, 1)
    assert float(average.weight.detach()) == pytest.approx(10 / 11)
    torch.nn.init.zeros_(average.weight)
    follow(average, model, 100_000)
    assert float(average.weight.detach()) == pytest.approx(0.001)


def train(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    """`python -m training WORDS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["training", *map(str, words)])
    training.__main__.main()


@pytest.mark.parametrize("name", ["pocket", "pocket-editor", "pocket-instruct"])
def test_a_model_trains_one_step_and_resumes(
    name: str, packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    one = Schedule((Stage(1, 4, 64),), 1e-3)
    monkeypatch.setitem(VAE_SCHEDULES, "cpu", one)
    monkeypatch.setitem(EDITOR_SCHEDULES, "cpu", one)
    monkeypatch.setitem(INSTRUCT_SCHEDULES, "cpu", one)
    for _ in range(2):
        train(monkeypatch, name, "--data", packs, "--runs", tmp_path, "--precision", "fp32")
    saved = torch.load(tmp_path / name / "last.pt", weights_only=True)
    assert saved["step"] == 1
    assert capsys.readouterr().out == "resumed at step 1\n"


def test_universal_perturbations_are_trained_once(
    packs: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "universal.safetensors"
    words = ("universal", "--data", packs, "--vae", tiny_folder, "--out", out, "--steps", "1", "--mode")
    train(monkeypatch, *words, "diffusion")
    first = out.read_bytes()
    train(monkeypatch, *words, "diffusion")
    assert out.read_bytes() == first
    train(monkeypatch, *words, "concentration")
    with safe_open(out, "pt") as file:
        assert sorted(key.split("-")[1] for key in file.keys()) == ["concentration", "diffusion"]  # noqa: SIM118
        assert all(file.get_tensor(key).shape == (3, 64, 64) for key in file.keys())  # noqa: SIM118
        assert len(file.metadata()) == 2
