"""The benchmark of edits, on whole but tiny models: what it measures, what it survives, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, ROOT, smooth_picture
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_editors import SIDE, instruct_pix2pix, stable_diffusion

from pca_protect import UsageError
from pca_protect.cli.main import app
from pca_protect.eval.arms.controls import OWN_CONTROLS, SEED, UNRELATED
from pca_protect.eval.arms.registry import CONTROLS
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.benches.editing import measure_editing
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.local_edits import LOCAL_EDITS
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import square_picture
from pca_protect.eval.results import Finished
from pca_protect.eval.saved_edits import OTHER_SEED, read_edit, saved_edits
from pca_protect.eval.trial import edit_seed, prompts_for

ARMS = ("photoguard", "pca-diffusion", "pca-concentration")


def rgb(path: Path) -> NDArray[np.int_]:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def editor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editor") / "tiny"
    stable_diffusion().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several sizes and shapes."""
    folder = tmp_path_factory.mktemp("images")
    for seed, size in enumerate(((SIDE, SIDE), (90, 70), (40, 130))):
        smooth_picture(*size, seed=seed).save(folder / f"picture-{seed}.png")
    return folder


@pytest.fixture(scope="module")
def config(images: Path, editor_folder: Path) -> EditingConfig:
    return EditingConfig(
        str(images),
        editors=(str(editor_folder),),
        arms=ARMS,
        prompts=("snow", "sunset"),
        seeds=2,
        steps=2,
        strengths=(0.5,),
        metrics=("flip", "ssim", "blur"),
        device="cpu",
        keep_edits=True,
    )


