"""Blind judges: what a model answers, what counts as a vote, what the tables make of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from judged_runs import ARM, BAD, GOOD, NOISE, PROMPTS, always_first, fair, make_run, seen
from PIL import Image
from tiny_judges import save_tiny_judge
from transformers import AutoModelForImageTextToText, AutoProcessor

from pca_protect import ModelError, UsageError
from pca_protect.cli.main import app
from pca_protect.eval.judge.model import Answer, _answer, load_judge
from pca_protect.eval.judge.run import LEAST_ANSWERS, judge_edits
from pca_protect.eval.judge.tally import Vote, answer_rows, judge_rows, judged_variants, pair_value
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.results import Results, Row
from pca_protect.eval.saved_edits import CLEAN, OTHER_SEED, digest_of, saved_edits
from pca_protect.eval.stats import paired_effect

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    save_tiny_judge(folder)
    return folder


def results_in(folder: Path, run: Path) -> Results:
    return Results(folder, command="judge", config={"edits": digest_of(saved_edits(run))}, environment={})


def test_the_probability_is_that_of_the_models_next_token(tiny_judge: Path):
    pictures = [np.asarray(smooth_picture(40, 30, seed=seed)) for seed in (0, 1)]
    found = load_judge(str(tiny_judge), CPU, torch.float32, offline=True)(
        ["Original picture:", pictures[0], "Edit:", pictures[1], "yes or no"], ("yes", "no")
    )
    processor = AutoProcessor.from_pretrained(tiny_judge)
    text = "<s>User : Original picture: <image>Edit: <image>yes or no Assistant : "
    inputs = processor(text=text, images=[Image.fromarray(one) for one in pictures], return_tensors="pt")
    with torch.no_grad():
        logits = AutoModelForImageTextToText.from_pretrained(tiny_judge)(**inputs).logits[0, -1]
    yes, no = (logits[processor.tokenizer.convert_tokens_to_ids(word)] for word in ("yes", "no"))
    assert found.probability == pytest.approx(float(yes.exp() / (yes.exp() + no.exp())), abs=1e-6)


def test_the_answer_depends_on_each_picture(tiny_judge: Path):
    ask = load_judge(str(tiny_judge), CPU, torch.float32, offline=True)
    one, two, three = (np.asarray(smooth_picture(40, 30, seed=seed)) for seed in (0, 1, 2))
    asked = [ask([*pair, "yes"], ("yes", "no")).probability for pair in ((one, two), (two, one), (one, three))]
    assert len(set(asked)) == 3
    assert ask([one, two, "yes"], ("yes", "no")).probability == asked[0]


def test_an_answer_sums_spellings_and_has_to_be_among_the_likeliest_tokens():
    logits = torch.full((100,), -10.0)
    logits[[1, 2]], logits[3] = 1.0, 1.5  # two spellings of the first word outweigh one of the second
    assert _answer(logits, ("yes", "no"), [[1, 2], [3]]).choice == "yes"
    assert _answer(logits, ("yes", "no"), [[1], [3]]).choice == "no"
    assert _answer(logits, ("yes", "no"), [[1], [2]]).probability == 0.5
    logits[50:59] = 5.0
    assert _answer(logits, ("yes", "no"), [[1, 2], [3]]).choice == "yes", "the tenth token is an answer"
    logits[59] = 5.0
    assert _answer(logits, ("yes", "no"), [[1, 2], [3]]).choice is None


def test_a_model_that_cannot_be_asked_is_refused_in_one_line(tiny_judge: Path, tmp_path: Path):
    with pytest.raises(ModelError, match=r"has no token for the answer 'maybe'"):
        load_judge(str(tiny_judge), CPU, torch.float32, offline=True)(["?"], ("maybe", "no"))
    with pytest.raises(ModelError, match=r"^judge .* does not load \(.+\); go online once$"):
        load_judge(str(tmp_path), CPU, torch.float32, offline=True)
    save_tiny_judge(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"^judge .* does not load \(.+\); go online once$") as refused:
        load_judge(str(tmp_path), CPU, torch.float32, offline=True)
    assert "\n" not in str(refused.value)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template; choose"):
        load_judge(str(tmp_path), CPU, torch.float32, offline=True)


def test_clean_edits_and_noise_of_the_same_levels_are_judged_with_every_method():
    names = [CLEAN, OTHER_SEED, ARM, "photoguard 8", NOISE, "noise-visible 3", f"{ARM} shuffled", "unrelated"]
    assert judged_variants(names) == [CLEAN, OTHER_SEED, NOISE, "photoguard 8", ARM]
    assert judged_variants(names, ["photoguard"]) == [CLEAN, OTHER_SEED, NOISE, "photoguard 8"]


def test_a_preference_counts_if_both_orders_agree():
    orders = ("A", "B")  # the clean edit comes first, then second
    assert pair_value(("A", "B"), orders) == 1
    assert pair_value(("B", "A"), orders) == 0
    assert pair_value(("A", "A"), orders) == pair_value(("B", "B"), orders) == 0.5
    assert pair_value(("A", None), orders) is None
    assert pair_value(("B",), ("A",)) == 0


def level(number: int, variant: str) -> int:
    """The method fails on all pictures but the first; noise on the second alone."""
    fails = number > 0 if variant == ARM else number == 1 if variant == NOISE else False
    return BAD if fails else GOOD


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), 9, level)


@pytest.fixture(scope="module")
def votes(run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Vote]:
    return judge_edits(saved_edits(run), fair, results_in(tmp_path_factory.mktemp("judged"), run), judge="fair")


def by(rows: Sequence[Row], **wanted: object) -> Row:
    (row,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return row


def test_the_table_compares_failures_in_pairs(votes: list[Vote]):
    rows = judge_rows(votes, "fair")
    fails, noise = [0.0, *[1.0] * 8], [0.0, 1.0, *[0.0] * 7]
    row = by(rows, arm="pca-diffusion", question="follows", control="noise-linf")
    expected = paired_effect(fails, noise)
    assert (row["effect"], row["noise_effect"], row["n"]) == (pytest.approx(8 / 9), pytest.approx(1 / 9), 9)
    assert (row["ci_low"], row["ci_high"], row["p"]) == (expected.ci_low, expected.ci_high, expected.p)
    assert row["p_holm"] == row["p"], "one method"
    assert by(rows, arm="pca-diffusion", question="follows", control="seed")["noise_effect"] == 0
    assert by(rows, arm="pca-diffusion", question="follows", control="clean")["noise_effect"] == 0
    for question in ("better", "intact"):
        row = by(rows, arm="pca-diffusion", question=question, control="seed")
        assert row["effect"] == pytest.approx((0.5 + 8) / 9), "equal edits have no preference"
        assert row["noise_effect"] == 0.5
        assert not [row for row in rows if (row["question"], row["control"]) == (question, "clean")]
    assert by(rows, arm="noise-linf", question="follows", control=None)["effect"] == pytest.approx(1 / 9)
    assert by(rows, arm="clean", question="follows", control=None)["effect"] == 0


def test_a_judge_that_looks_at_the_order_alone_has_no_preference(run: Path, tmp_path: Path):
    votes = judge_edits(saved_edits(run), always_first, results_in(tmp_path, run), judge="biased")
    rows = {row["question"]: row for row in answer_rows(votes, "biased")}
    assert [rows[name]["disagree"] for name in ("follows", "better", "intact")] == [None, 1, 1]
    assert rows["better"]["first_option"] == 1
    assert {vote.value for vote in votes if vote.question == "better"} == {0.5}
    row = by(judge_rows(votes, "biased"), arm="pca-diffusion", question="better", control="seed")
    assert (row["effect"], row["difference"], row["p"]) == (0.5, 0, 1)


def test_both_orders_are_asked_about_every_pair(run: Path, tmp_path: Path):
    asked: list[tuple[str, list[int]]] = []

    def judge(shown: Sequence[str | Rgb], options: tuple[str, str]) -> Answer:
        asked.append((str(shown[-1]), seen(shown)))
        return fair(shown, options)

    judge_edits(saved_edits(run)[2:3], judge, results_in(tmp_path, run), judge="fair")
    assert len(asked) == 1 + 3 * 5
    of_pairs = [levels for text, levels in asked if "less damaged" in text]
    assert [1, GOOD, BAD] in of_pairs
    assert [1, BAD, GOOD] in of_pairs
    assert sum(PROMPTS["snow"] in text for text, _ in asked) == 1 + 3 * 3
    assert not [text for text, _ in asked if "protect" in text or "pca" in text], "blind"


def test_a_judge_resumes_and_its_log_belongs_to_the_edits(run: Path, votes: list[Vote], tmp_path: Path):
    edits = saved_edits(run)
    judge_edits(edits[:3], fair, results_in(tmp_path, run), judge="fair")
    count = 0

    def judge(shown: Sequence[str | Rgb], options: tuple[str, str]) -> Answer:
        nonlocal count
        count += 1
        return fair(shown, options)

    assert judge_edits(edits, judge, results_in(tmp_path, run), judge="fair") == votes
    assert count == (len(edits) - 3) * 16
    other = make_run(tmp_path / "other", 9, lambda number, variant: GOOD)
    with pytest.raises(UsageError, match="was measured with other settings"):
        results_in(tmp_path, other)


def sometimes(shown: Sequence[str | Rgb], options: tuple[str, str], every: int, count: list[int]) -> Answer:
    """Nonsense once in `every` answers."""
    count[0] += 1
    return Answer(None, 0.5) if count[0] % every == 0 else fair(shown, options)


def test_some_nonsense_is_counted_and_much_ends_the_run(run: Path, tmp_path: Path):
    edits = saved_edits(run)
    votes = judge_edits(edits, partial(sometimes, every=8, count=[0]), results_in(tmp_path / "some", run), judge="some")
    rows = answer_rows(votes, "some")
    nonsense = sum(float(str(row["nonsense"])) * int(str(row["answers"])) for row in rows)
    assert nonsense == pytest.approx(len(edits) * 16 // 8)
    assert {vote.value for vote in votes if None in vote.choices} == {None}
    asked = [0]
    with pytest.raises(ModelError, match=r"^judge bad: \d+ of 32 answers are neither .* \(25%, limit 20%\); choose"):
        judge_edits(edits, partial(sometimes, every=4, count=asked), results_in(tmp_path / "bad", run), judge="bad")
    assert LEAST_ANSWERS <= asked[0] < len(edits) * 16, "it ends early"


def test_a_random_model_is_no_judge(run: Path, tiny_judge: Path, tmp_path: Path):
    command = ["bench", "judge", str(run), "--model", str(tiny_judge), "--out", str(tmp_path / "judge")]
    with pytest.raises(ModelError, match=r"\d+ of \d+ answers are neither of the two words asked for"):
        app([*command, "--device", "cpu", "--offline"], standalone_mode=False)
    assert (tmp_path / "judge" / "results.jsonl").exists(), "the answers so far"


def test_a_model_without_other_words_judges_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """With half of the vocabulary among the likeliest tokens, its answers are valid; it still prefers at random."""
    run = make_run(tmp_path / "run", 1, level)
    save_tiny_judge(tmp_path / "model", fillers=0)
    monkeypatch.setattr("pca_protect.eval.judge.model.TOP", 100)
    command = ["bench", "judge", str(run), "--model", str(tmp_path / "model"), "--device", "cpu"]
    app(command, standalone_mode=False)
    printed = capsys.readouterr()
    folder = run / "judge" / "model"
    assert {path.name for path in folder.iterdir()} == {"results.jsonl", "results.csv", "summary.json", "report.html"}
    assert "judged differently in swapped order (position bias)" in printed.err
    assert str(folder / "results.csv") in printed.out
    assert "Blind judge" in (folder / "report.html").read_text()
    before = (folder / "results.jsonl").read_bytes()
    app(command, standalone_mode=False)
    assert (folder / "results.jsonl").read_bytes() == before, "a rerun asks nothing"


def test_a_run_without_saved_edits_says_how_to_save_them(tmp_path: Path):
    with pytest.raises(UsageError, match=r"holds no saved edits; run bench editing with --keep-edits"):
        app(["bench", "judge", str(tmp_path)], standalone_mode=False)
