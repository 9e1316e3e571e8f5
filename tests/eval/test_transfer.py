"""The transfer benchmark, on tiny encoders: who was protected against, who is measured, and what counts as the same encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import smooth_picture, tiny_kl
from diffusers import UNet2DConditionModel
from tiny_editors import SIDE, stable_diffusion

from pca_protect import ProtectConfig, UsageError
from pca_protect.attack.ensemble import mean_of
from pca_protect.attack.objectives import CollapseObjective
from pca_protect.engine import run_recipe
from pca_protect.eval.benches.configs import TransferConfig
from pca_protect.eval.benches.transfer import measure_transfer
from pca_protect.eval.results import Finished
from pca_protect.surrogates.load import load_surrogate

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three VAEs, a copy of the first one under another name, and an editor that uses the first."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(NAMES):
        tiny_kl(seed=seed).save_pretrained(folder / name)
    tiny_kl(seed=0).save_pretrained(folder / "copy-of-one")
    editor = stable_diffusion()
    editor.vae = tiny_kl(seed=0)
    editor.save_pretrained(folder / "editor")
    return folder


@pytest.fixture(scope="module")
def config(models: Path) -> TransferConfig:
    images = models / "images"
    images.mkdir()
    for seed in range(2):
        smooth_picture(SIDE, SIDE, seed=seed).save(images / f"{seed}.png")
    return TransferConfig(
        str(images),
        vaes=tuple(str(models / name) for name in (*NAMES, "copy-of-one")),
        editors=(str(models / "editor"),),
        prompts=("at night",),
        size_px=SIDE,
        device="cpu",
    )


@pytest.fixture(scope="module")
def finished(config: TransferConfig, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return measure_transfer(config, tmp_path_factory.mktemp("results") / "transfer")


def named(row: dict[str, object], column: str, models: Path) -> str:
    return str(row[column]).replace(f"{models}/", "")


def test_equal_weights_are_one_encoder_under_two_names(finished: Finished, models: Path):
    rows = finished.tables["transfer"]
    assert {named(row, "target", models) for row in rows} == set(NAMES)
    assert {named(row, "surrogate", models) for row in rows} == {*NAMES, *(f"all but {name}" for name in NAMES)}
    shared = {named(row, "target", models): named(row, "names", models) for row in rows}
    assert shared == {"one": "one, copy-of-one", "two": "two", "three": "three"}


def test_white_box_is_marked_and_goes_furthest(finished: Finished, models: Path):
    effects = {}
    for row in finished.tables["transfer"]:
        source, target = named(row, "surrogate", models), named(row, "target", models)
        assert row["same_encoder"] == (
            source == target or (source.startswith("all but") and source != f"all but {target}")
        )
        if (row["objective"], row["metric"], row["mode"]) == ("posterior", "latent", "diffusion"):
            effects[source, target] = float(str(row["effect"]))
    for target in NAMES:
        others = [effects[source, target] for source in (*NAMES, f"all but {target}") if source != target]
        assert effects[target, target] > max(others)


def test_edits_belong_to_the_target_whose_encoder_the_editor_shares(finished: Finished, models: Path):
    edits = [row for row in finished.tables["transfer"] if row["objective"] == "2"]
    assert {named(row, "target", models) for row in edits} == {"one"}
    assert len(edits) == 6 * 2, "six sources, two modes"
    assert all(row["kept"] == 1 and row["n"] == 2 and row["ci_low"] is None for row in edits)
    assert len({row["seed_line"] for row in edits}) == 1
    assert all(row["above_seed"] == pytest.approx(row["effect"] - row["seed_line"]) for row in edits)


def test_a_rerun_measures_nothing_and_says_the_same(config: TransferConfig, finished: Finished):
    folder = finished.paths[0].parent
    log = (folder / "results.jsonl").read_bytes()
    assert measure_transfer(config, folder).tables == finished.tables
    assert (folder / "results.jsonl").read_bytes() == log


def test_an_editor_of_no_target_is_refused(config: TransferConfig, models: Path, tmp_path: Path):
    without = replace(config, vaes=tuple(str(models / name) for name in ("two", "three")))
    with pytest.raises(UsageError, match=r"its VAE is none of .*two, .*three; add it with --vae"):
        measure_transfer(without, tmp_path)


def test_an_editor_of_another_size_sees_resized_pictures(config: TransferConfig, models: Path, tmp_path: Path):
    editor = stable_diffusion()
    editor.vae, editor.unet = tiny_kl(seed=1), small_unet(editor.unet)
    editor.save_pretrained(models / "small-editor")
    editors = (str(models / "editor"), str(models / "small-editor"))
    mixed = replace(config, vaes=config.vaes[:2], editors=editors, pictures=1, modes=("diffusion",))
    rows = [row for row in measure_transfer(mixed, tmp_path).tables["transfer"] if row["objective"] == "2"]
    assert {(named(row, "editor", models), row["edit_px"]) for row in rows} == {("editor", 64), ("small-editor", 32)}
    assert all(float(str(row["effect"])) > 0 for row in rows)


def small_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_config({**unet.config, "sample_size": unet.config.sample_size // 2})


def test_a_family_stands_for_its_encoders():
    assert TransferConfig("images", vaes=("classic", "flux1", "sdxl")).vaes == ("sd", "sdxl", "flux1")


def test_an_ensemble_moves_every_member(models: Path):
    pixels = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    members = [
        CollapseObjective(load_surrogate(str(models / name), device="cpu").posterior, 1.0, "up", pixels)
        for name in NAMES
    ]
    moved = run_recipe(pixels, mean_of(members), ProtectConfig(preset="fast")).pixels
    for member in members:
        assert float(member(moved)[0]) < float(member(pixels)[0])


def test_posteriors_can_be_measured_without_an_editor(models: Path, config: TransferConfig, tmp_path: Path):
    small = replace(config, editors=(), pictures=1, vaes=config.vaes[:2], modes=("diffusion",))
    rows = measure_transfer(small, tmp_path).tables["transfer"]
    assert {(row["objective"], row["n"]) for row in rows} == {("posterior", 1)}
