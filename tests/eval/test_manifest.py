"""A manifest: pictures with prompts, masks and descriptions of their own, refused by line or measured and resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image
from tiny_editors import inpainting, save, stable_diffusion
from typer.testing import CliRunner

from pca_protect import UsageError
from pca_protect.cli.main import app
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.benches.editing import measure_editing
from pca_protect.eval.manifest import read_manifest, shared_prompts, square_mask
from pca_protect.eval.results import Finished

GREEN_SKY = "paint the sky green"
LINES: tuple[dict[str, object], ...] = (
    {"picture": "a.png", "prompts": ["snow", GREEN_SKY], "mask": "masks/a.png"},
    {"picture": "more/b.png", "prompts": {"sky": GREEN_SKY, "weather": "rain"}, "description": "a street"},
    {"picture": "c.png", "prompts": ["add some snow"]},
)


def written(folder: Path, *lines: object) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, and a mask of the left half of one."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, size in (("a.png", (90, 70)), ("more/b.png", (64, 64)), ("c.png", (40, 130)), ("more/a.png", (64, 64))):
        (folder / name).parent.mkdir(exist_ok=True)
        smooth_picture(*size, seed=len(name) + size[0]).save(folder / name)
    (folder / "masks").mkdir()
    levels = np.zeros((70, 90), np.uint8)
    levels[:, :45] = 255
    Image.fromarray(levels).save(folder / "masks" / "a.png")
    Image.fromarray(np.zeros((70, 90), np.uint8)).save(folder / "masks" / "black.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_a_line_is_a_picture_with_its_prompts(folder: Path):
    path = written(folder, "\ufeff" + json.dumps(LINES[0]), "", *LINES[1:])
    first, second, third = read_manifest(path)
    assert (first.picture, first.mask) == (folder / "a.png", folder / "masks" / "a.png")
    assert first.prompts == {"snow": "add some snow", GREEN_SKY: GREEN_SKY}
    assert second.prompts == {"sky": GREEN_SKY, "weather": "rain"}
    assert (second.mask, second.description, third.description) == (None, "a street", None)
    assert third.prompts == {"snow": "add some snow"}
    assert shared_prompts([first, second, third]) == ["snow"]


WRONG = {
    "[1, 2]": "is no JSON object",
    '{"picture": "a.png"': "is not JSON",
    '{"picture": "a.png", "prompts": ["x"], "promts": 1}': "unknown key 'promts'; known ones are picture, prompts",
    '{"prompts": ["x"]}': "`picture` is missing or no text",
    '{"picture": 3, "prompts": ["x"]}': "`picture` is missing or no text",
    '{"picture": "d.png", "prompts": ["x"]}': r"d\.png",
    '{"picture": "broken.png", "prompts": ["x"]}': r"broken\.png",
    '{"picture": "a.png"}': "`prompts` has to be a list",
    '{"picture": "a.png", "prompts": []}': "`prompts` has to be a list",
    '{"picture": "a.png", "prompts": "x"}': "`prompts` has to be a list",
    '{"picture": "a.png", "prompts": [" "]}': "`prompts` has to be a list",
    '{"picture": "a.png", "prompts": {"": "x"}}': "empty name",
    '{"picture": "a.png", "prompts": ["none"]}': "is not an instruction",
    '{"picture": "a.png", "prompts": ["snow", "add some snow"]}': "contain a duplicate",
    '{"picture": "a.png", "prompts": ["x"], "mask": "masks/b.png"}': r"masks/b\.png",
    '{"picture": "c.png", "prompts": ["x"], "mask": "masks/a.png"}': "is 90x70 px and its picture 40x130 px",
    '{"picture": "a.png", "prompts": ["x"], "mask": "masks/black.png"}': "repaints nothing",
    '{"picture": "a.png", "prompts": ["x"], "description": ""}': "`description` is missing or no text",
    '{"picture": "more/b.png", "prompts": ["x"]}': r"line 2 has a picture b\.png too",
    '{"picture": "more/../more/b.png", "prompts": ["x"]}': r"line 2 has a picture b\.png too",
}


@pytest.mark.parametrize(("line", "message"), WRONG.items())
def test_a_wrong_line_is_refused_by_its_number(folder: Path, line: str, message: str):
    path = written(folder, "", LINES[1], line)
    with pytest.raises(UsageError, match=rf"manifest\.jsonl line 3: .*{message}") as refused:
        read_manifest(path)
    assert "\n" not in str(refused.value)


def test_a_manifest_without_lines_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="has no line"):
        read_manifest(written(tmp_path, "", "  "))
    with pytest.raises(UsageError, match="cannot be read"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_manifest(tmp_path / "binary.jsonl")


def test_a_mask_is_cropped_as_its_picture(folder: Path):
    """The centred square of 90x70 px has 35 of its 70 columns left of column 45."""
    mask = square_mask(folder / "masks" / "a.png", 64)
    assert mask[:, :32].all()
    assert not mask[:, 32:].any()


@pytest.fixture(scope="module")
def config(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EditingConfig:
    """An editor that ignores masks, and one that inpaints."""
    editors = tmp_path_factory.mktemp("editors")
    return EditingConfig(
        "",
        manifest=str(written(folder, *LINES)),
        editors=(str(save(stable_diffusion(), editors / "img2img")), str(save(inpainting(), editors / "inpaint"))),
        arms=("photoguard",),
        own_controls=(),
        seeds=1,
        steps=2,
        metrics=("flip",),
        device="cpu",
    )


@pytest.fixture(scope="module")
def finished(config: EditingConfig, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return measure_editing(config, tmp_path_factory.mktemp("manifest"))


def test_every_picture_is_edited_with_its_own_prompts(finished: Finished, config: EditingConfig):
    log = [json.loads(line) for line in finished.paths[0].read_text().splitlines()]
    clean = {
        entry["key"].split(" | ")[1]: sorted(entry["measured"]["edits"])
        for entry in log
        if entry["key"].endswith("| clean") and entry["key"].startswith(config.editors[0])
    }
    assert {name: sorted({edit.rpartition("/")[0] for edit in edits}) for name, edits in clean.items()} == {
        "a.png": [GREEN_SKY, "snow"],
        "b.png": ["sky", "weather"],
        "c.png": ["snow"],
    }
    rows = finished.tables["outcomes"]
    assert [(row["editor"], row["n"]) for row in rows] == [(editor, 3) for editor in config.editors]
    assert all(row["kept"] == 1.0 for row in finished.tables["editing"])


def test_the_mean_of_a_picture_is_over_its_own_prompts(finished: Finished, config: EditingConfig):
    log = [json.loads(line) for line in finished.paths[0].read_text().splitlines()]
    means = [
        np.mean([edit["to_clean"]["flip"] for edit in entry["measured"]["edits"].values()])
        for entry in log
        if entry["key"].endswith("| photoguard 16") and entry["key"].startswith(config.editors[0])
    ]
    row = next(row for row in finished.tables["outcomes"] if row["editor"] == config.editors[0])
    assert row["effect"] == pytest.approx(np.mean(means))


def test_rows_of_prompts_are_of_those_that_pictures_share(finished: Finished):
    rows = finished.tables["prompts"]
    assert {row["prompt"] for row in rows} == {"snow"}
    assert {row["n"] for row in rows} == {2}


def test_masks_are_for_editors_that_inpaint(finished: Finished, config: EditingConfig, folder: Path, tmp_path: Path):
    (ignored,) = [row for row in finished.tables["skipped"] if row["setting"] == "mask"]
    assert (ignored["editor"], ignored["arm"]) == (config.editors[0], None)
    # Without the mask the edits of the first picture are others with the second editor alone.
    bare = written(tmp_path, *({**line, "picture": str(folder / str(line["picture"]))} for line in LINES))
    lines = [json.loads(line) for line in bare.read_text().splitlines()]
    del lines[0]["mask"]
    again = measure_editing(replace(config, manifest=str(written(tmp_path, *lines)), pictures=1), tmp_path / "out")

    def clean_of(results: Finished, editor: str) -> object:
        log = map(json.loads, results.paths[0].read_text().splitlines())
        return next(entry["measured"] for entry in log if entry["key"] == f"{editor} | a.png | clean")

    assert "skipped" not in again.tables
    assert clean_of(finished, config.editors[0]) == clean_of(again, config.editors[0])
    assert clean_of(finished, config.editors[1]) != clean_of(again, config.editors[1])


def test_a_changed_manifest_does_not_mix_with_old_results(finished: Finished, config: EditingConfig, folder: Path):
    changed = written(folder, *LINES[:2], {**LINES[2], "prompts": ["night"]})
    with pytest.raises(UsageError, match=r"measured with other settings \(config\.manifest\.c\.png\.prompts\.snow"):
        measure_editing(replace(config, manifest=str(changed)), finished.paths[0].parent)
    written(folder, *LINES)


def test_the_dependence_on_the_prompt_needs_a_shared_one(config: EditingConfig, folder: Path, tmp_path: Path):
    alone = written(tmp_path, *({**line, "picture": str(folder / str(line["picture"]))} for line in LINES[1:]))
    with pytest.raises(UsageError, match="no two pictures share a prompt"):
        measure_editing(replace(config, manifest=str(alone)), tmp_path / "out", table="prompts")


def test_pictures_come_from_one_place(folder: Path):
    manifest = str(written(folder, *LINES))
    with pytest.raises(UsageError, match="`images` and `manifest`: exclude each other"):
        EditingConfig("photos", manifest=manifest)
    command = ["bench", "editing"]
    for arguments, message in (
        ([], "`images` and `manifest`: are both missing"),
        (["--manifest", manifest, "--prompt", "snow"], "the manifest has the prompts of each picture"),
    ):
        error = CliRunner().invoke(app, [*command, *arguments]).exception
        assert isinstance(error, UsageError)
        assert message in str(error)


def test_a_plan_counts_the_prompts_of_each_picture(folder: Path):
    manifest = str(written(folder, *LINES))
    command = ["bench", "real", "--manifest", manifest, "--profile", "8", "--dry-run", "--device", "cpu"]
    shown = CliRunner().invoke(app, [*command, "--editor", "pocket-editor", "--arm", "photoguard"])
    assert shown.exit_code == 0, shown.output
    # Five prompts; two clean edits, the method, noise, noise of equal visibility and an unrelated picture.
    assert str(5 * (2 + 4)) in next(line for line in shown.output.splitlines() if line.startswith("pocket-editor"))
