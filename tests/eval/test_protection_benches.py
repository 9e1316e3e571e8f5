"""The benchmarks of the protection itself on tiny models: they run, resume, and leave out a picture that fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import smooth_picture, tiny_kl
from PIL import Image
from tiny_editors import SIDE, stable_diffusion

from pca_protect import UsageError
from pca_protect.cli.main import app
from pca_protect.eval.benches import protection_configs as configs
from pca_protect.eval.benches.check import measure_check
from pca_protect.eval.benches.cost.folders import measure_folders
from pca_protect.eval.benches.flat import measure_flat
from pca_protect.eval.benches.grid import measure_grid
from pca_protect.eval.benches.ingredients import INGREDIENTS, measure_ingredients
from pca_protect.eval.benches.scales import measure_scales
from pca_protect.eval.benches.steps import measure_steps
from pca_protect.eval.benches.uploads import measure_uploads
from pca_protect.eval.results import Finished


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two VAEs, an editor, and pictures: two that every benchmark can use, and one that none can read."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        tiny_kl(seed=seed).save_pretrained(folder / name)
    stable_diffusion().save_pretrained(folder / "editor")
    (folder / "images").mkdir()
    for seed in range(2):
        smooth_picture(200, 170, seed=seed).save(folder / "images" / f"{seed}.png")
    (folder / "images" / "broken.png").write_bytes(b"no picture")
    return folder


def steps(models: Path, out: Path) -> Finished:
    presets = (("paper", 2), ("balanced", 1))
    config = configs.StepsConfig(
        str(models / "images"), vaes=(str(models / "one"),), size_px=32, presets=presets, device="cpu"
    )
    return measure_steps(config, out)


def flat(models: Path, out: Path) -> Finished:
    config = configs.FlatConfig(
        str(models / "images"), vae=str(models / "one"), size_px=64, patch_px=32, arms=("noise-linf",), device="cpu"
    )
    return measure_flat(config, out)


def uploads(models: Path, out: Path) -> Finished:
    config = configs.UploadsConfig(
        str(models / "images"),
        editor=str(models / "editor"),
        longest=150,
        posted_px=140,
        steps=1,
        prompts=("snow",),
        device="cpu",
    )
    return measure_uploads(config, out)


def scales(models: Path, out: Path) -> Finished:
    config = configs.ScalesConfig(
        str(models / "images"),
        editor=str(models / "editor"),
        preset="paper",
        steps=1,
        tile_px=128,
        arms=("windows", "small"),
        prompts=("snow",),
        device="cpu",
    )
    return measure_scales(config, out)


def grid(models: Path, out: Path) -> Finished:
    config = configs.GridConfig(
        str(models / "images"),
        large=str(models / "images"),
        vaes=(str(models / "one"),),
        sides_px=(136,),
        large_px=160,
        tile_px=128,
        steps=1,
        device="cpu",
    )
    return measure_grid(config, out)


def check(models: Path, out: Path) -> Finished:
    one = str(models / "one")
    config = configs.CheckConfig(str(models / "images"), vaes=(one,), protect_with=one, size_px=32, device="cpu")
    return measure_check(config, out)


def ingredients(models: Path, out: Path) -> Finished:
    vaes = (str(models / "one"), str(models / "two"))
    config = configs.IngredientsConfig(str(models / "images"), vaes=vaes, size_px=32, steps=1, device="cpu")
    return measure_ingredients(config, out)


@pytest.mark.parametrize(
    ("measure", "tables"),
    [
        (steps, {"steps": 2 * 2}),
        (flat, {"flat": 2}),
        (uploads, {"upload": 4}),
        (scales, {"seams": 2 * 2, "effects": 2 * 2 * 4, "borders": 2, "scales": 2 * 2}),
        (grid, {"windows": 2, "scales": 2}),
        (check, {"check": 7}),
        (ingredients, {"ingredients": 2 * (1 + 2 + len(INGREDIENTS) + 2)}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_benchmark_measures_what_it_can_and_a_rerun_nothing(
    measure: Callable[[Path, Path], Finished], tables: dict[str, int], models: Path, tmp_path: Path
):
    finished = measure(models, tmp_path)
    assert {name: len(rows) for name, rows in finished.tables.items() if name != "failures"} == tables
    assert [row["picture"] for row in finished.tables["failures"]] == ["broken.png"]
    assert all(row["n"] == 2 for name in tables for row in finished.tables[name] if "n" in row)
    assert all(path.is_file() for path in finished.paths)
    log = (tmp_path / "results.jsonl").read_bytes()
    assert measure(models, tmp_path).tables == finished.tables
    assert (tmp_path / "results.jsonl").read_bytes() == log
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["tables"] == finished.tables
    assert set(summary["config"]["pictures"]) == {"0.png", "1.png"}
    assert str(models / "images") not in summary["config"].values()


def test_an_interrupted_benchmark_measures_the_rest(models: Path, tmp_path: Path):
    whole = check(models, tmp_path)
    log = tmp_path / "results.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:3]) + lines[3][:20])
    assert check(models, tmp_path).tables == whole.tables
    assert log.read_text().splitlines(keepends=True) == lines


def test_a_picture_without_a_border_is_named_and_the_others_are_measured(models: Path, tmp_path: Path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in (("small", (SIDE, SIDE)), ("large", (200, 170))):
        smooth_picture(*size).save(folder / f"{name}.png")
    config = configs.ScalesConfig(
        str(folder),
        editor=str(models / "editor"),
        preset="paper",
        steps=1,
        tile_px=128,
        arms=("windows",),
        views=("small",),
        prompts=("snow",),
        device="cpu",
    )
    tables = measure_scales(config, tmp_path / "out").tables
    assert [(row["picture"], "no border" in str(row["reason"])) for row in tables["failures"]] == [("small.png", True)]
    assert [row["n"] for row in tables["effects"]] == [1, 1]


def test_flat_patches_are_shown_side_by_side(models: Path, tmp_path: Path):
    sheet = flat(models, tmp_path).paths[-1]
    with Image.open(sheet) as image:
        assert image.width > 3 * 32


def test_planning_of_folders_is_measured(tmp_path: Path):
    rows = measure_folders(tmp_path, numbers=(3,)).tables["folders"]
    assert [(row["pictures"], row["what"], row.get("to do"), row.get("finished")) for row in rows] == [
        (3, "look", 3, None),
        (3, "prove", None, 3),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["flat", "--images", "IMAGES", "--arm", "noise-visible"], "control of this benchmark is noise-linf"),
        (["uploads", "--images", "IMAGES", "--longest", "900"], "must be above 1080 px"),
        (["steps", "--images", "IMAGES", "--vae", "pocket", "--vae", "pocket"], "contain a duplicate"),
        (["ingredients", "--images", "IMAGES", "--vae", "pocket"], "needs another one"),
        (["check", "--images", "IMAGES", "--reference"], "needs --source"),
        (["scales", "--images", "IMAGES", "--pictures", "0"], "must be 1 or more"),
        (["grid", "--images", "IMAGES", "--steps", "0"], "steps 0"),
        (["cost", "--what", "power"], "choose from time, step, memory, scale, folders"),
        (["cost", "--what", "memory"], "give a folder with --images"),
    ],
)
def test_settings_that_mean_nothing_are_refused(words: list[str], message: str, tmp_path: Path):
    given = [str(tmp_path) if word == "IMAGES" else word for word in words]
    with pytest.raises(UsageError, match=message):
        app(["bench", *given, "--out", str(tmp_path / "out")], standalone_mode=False)
    assert not (tmp_path / "out").exists()
