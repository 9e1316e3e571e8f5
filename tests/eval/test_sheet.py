"""The printed sheet is blind, balanced and whole; people's answers come back as the votes they are."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from judged_runs import ARM, BAD, GOOD, NOISE, PROMPTS, make_run

from pca_protect import UsageError
from pca_protect.cli.main import app
from pca_protect.eval.judge.answers import judge_by_people
from pca_protect.eval.judge.sheet import ANSWER_COLUMNS, draw_items, key_of, write_sheet
from pca_protect.eval.results import Row
from pca_protect.eval.saved_edits import OTHER_SEED, saved_edits

Line = dict[str, str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), 9, lambda number, variant: BAD if variant == ARM else GOOD)


@pytest.fixture(scope="module")
def sheet(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sheet(run, tmp_path_factory.mktemp("sheet") / "sheet.html", seed=3)[0]


def key_in(sheet: Path) -> list[Mapping[str, str]]:
    items: list[Mapping[str, str]] = json.loads(key_of(sheet).read_text())["items"]
    return items


def test_every_picture_has_one_prompt_and_every_variant(run: Path):
    items = draw_items(saved_edits(run), seed=0)
    assert {(item.edits.picture, item.variant) for item in items} == {
        (f"picture-{number}.png", variant) for number in range(9) for variant in (OTHER_SEED, NOISE, ARM)
    }
    assert len(items) == 27
    prompts = {item.edits.picture: item.edits.prompt for item in items}
    assert all(item.edits.prompt == prompts[item.edits.picture] for item in items)
    assert set(prompts.values()) == set(PROMPTS.values())
    assert {item.clean for item in items} == {"A", "B"}
    assert items != sorted(items, key=lambda item: item.edits.picture), "in random order"
    assert draw_items(saved_edits(run), seed=0) == items
    assert draw_items(saved_edits(run), seed=1) != items
    few = draw_items(saved_edits(run), seed=0, pictures=2)
    assert {item.edits.picture for item in few} == {"picture-0.png", "picture-1.png"}
    with pytest.raises(UsageError, match=r"^no edit by photoguard was saved"):
        draw_items(saved_edits(run), seed=0, arms=["photoguard"])


def test_the_page_is_whole_and_blind_and_the_key_fits_it(run: Path, sheet: Path):
    page = sheet.read_text()
    assert not re.search(r"https?:|<script|<link|url\(", page)
    for told in ("pca", "noise", "seed", "clean", "protect", "picture-"):
        assert told not in re.sub(r'src="[^"]*"', "", page)
    shown = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert len(shown) == 3 * 27
    for number, item in enumerate(key_in(sheet)):
        folder = run / "edits" / item["editor"] / item["picture"]
        (prompt,) = [one.parent for one in folder.glob("*/prompt.txt") if one.read_text().strip() == item["prompt"]]
        edits = {"clean": prompt / "clean.png", "other": prompt / f"{item['variant']}.png"}
        order = ("clean", "other") if item["clean"] == "A" else ("other", "clean")
        files = [folder / "original.png", *(edits[which] for which in order)]
        assert shown[3 * number : 3 * number + 3] == [file.read_bytes() for file in files]


def test_the_table_for_answers_has_a_line_for_every_item(sheet: Path):
    lines = list(csv.DictReader(sheet.with_suffix(".answers.csv").read_text().splitlines()))
    assert tuple(lines[0]) == ANSWER_COLUMNS
    assert [line["item"] for line in lines] == [str(number) for number in range(1, 28)]
    assert {value for line in lines for name, value in line.items() if name != "item"} == {""}


def fill(sheet: Path, path: Path, answer: Callable[[Mapping[str, str]], Line]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ANSWER_COLUMNS)
        writer.writeheader()
        writer.writerows({"item": item["item"], **answer(item)} for item in key_in(sheet))
    return path


def sees(item: Mapping[str, str]) -> Line:
    """Sees that the method fails, and no other difference."""
    if item["variant"] != ARM:
        return {"better": "=", "intact": "=", "follows_a": "yes", "follows_b": "yes"}
    other = "b" if item["clean"] == "A" else "a"
    return {"better": item["clean"], "intact": item["clean"].lower(), f"follows_{other}": "No"}


def values(rows: list[Row], control: str = "seed") -> dict[object, object]:
    return {
        row["question"]: row["effect"] for row in rows if (row["arm"], row["control"]) == ("pca-diffusion", control)
    }


def test_answers_are_votes(run: Path, sheet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    answers = fill(sheet, tmp_path / "one.csv", sees)
    out = tmp_path / "out"
    command = ["bench", "judge", str(run), "--answers", str(answers), "--key", str(key_of(sheet)), "--out", str(out)]
    app(command, standalone_mode=False)
    tables = json.loads((out / "summary.json").read_text())["tables"]
    assert values(tables["judge"]) == {"follows": 1, "better": 1, "intact": 1}
    noise = [row for row in tables["judge"] if (row["arm"], row["control"]) == ("noise-linf", None)]
    assert [row["effect"] for row in noise] == [0, 0.5, 0.5]
    assert {row["n"] for row in tables["judge"]} == {9}
    blank = {row["question"]: row["nonsense"] for row in tables["answers"]}
    assert blank == {"follows": pytest.approx(9 / 54), "better": 0, "intact": 0}, (
        "of the clean edit beside the method's"
    )
    printed = capsys.readouterr()
    assert "results.csv" in printed.out
    assert "results.jsonl" not in printed.out, "people leave no log"
    assert "Blind judge: people" in (out / "report.html").read_text()


def test_people_are_averaged(run: Path, sheet: Path, tmp_path: Path):
    one = fill(sheet, tmp_path / "one.csv", sees)
    other = fill(
        sheet, tmp_path / "other.csv", lambda item: {"better": "=", "intact": "A", "follows_a": "", "follows_b": ""}
    )
    rows = judge_by_people(run, key_of(sheet), [one, other], tmp_path / "out").tables["judge"]
    found = values(rows)
    assert (found["better"], found["follows"]) == (0.75, 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,C,,,", r"line 2: better is 'C'; give A, B, =, or leave it empty"),
        ("1,,,maybe,", r"line 2: follows_a is 'maybe'; give yes, no, or"),
        ("28,,,,", r"line 2: '28' is a repeated or unknown item; items are 1 to 27"),
        ("x,,,,", r"line 2: 'x' is a repeated or unknown item"),
        ("1,,,,\n1,,,,", r"line 3: '1' is a repeated or unknown item"),
    ],
)
def test_a_wrong_answer_is_named(run: Path, sheet: Path, tmp_path: Path, line: str, message: str):
    path = tmp_path / "answers.csv"
    path.write_text(f"{','.join(ANSWER_COLUMNS)}\n{line}\n")
    with pytest.raises(UsageError, match=message):
        judge_by_people(run, key_of(sheet), [path], tmp_path / "out")


def test_files_that_do_not_belong_together_are_refused(run: Path, sheet: Path, tmp_path: Path):
    answers, out = tmp_path / "answers.csv", tmp_path / "out"
    answers.write_text("item,better\n1,A\n")
    with pytest.raises(UsageError, match=r"has no column follows_a, follows_b, intact; fill in the table"):
        judge_by_people(run, key_of(sheet), [answers], out)
    answers.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"answers.csv: cannot be read"):
        judge_by_people(run, key_of(sheet), [answers], out)
    with pytest.raises(UsageError, match=r"is not the key of a sheet"):
        judge_by_people(run, run / "edits/an-editor/picture-0.png/1-snow/prompt.txt", [answers], out)
    with pytest.raises(UsageError, match=r"nothing.json: cannot be read .*--key"):
        judge_by_people(run, tmp_path / "nothing.json", [answers], out)
    other = make_run(tmp_path / "other", 1, lambda number, variant: GOOD)
    with pytest.raises(UsageError, match=r"is the key to other edits than those of"):
        judge_by_people(other, key_of(sheet), [answers], out)
    with pytest.raises(UsageError, match=r"^--key needs the answers to its sheet"):
        app(["bench", "judge", str(run), "--key", str(key_of(sheet))], standalone_mode=False)


def test_a_damaged_edit_is_named(tmp_path: Path):
    run = make_run(tmp_path / "run", 1, lambda number, variant: GOOD)
    (run / "edits/an-editor/picture-0.png/original.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"original.png: is not a readable picture"):
        app(["bench", "sheet", str(run), "-o", str(tmp_path / "sheet.html")], standalone_mode=False)