@pytest.fixture(scope="module")
def finished(config: EditingConfig, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return measure_editing(config, tmp_path_factory.mktemp("results") / "editing")


def test_every_arm_is_compared_with_every_control(finished: Finished):
    rows = finished.tables["editing"]
    for objective, metric in (("1", "flip"), ("2", "flip"), ("2", "ssim"), ("sets", "rms"), ("quality", "blur")):
        asked = [row for row in rows if (row["objective"], row["metric"]) == (objective, metric)]
        assert {(row["arm"], row["control"]) for row in asked} == {
            *((arm, control) for arm in ARMS for control in (SEED, *CONTROLS)),
            *((arm, control) for arm in ARMS[1:] for control in OWN_CONTROLS),
            *((control, None) for control in (*CONTROLS, SEED, UNRELATED)),
        }
        assert all(row["n"] == 3 and row["kept"] == 1.0 for row in asked), "no target is known, so every edit counts"
    assert not {"failures", "skipped"} & set(finished.tables)
    assert {row["arm"] for row in finished.tables["outcomes"]} == set(ARMS)


def test_the_line_of_other_seeds_is_the_distance_of_clean_edits(finished: Finished, images: Path, editor_folder: Path):
    """Made again with the editor alone: edits of a picture with one prompt and both seeds."""
    editor = load_editor(str(editor_folder), device="cpu")
    settings = replace(editor.settings, strength=0.5, steps=2)
    distances = []
    for path in sorted(images.iterdir()):
        picture = square_picture(path, SIDE).rgb
        for text in ("add some snow", "apply sunset lighting"):
            seeds = [edit_seed(picture, text, number) for number in range(2)]
            assert len(set(seeds)) == 2
            distances.append(visibility(*editor.edit([picture] * 2, text, settings, seeds=seeds)))
    (row,) = [
        row
        for row in finished.tables["editing"]
        if (row["arm"], row["objective"], row["metric"], row["control"]) == (SEED, "2", "flip", None)
    ]
    assert row["effect"] == pytest.approx(np.mean(distances), abs=2e-3), "batches round differently"


def test_no_two_edits_share_noise_but_those_of_one_picture_under_different_arms():
    one, other = (np.asarray(smooth_picture(8, 8, seed=seed)) for seed in range(2))
    seeds = {edit_seed(picture, prompt, number) for picture in (one, other) for prompt in "ab" for number in range(3)}
    assert len(seeds) == 12
    assert edit_seed(one, "a", 0) == edit_seed(one.copy(), "a", 0)


def test_rows_are_what_the_log_says(finished: Finished):
    folder = finished.paths[0].parent
    log = {
        entry["key"]: entry["measured"]
        for entry in map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    }
    values = {"pca-diffusion": [], "noise-linf": []}
    for arm, means in values.items():
        for number in range(3):
            (entry,) = [found for key, found in log.items() if key.endswith(f"picture-{number}.png | {arm} 16")]
            means.append(np.mean([edit["to_clean"]["flip"] for edit in entry["edits"].values()]))
    (row,) = [
        row
        for row in finished.tables["editing"]
        if (row["arm"], row["control"], row["objective"], row["metric"]) == ("pca-diffusion", "noise-linf", "2", "flip")
    ]
    differences = np.subtract(values["pca-diffusion"], values["noise-linf"])
    assert row["effect"] == pytest.approx(np.mean(values["pca-diffusion"]))
    assert row["difference"] == pytest.approx(differences.mean())
    assert (row["ci_low"], row["n"]) == (None, 3)


def test_budgets_hold_and_noise_is_as_visible_as_each_method(finished: Finished):
    folder = finished.paths[0].parent
    found = {}
    for entry in map(json.loads, (folder / "results.jsonl").read_text().splitlines()):
        _, picture, variant = entry["key"].split(" | ")
        found[picture, variant] = entry["measured"]
    methods = [(picture, variant) for picture, variant in found if variant in {f"{arm} 16" for arm in ARMS}]
    assert len(methods) == 9
    for picture, variant in methods:
        measured = found[picture, variant]
        assert 0 < measured["visible"]["max_change_levels"] <= 16
        noise = found[picture, measured["as_visible"]]
        assert noise["visible"]["flip"] == pytest.approx(measured["visible"]["flip"], rel=0.15), "within half a rung"
        for control in OWN_CONTROLS:
            if variant == "photoguard 16":
                assert (picture, f"{variant} {control}") not in found
            else:
                beside = found[picture, f"{variant} {control}"]["visible"]
                assert beside["rms_levels"] == pytest.approx(measured["visible"]["rms_levels"], rel=0.1)


def test_the_shuffled_perturbation_is_that_of_the_picture_before(finished: Finished, editor_folder: Path):
    kept = finished.paths[0].parent / "pictures" / str(editor_folder).lstrip("/").replace("/", "_")
    for number, before in ((0, 2), (1, 0), (2, 1)):
        original, moved = (
            rgb(kept / f"picture-{number}" / f"{name}.png")
            for name in ("original", "pca-diffusion-16-shuffled-protected")
        )
        other, protected = (
            rgb(kept / f"picture-{before}" / f"{name}.png") for name in ("original", "pca-diffusion-16-protected")
        )
        assert np.array_equal(moved, (original + protected - other).clip(0, 255))


def test_pictures_of_the_first_edits_are_kept(finished: Finished, editor_folder: Path):
    kept = finished.paths[0].parent / "pictures" / str(editor_folder).lstrip("/").replace("/", "_") / "picture-0"
    names = {path.name for path in kept.iterdir()}
    assert {"original.png", "clean.png", "pca-diffusion-16.png", "pca-diffusion-16-protected.png"} <= names
    original, protected = (rgb(kept / name) for name in ("original.png", "pca-diffusion-16-protected.png"))
    assert 0 < np.abs(original - protected).max() <= 16


RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.benches.editing import measure_editing
measure_editing(eval(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_killed_run_goes_on_to_the_same_tables(config: EditingConfig, tmp_path: Path):
    small = replace(config, pictures=2, seeds=1, prompts=("snow",), own_controls=("pca-diffusion",))
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", RUN, repr(small), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = folder / "results.jsonl"
    for lines in (2, 7):
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= lines):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lines <= log.read_bytes().count(b"\n") < 2 * (3 + len(ARMS)), "killed before its end"
        with log.open("ab") as torn:
            torn.write(b'{"key": "half a li')
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    undisturbed = [*command[:-1], str(tmp_path / "undisturbed")]
    subprocess.run(undisturbed, cwd=ROOT, env=environment, check=True, capture_output=True)
    tables = [
        json.loads((tmp_path / name / "summary.json").read_text())["tables"] for name in ("killed", "undisturbed")
    ]
    for row in [row for each in tables for row in each["frontier"]]:
        del row["seconds"], row["seconds_share"]  # times are those of the run
    assert tables[0] == tables[1]
    assert tables[0]["editing"]


def test_one_picture_has_means_and_neither_statistics_nor_another_picture(config: EditingConfig, tmp_path: Path):
    small = replace(config, pictures=1, seeds=1, prompts=("snow",), arms=("pca-diffusion",))
    rows = measure_editing(small, tmp_path / "one").tables["editing"]
    compared = [row for row in rows if row["control"]]
    assert {row["control"] for row in compared} == {SEED, *CONTROLS, "noise-spectrum"}
    assert all(row["n"] == 1 and row["difference"] is not None for row in compared)
    assert all(row[name] is None for row in compared for name in ("ci_low", "ci_high", "p", "p_holm"))


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_measured(config: EditingConfig, tmp_path: Path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"no picture")
    for seed in range(2):
        smooth_picture(SIDE, SIDE, seed=seed).save(folder / f"whole-{seed}.png")
    small = replace(config, images=str(folder), seeds=1, prompts=("snow",), arms=("photoguard",))
    tables = measure_editing(small, tmp_path / "out").tables
    assert [row["picture"] for row in tables["failures"]] == ["broken.png"]
    assert all(row["n"] == 2 for row in tables["editing"])


def test_an_editor_that_returns_nan_is_named_and_the_other_is_measured(
    config: EditingConfig, editor_folder: Path, tmp_path: Path
):
    broken = tmp_path / "broken"
    stable_diffusion().save_pretrained(broken)
    weights = next((broken / "unet").glob("*.safetensors"))
    tensors = load_file(weights)
    tensors["conv_out.bias"] = torch.full_like(tensors["conv_out.bias"], float("nan"))
    save_file(tensors, weights, {"format": "pt"})
    small = replace(
        config, editors=(str(broken), str(editor_folder)), pictures=2, seeds=1, prompts=("snow",), arms=("photoguard",)
    )
    tables = measure_editing(small, tmp_path / "out").tables
    assert [(row["editor"], row["picture"]) for row in tables["failures"]] == [
        (str(broken), f"picture-{number}.png") for number in range(2)
    ]
    assert all("not finite" in str(row["reason"]) for row in tables["failures"])
    assert {row["editor"] for row in tables["editing"]} == {str(editor_folder)}
    assert all(row["n"] == 2 for row in tables["editing"])


def test_a_changed_setting_does_not_mix_with_old_results(config: EditingConfig, finished: Finished):
    folder = finished.paths[0].parent
    before = (folder / "summary.json").read_bytes()
    with pytest.raises(UsageError, match=r"measured with other settings.*seeds"):
        measure_editing(replace(config, seeds=3), folder)
    assert (folder / "summary.json").read_bytes() == before


def test_an_edited_result_is_refused(config: EditingConfig, finished: Finished, tmp_path: Path):
    log = tmp_path / "results.jsonl"
    lines = (finished.paths[0].parent / "results.jsonl").read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace('"flip": 0.', '"flip": 0.9', 1)
    log.write_text("".join(lines))
    with pytest.raises(UsageError, match="line 4: was changed after it was written"):
        measure_editing(config, tmp_path)


def test_what_an_editor_cannot_have_is_skipped_and_named(config: EditingConfig, editor_folder: Path, tmp_path: Path):
    """An instruction editor has neither a strength nor a plain UNet; the other editor has both, and all arms."""
    instruct = tmp_path / "instruct"
    instruct_pix2pix().save_pretrained(instruct)
    arms = ("photoguard", "advdm", "instant-diffusion")
    small = replace(
        config, editors=(str(editor_folder), str(instruct)), pictures=1, seeds=1, prompts=("snow",), arms=arms
    )
    tables = measure_editing(small, tmp_path / "out").tables
    assert [(row["editor"], row["arm"], row["setting"]) for row in tables["skipped"]] == [
        (str(editor_folder), "instant-diffusion", None),
        (str(instruct), None, "strength 0.5"),
        (str(instruct), "advdm", None),
        (str(instruct), "instant-diffusion", None),
    ]
    measured = {(row["editor"], row["arm"]) for row in tables["outcomes"]}
    assert measured == {
        (str(editor_folder), "photoguard"),
        (str(editor_folder), "advdm"),
        (str(instruct), "photoguard"),
    }


def test_every_strength_is_measured(config: EditingConfig, editor_folder: Path, tmp_path: Path):
    small = replace(config, strengths=(0.5, 1.0), pictures=1, seeds=1, prompts=("snow",), arms=("photoguard",))
    rows = measure_editing(small, tmp_path / "out").tables["outcomes"]
    labels = [f"{editor_folder}, strength {strength}" for strength in ("0.5", "1")]
    assert [row["editor"] for row in rows] == labels
    assert rows[0]["effect"] != rows[1]["effect"]


def test_an_editor_that_can_have_no_arm_is_refused_before_the_first_edit(config: EditingConfig, tmp_path: Path):
    with pytest.raises(UsageError, match="supports none of the arms"):
        measure_editing(replace(config, arms=("instant-diffusion",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tables_are_written_after_each_editor(config: EditingConfig, editor_folder: Path, tmp_path: Path):
    """The second editor's measurements are interrupted."""
    second = tmp_path / "second"
    stable_diffusion().save_pretrained(second)
    small = replace(
        config, editors=(str(editor_folder), str(second)), pictures=1, seeds=1, prompts=("snow",), arms=("photoguard",)
    )

    def interrupt(label: str, done: int, units: int) -> None:
        if label == str(second):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_editing(small, tmp_path / "out", on_progress=interrupt)
    tables = json.loads((tmp_path / "out" / "summary.json").read_text())["tables"]
    assert {row["editor"] for row in tables["editing"]} == {str(editor_folder)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ("photogard",)}, "did you mean photoguard"),
        ({"metrics": ("flipp",)}, "did you mean flip"),
        ({"budgets": (0,)}, "budget 0"),
        ({"budgets": (8, 8)}, "contain a duplicate"),
        ({"seeds": 0}, "seeds 0"),
        ({"editors": ()}, "no editor given"),
        ({"prompts": ()}, "no prompt given"),
    ],
)
def test_settings_that_mean_nothing_are_refused_at_once(config: EditingConfig, change: dict[str, object], message: str):
    with pytest.raises(UsageError, match=message):
        replace(config, **change)


def test_a_metric_that_needs_larger_pictures_is_refused(config: EditingConfig, tmp_path: Path):
    with pytest.raises(UsageError, match=r"ms-ssim: takes pictures from 1\d\d px up and these have 64 px"):
        measure_editing(replace(config, metrics=("ms-ssim",)), tmp_path / "out")


@pytest.fixture(scope="module")
def instruct_config(config: EditingConfig, tmp_path_factory: pytest.TempPathFactory) -> EditingConfig:
    """One picture, one prompt, one seed, and an editor whose UNet takes more than latents."""
    folder = tmp_path_factory.mktemp("instruct") / "tiny"
    instruct_pix2pix().save_pretrained(folder)
    small = replace(config, pictures=1, prompts=("snow",), seeds=1, strengths=(), metrics=("flip",))
    return replace(small, editors=(str(folder),), arms=("photoguard", "advdm", "sds-plus"))


def test_pictures_have_the_given_size(instruct_config: EditingConfig, tmp_path: Path):
    finished = measure_editing(replace(instruct_config, arms=("photoguard",), size_px=72), tmp_path / "out")
    assert "skipped" not in finished.tables
    kept = list((tmp_path / "out" / "pictures").rglob("*.png"))
    assert kept
    assert all(rgb(path).shape == (72, 72, 3) for path in kept)


def test_edits_have_targets_for_editors_that_were_trained_on_them(editor_folder: Path):
    known, free = prompts_for(load_editor("pocket-editor", device="cpu"), ["snow", "a red door"])
    assert known.target is not None
    assert (known.text, free.text, free.target) == ("add some snow", "a red door", None)
    assert [prompt.target for prompt in prompts_for(load_editor("pocket-editor", device="cpu"), ["red-sky"])] == [None]
    (local,) = prompts_for(load_editor("pocket-instruct", device="cpu"), ["make the sky red"])
    assert local.target is LOCAL_EDITS["red-sky"]
    (foreign,) = prompts_for(load_editor(str(editor_folder), device="cpu"), ["snow"])
    assert (foreign.text, foreign.target) == ("add some snow", None)
    for words, message in (
        (["snow", "add some snow"], "contain a duplicate"),
        (["none"], "is not an instruction"),
        ([""], "is not an instruction"),
    ):
        with pytest.raises(UsageError, match=message):
            prompts_for(load_editor(str(editor_folder), device="cpu"), words)


def test_the_paper_modes_make_edits_of_a_photograph_fail(tmp_path: Path):
    """One real photograph through the embedded editor: both modes move its edits further than noise of the same budget"""
    folder = tmp_path / "images"
    folder.mkdir()
    with Image.open(ASTRONAUT) as image:
        image.crop((100, 30, 356, 286)).save(folder / "astronaut.png")
    config = EditingConfig(
        str(folder),
        arms=("fast-diffusion", "fast-concentration"),
        prompts=("watercolor",),
        seeds=1,
        metrics=("flip",),
        device="cpu",
    )
    rows = measure_editing(config, tmp_path / "out").tables["editing"]
    effects = {row["arm"]: row["effect"] for row in rows if row["objective"] == "2"}
    assert effects["fast-diffusion"] > 1.2 * effects["noise-linf"]
    assert effects["fast-concentration"] > 1.2 * effects["noise-linf"]


def test_kept_edits_are_those_that_were_measured(config: EditingConfig, finished: Finished, images: Path):
    """The first edit of every picture, prompt and variant, and the second clean one; the setting decides no measurement."""
    folder = finished.paths[0].parent
    log = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert "keep_edits" not in log[0]["config"]
    edits = saved_edits(folder)
    assert [(one.picture, one.prompt) for one in edits] == [
        (path.name, text) for path in sorted(images.iterdir()) for text in ("add some snow", "apply sunset lighting")
    ]
    for one, name in zip(edits, ["snow", "sunset"] * 3, strict=True):
        entries = {
            entry["key"].rpartition(" | ")[2]: entry["measured"]
            for entry in log
            if entry["key"].split(" | ")[1] == one.picture
        }
        assert set(one.edits) == {*entries, OTHER_SEED}
        original, clean = read_edit(one.original), read_edit(one.edits["clean"])
        assert visibility(original, clean) == entries["clean"]["edits"][f"{name}/0"]["to_original"]["flip"]
        other = read_edit(one.edits[OTHER_SEED])
        assert visibility(original, other) == entries["clean"]["edits"][f"{name}/1"]["to_original"]["flip"]
        changed = read_edit(one.edits["pca-diffusion 16"])
        assert visibility(clean, changed) == entries["pca-diffusion 16"]["edits"][f"{name}/0"]["to_clean"]["flip"]


def test_prompts_ask_how_much_the_effect_depends_on_the_prompt(
    images: Path, editor_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "prompts"
    app(
        [
            *("bench", "prompts", "--images", str(images), "--editor", str(editor_folder), "--out", str(out)),
            *(
                "--arm",
                "pca-diffusion",
                "--prompt",
                "snow",
                "--prompt",
                "a red door",
                "--seeds",
                "1",
                "--device",
                "cpu",
            ),
        ],
        standalone_mode=False,
    )
    table = json.loads((out / "summary.json").read_text())["tables"]["prompts"]
    assert [row["prompt"] for row in table] == ["snow", "a red door", "spread"] * 2
    assert [row["control"] for row in table] == ["noise-linf"] * 3 + ["seed"] * 3
    by_prompt = [row["difference"] for row in table[:2]]
    assert table[2]["difference"] == pytest.approx(np.mean(by_prompt))
    assert table[2]["spread"] == pytest.approx(np.std(by_prompt, ddof=1) / abs(np.mean(by_prompt)))
    assert str(out / "report.html") in capsys.readouterr().out
    assert "a red door" in (out / "report.html").read_text()
