"""What a benchmark of edits survives: another machine, a safety checker, an editor that ignores the picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from table_entries import CONFIG
from table_entries import measured as synthetic
from tiny_editors import SIDE, flux, save, stable_diffusion, with_safety_checker

from pca_protect import ModelError, UsageError
from pca_protect.cli.bench_output import finish
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.benches.editing import measure_editing
from pca_protect.eval.blocked import blocked_rows, unmeasured_rows
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.measured import Measured
from pca_protect.eval.pictures import square_picture
from pca_protect.eval.results import Finished
from pca_protect.eval.tables import editing_rows
from pca_protect.eval.trial import edit_seed


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(2):
        smooth_picture(SIDE, SIDE, seed=seed).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(stable_diffusion(), tmp_path_factory.mktemp("editor") / "tiny")


@pytest.fixture(scope="module")
def config(images: Path, editor: Path) -> EditingConfig:
    return EditingConfig(
        str(images),
        editors=(str(editor),),
        arms=("pca-diffusion",),
        own_controls=(),
        prompts=("snow",),
        seeds=1,
        steps=2,
        metrics=("flip",),
        device="cpu",
    )


def on_machine(name: str) -> Mapping[str, object]:
    return {"versions": {"torch": name}, "cpu": name, "device": "cpu", "git_commit": None, "git_dirty": None}


def test_a_run_goes_on_on_another_machine(config: EditingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first machine is taken away after one picture; the second edits in other batches."""

    def take_away(label: str, done: int, units: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("pca_protect.eval.bench.environment", lambda device: on_machine("one"))
    with pytest.raises(KeyboardInterrupt):
        measure_editing(config, tmp_path, on_progress=take_away)
    before = (tmp_path / "results.jsonl").read_text()
    monkeypatch.setattr("pca_protect.eval.bench.environment", lambda device: on_machine("two"))
    finished = measure_editing(replace(config, batch=2), tmp_path)
    finish(finished, "outcomes")
    assert (tmp_path / "results.jsonl").read_text().startswith(before)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [(one["cpu"], one["batch"]) for one in summary["environments"]] == [("one", 9), ("two", 2)]
    assert all(row["n"] == 2 for row in finished.tables["editing"])
    assert all(row["seconds"] is None for row in finished.tables["frontier"]), "no time of two machines"


def test_the_resolved_precision_decides(config: EditingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`auto` means another precision on the GPU that the run goes on on."""
    measure_editing(replace(config, pictures=1), tmp_path)
    measure_editing(replace(config, pictures=1, precision="fp32"), tmp_path)
    monkeypatch.setattr("pca_protect.eval.bench.resolve_precision", lambda precision, device: "bf16")
    with pytest.raises(UsageError, match=r"config\.precision: fp32 -> bf16\); give `precision=fp32`"):
        measure_editing(replace(config, pictures=1), tmp_path)


def test_an_editor_that_ignores_the_picture_is_refused(config: EditingConfig, tmp_path: Path):
    """FLUX starts from pure noise at strength 1."""
    blind = save(flux(), tmp_path / "flux")
    with pytest.raises(ModelError, match="it ignores the picture; use a lower strength, or another editor"):
        measure_editing(
            replace(config, editors=(str(blind),), arms=("photoguard",), strengths=(1.0,)), tmp_path / "out"
        )
    assert not (tmp_path / "out" / "results.jsonl").exists()


PROMPTS, SEEDS = ("snow", "sunset", "night"), 2


@pytest.fixture(scope="module")
def checked(config: EditingConfig, editor: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """With a safety checker that blocks half of the clean edits."""
    folder = tmp_path_factory.mktemp("checked")
    checker = load_editor(str(with_safety_checker(editor, folder / "open", threshold=2.0)), device="cpu").pipeline
    similarities: list[float] = []
    ones = torch.ones(1, 8)
    checker.safety_checker.visual_projection.register_forward_hook(
        lambda _, inputs, output: similarities.extend(torch.cosine_similarity(output, ones).tolist())
    )
    plain = load_editor(str(folder / "open"), device="cpu")
    plain.pipeline.safety_checker = checker.safety_checker
    settings = replace(plain.settings, steps=2)
    for path in sorted(Path(config.images).iterdir()):
        picture = square_picture(path, SIDE).rgb
        texts = ["add some snow", "apply sunset lighting", "at night"]
        for text in texts:
            plain.edit([picture] * 2, text, settings, seeds=[edit_seed(picture, text, number) for number in range(2)])
    threshold = float(np.median(similarities))
    blocking = with_safety_checker(editor, folder / "blocking", threshold=threshold)
    several = replace(config, editors=(str(blocking),), prompts=PROMPTS, seeds=SEEDS)
    return measure_editing(several, folder / "out")


def test_blocked_edits_are_counted_and_the_pictures_stay(checked: Finished):
    log = [json.loads(line) for line in checked.paths[0].read_text().splitlines()]
    measured = {entry["key"].split(" | ", 1)[1]: entry["measured"] for entry in log}
    clean = [entry for key, entry in measured.items() if key.endswith("| clean")]
    blocked = sum(len(entry["blocked"]) for entry in clean)
    assert 0 < blocked < 12
    rows = {(row["arm"], row["control"]): row for row in checked.tables["blocked"]}
    assert (rows["clean", ""]["blocked"], rows["clean", ""]["edits"]) == (blocked, 12)
    assert rows["pca-diffusion", ""]["edits"] == 12
    assert rows["pca-diffusion", ""]["blocked"] == sum(
        len(entry["blocked"]) for key, entry in measured.items() if key.endswith("| pca-diffusion 16")
    )
    for entry in measured.values():
        assert not set(entry["blocked"]) & entry["edits"].keys()
    assert "failures" not in checked.tables
    assert json.loads((checked.paths[0].parent / "summary.json").read_text())["config"]["safety_checkers"]
    assert all(row["kept"] == pytest.approx(1 - blocked / 12) for row in checked.tables["editing"])


def test_the_report_shows_what_was_blocked(checked: Finished, capsys: pytest.CaptureFixture[str]):
    finish(checked, "outcomes")
    assert "safety checkers blacked out" in capsys.readouterr().err
    assert "blocked" in (checked.paths[0].parent / "report.html").read_text()


def with_blocked(names: Mapping[str, list[str]]) -> Measured:
    """The synthetic measurements, with edits of the first picture blocked: variant -> names."""
    whole = synthetic()
    entries = {picture: dict(variants) for picture, variants in whole.entries.items()}
    for variant, blocked in names.items():
        entry = entries["0.png"][variant]
        edits = {name: edit for name, edit in entry["edits"].items() if name not in blocked}
        entries["0.png"][variant] = {**entry, "edits": edits, "blocked": blocked}
    return replace(whole, entries=entries)


def test_both_sides_of_a_comparison_lack_a_blocked_edit():
    """Noise is blocked with one of four edits of the first picture, and with all edits of it."""
    first = ["snow/0", "snow/1", "door/0", "door/1"]
    whole = {key_of(row): row for row in editing_rows(synthetic(), CONFIG)}
    some = {key_of(row): row for row in editing_rows(with_blocked({"noise-linf 16": first[:1]}), CONFIG)}
    none = {key_of(row): row for row in editing_rows(with_blocked({"noise-linf 16": first}), CONFIG)}
    key = ("pca-diffusion", "1", "flip", "noise-linf")
    assert some[key]["difference"] == pytest.approx(whole[key]["difference"]), "all edits of a picture are alike there"
    assert (some[key]["n"], none[key]["n"]) == (9, 8)
    key = ("pca-diffusion", "adherence", "clip", "seed")
    assert (some[key]["n"], none[key]["n"]) == (9, 8)


def key_of(row: Mapping[str, object]) -> tuple[object, ...]:
    return row["arm"], row["objective"], row["metric"], row["control"]


def test_a_prompt_without_a_clean_edit_is_named():
    blocked = with_blocked({"clean": ["door/0", "door/1"]})
    assert unmeasured_rows(blocked) == [{"editor": "an editor", "picture": "0.png", "prompt": "door"}]
    assert blocked.kept()["0.png"] == ["snow/0", "snow/1"]
    assert blocked_rows(synthetic()) == unmeasured_rows(synthetic()) == []
    (row,) = [row for row in blocked_rows(blocked) if row["blocked"]]
    assert (row["arm"], row["budget_levels"], row["blocked"], row["edits"]) == ("clean", None, 2, 9 * 2 * 2)
