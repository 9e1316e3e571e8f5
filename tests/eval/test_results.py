"""The folder of a benchmark: what a rerun finds there, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pca_protect.errors import UsageError
from pca_protect.eval.results import Results

CONFIG = {"size_px": 64, "widths": (8, 16), "images": None}
ENVIRONMENT = {"versions": {"torch": "2.13"}, "cpu": "one", "git_commit": "abc", "git_dirty": False}


def results(folder: Path, **changes: object) -> Results:
    settings = {"command": "bench", "config": CONFIG, "environment": ENVIRONMENT, **changes}
    return Results(folder, **settings)  # type: ignore[arg-type]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "bench"
    log = results(folder)
    log.add({"a": {"seconds": [1.5, 2.0], "note": ""}, "b": {"seconds": [], "note": "out of memory — здесь"}})
    log.add({"c": {"met": None}})
    return folder


def test_a_rerun_finds_what_was_measured_with_the_same_types(filled: Path):
    again = results(filled)
    assert again["a"] == {"seconds": [1.5, 2.0], "note": ""}
    assert again["b"]["note"] == "out of memory — здесь"
    assert again["c"] == {"met": None}
    assert "d" not in again
    assert len((filled / "results.jsonl").read_text().splitlines()) == 3


def test_what_was_just_added_reads_as_a_rerun_would_read_it(tmp_path: Path):
    log = results(tmp_path)
    log.add({"a": {"pair": (1, 2)}})
    assert log["a"] == results(tmp_path)["a"] == {"pair": [1, 2]}


def test_measurements_are_added_together_or_not_at_all(filled: Path):
    before = (filled / "results.jsonl").read_bytes()
    log = results(filled)
    with pytest.raises(ValueError, match="JSON compliant"):
        log.add({"d": {"seconds": 1.0}, "e": {"seconds": float("nan")}})
    assert "d" not in log
    assert (filled / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {**CONFIG, "size_px": 512}}, r"config\.size_px: 64 -> 512"),
        ({"config": {**CONFIG, "seed": 1}}, r"config\.seed: None -> 1"),
        ({"command": "other"}, "command: bench -> other"),
    ],
)
def test_other_settings_are_refused_by_name(filled: Path, change: dict[str, object], message: str):
    with pytest.raises(UsageError, match=rf"results\.jsonl line 1: .*{message}.*choose another --out"):
        results(filled, **change)


OTHER_MACHINES = (
    ({**ENVIRONMENT, "cpu": "two"}, r"environment\.cpu: one -> two"),
    ({**ENVIRONMENT, "versions": {"torch": "3"}}, r"environment\.versions\.torch: 2.13 -> 3"),
)


@pytest.mark.parametrize("machine", [machine for machine, _ in OTHER_MACHINES])
def test_another_machine_continues_and_is_named(filled: Path, machine: dict[str, object]):
    log = results(filled, environment=machine)
    assert len(log.environments) == 1, "it has measured nothing yet"
    log.add({"d": {"met": None}})
    assert log["a"]["seconds"] == [1.5, 2.0]
    log.write_tables({})
    found = json.loads((filled / "summary.json").read_text())["environments"]
    assert found == [
        {"versions": {"torch": "2.13"}, "cpu": "one"},
        {"versions": machine["versions"], "cpu": machine["cpu"]},
    ]
    assert results(filled, environment=machine).environments == found


@pytest.mark.parametrize(("machine", "message"), OTHER_MACHINES)
def test_times_are_of_one_machine(tmp_path: Path, machine: dict[str, object], message: str):
    results(tmp_path, timed=True).add({"a": {"seconds": 1.0}})
    assert "a" in results(tmp_path, timed=True, environment={**ENVIRONMENT, "git_commit": "def"})
    with pytest.raises(UsageError, match=rf"results\.jsonl line 1: .*{message}.*choose another --out"):
        results(tmp_path, timed=True, environment=machine)


def test_another_precision_is_refused_with_the_one_to_give(tmp_path: Path):
    results(tmp_path, config={"precision": "bf16"}).add({"a": {"met": None}})
    with pytest.raises(UsageError, match=r"config\.precision: bf16 -> fp32\); give `precision=bf16`"):
        results(tmp_path, config={"precision": "fp32"})


def test_a_message_shows_the_first_differences(filled: Path):
    with pytest.raises(UsageError, match=r"; 5 more\); delete") as refused:
        results(filled, config=dict.fromkeys("abcde", "x" * 500))
    assert len(str(refused.value)) < 600


def test_another_commit_may_fill_the_same_folder(filled: Path):
    assert "a" in results(filled, environment={**ENVIRONMENT, "git_commit": "def", "git_dirty": True})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.5", "1.2", "line 1: was changed"),
        ('"key": "c"', '"key": "d"', "line 3: was changed"),
        ('"met": null}', '"met": null', "line 3: is not a measurement"),
        ('"sha256"', '"sha255"', "line 1: is not a measurement"),
        ("\n", "\n[1, 2]\n", "line 2: is not a measurement"),
    ],
    ids=["number", "key", "torn", "no checksum", "no object"],
)
def test_an_edited_or_broken_log_is_refused(filled: Path, old: str, new: str, message: str):
    log = filled / "results.jsonl"
    text = log.read_text()
    assert old in text
    log.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=rf"{message}.*; delete that file or choose another --out"):
        results(filled)


def test_a_folder_that_cannot_be_one(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another --out"):
        results(tmp_path / "file")


def test_tables_as_summary_and_csv(filled: Path):
    tables = {"cost": [{"arm": "a", "ratio": 0.5}, {"arm": "b, too", "ratio": None}], "more": [{"n": 3}]}
    paths = results(filled).write_tables(tables)
    assert [path.name for path in paths] == ["results.jsonl", "results.csv", "summary.json"]
    assert sorted(path.name for path in filled.iterdir()) == sorted(path.name for path in paths)
    summary = json.loads((filled / "summary.json").read_text())
    assert summary == {
        "command": "bench",
        "config": {**CONFIG, "widths": [8, 16]},
        "environment": ENVIRONMENT,
        "environments": [{"versions": {"torch": "2.13"}, "cpu": "one"}],
        "tables": tables,
    }
    with (filled / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"table": "cost", "arm": "a", "ratio": "0.5", "n": ""}
    assert [row["arm"] for row in rows] == ["a", "b, too", ""]


def test_a_line_torn_by_a_kill_is_measured_again(filled: Path):
    path = filled / "results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    log = results(filled)
    assert "c" not in log
    assert log["a"]["seconds"] == [1.5, 2.0]
    log.add({"c": {"met": None}})
    assert path.read_bytes() == whole
