"""`pca-protect bench judge`: a vision-language model judges the saved edits of a benchmark, blind and in both orders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pca_protect.device import resolve_device, resolve_dtype
from pca_protect.device_names import Device, Precision
from pca_protect.errors import ModelError
from pca_protect.eval.environment import environment
from pca_protect.eval.judge.model import Ask, load_judge
from pca_protect.eval.judge.questions import FOLLOWS, NO, PAIR_QUESTIONS, QUESTIONS, A, B, Question, conversation
from pca_protect.eval.judge.tally import Vote, answer_rows, judge_rows, judged_variants, pair_value
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.results import Finished, Json, OnProgress, Results
from pca_protect.eval.saved_edits import CLEAN, SavedEdits, digest_of, read_edit, saved_edits

MOST_NONSENSE = 0.2
"""Share of answers that are neither option above which a model is no judge."""
LEAST_ANSWERS = 20
"""Number of answers before that share is looked at."""


@dataclass(frozen=True)
class JudgeConfig:
    """Attributes:
    model: hub id or folder.
    arms: methods to judge; empty for all that were saved. Clean edits and noise of the same levels are always judged.
    offline: touch no network.
    """

    model: str
    arms: tuple[str, ...] = ()
    device: Device = "auto"
    precision: Precision = "auto"
    offline: bool = False


def judge_run(run: Path, config: JudgeConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the answers missing from `folder` and write its tables `judge` and `answers`.

    Args:
        run: a folder of `bench editing` with saved edits.

    Raises:
        UsageError: `run` has no saved edits, or `folder` holds other results.
        ModelError: the model is unavailable or no judge, see `judge_edits`.
        DeviceError: the device is unavailable.
    """
    edits = saved_edits(run)
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.precision, device, overflows_fp16=False, model=config.model)
    questions = {question.name: question.text for question in QUESTIONS}
    settings = {"model": config.model, "arms": config.arms, "precision": str(dtype).removeprefix("torch.")}
    results = Results(
        folder,
        command="pca-protect bench judge",
        config={**settings, "edits": digest_of(edits), "questions": questions},
        environment=environment(device),
    )
    ask = load_judge(config.model, device, dtype, offline=config.offline)
    votes = judge_edits(edits, ask, results, judge=config.model, arms=config.arms, on_progress=on_progress)
    tables = {"judge": judge_rows(votes, config.model), "answers": answer_rows(votes, config.model)}
    return Finished(tables, results.write_tables(tables))


def judge_edits(
    edits: Sequence[SavedEdits],
    ask: Ask,
    results: Results,
    *,
    judge: str,
    arms: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> list[Vote]:
    """The votes on all edits. Asks what is not in the log.

    Raises:
        ModelError: more than `MOST_NONSENSE` of the answers are neither option.
    """
    votes: list[Vote] = []
    for done, one in enumerate(edits):
        if on_progress:
            on_progress(judge, done, len(edits))
        for variant in judged_variants(one.edits, arms):
            key = f"{one.name} | {variant}"
            if key not in results:
                results.add({key: _asked(one, variant, ask)})
            votes += _votes(one, variant, results[key])
        _require_sense(votes, judge)
    return votes


def _asked(one: SavedEdits, variant: str, ask: Ask) -> dict[str, object]:
    """The answers about a variant by question; for pairs with the clean edit as A, then as B."""
    original, clean, edit = (read_edit(path) for path in (one.original, one.edits[CLEAN], one.edits[variant]))

    def answer(question: Question, *shown: Rgb) -> Json:
        return asdict(ask(conversation(question, one.prompt, original, shown), question.options))

    answers: dict[str, object] = {FOLLOWS.name: [answer(FOLLOWS, edit)]}
    if variant != CLEAN:
        for question in PAIR_QUESTIONS:
            answers[question.name] = [answer(question, clean, edit), answer(question, edit, clean)]
    return answers


def _votes(one: SavedEdits, variant: str, answers: Mapping[str, Sequence[Json]]) -> Iterator[Vote]:
    for question, given in answers.items():
        choices = tuple(answer["choice"] for answer in given)
        if question == FOLLOWS.name:
            value = None if choices[0] is None else float(choices[0] == NO)
        else:
            value = pair_value(choices, (A, B))
        yield Vote(one.editor, one.picture, variant, question, choices, value)


def _require_sense(votes: Sequence[Vote], judge: str) -> None:
    choices = [choice for vote in votes for choice in vote.choices]
    nonsense = choices.count(None)
    if len(choices) >= LEAST_ANSWERS and nonsense > MOST_NONSENSE * len(choices):
        raise ModelError(
            f"judge {judge}: {nonsense} of {len(choices)} answers are neither of the two words asked for "
            f"({nonsense / len(choices):.0%}, limit {MOST_NONSENSE:.0%}); choose a model that follows instructions"
        )
