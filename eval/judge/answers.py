"""People's answers to a printed sheet, as votes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pca_protect.device import resolve_device
from pca_protect.errors import UsageError, quoted
from pca_protect.eval.environment import environment
from pca_protect.eval.judge.questions import FOLLOWS, NO, PAIR_QUESTIONS, YES, A, B
from pca_protect.eval.judge.sheet import ANSWER_COLUMNS, FOLLOWS_A, FOLLOWS_B
from pca_protect.eval.judge.tally import Vote, answer_rows, judge_rows, pair_value
from pca_protect.eval.results import Finished, Results
from pca_protect.eval.saved_edits import CLEAN, digest_of, saved_edits

PEOPLE = "people"
SAME = "="
"""Answer of a person without a preference."""

_KEY_FIELDS = {"item", "editor", "picture", "prompt", "variant", "clean"}


def judge_by_people(run: Path, key: Path, answers: Sequence[Path], folder: Path) -> Finished:
    """Write the tables `judge` and `answers` of people's answers into `folder`.

    Args:
        run: the folder whose edits the sheet shows.
        key: of the sheet.
        answers: one table for each person.

    Raises:
        UsageError: the key or an answer cannot be read, the key belongs to other edits, or an answer is unknown.
    """
    read = _read_key(key)
    if read["edits"] != digest_of(saved_edits(run)):
        raise UsageError(
            f"{key}: is the key to other edits than those of {run}; give the folder that the sheet was made of"
        )
    items = {int(item["item"]): item for item in read["items"]}
    votes = [vote for path in answers for vote in _votes(path, items)]
    tables = {"judge": judge_rows(votes, PEOPLE), "answers": answer_rows(votes, PEOPLE)}
    results = Results(
        folder,
        command="pca-protect bench judge",
        config={"answers": [path.name for path in answers], "seed": read["seed"], "edits": read["edits"]},
        environment=environment(resolve_device("cpu")),
    )
    return Finished(tables, tuple(path for path in results.write_tables(tables) if path.exists()))


def _read_key(path: Path) -> dict[str, Any]:
    try:
        key: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole = {"edits", "seed"} <= key.keys() and all(item.keys() >= _KEY_FIELDS for item in key["items"])
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give the key of the sheet with --key") from error
    except (ValueError, TypeError, LookupError, AttributeError):
        whole = False
    if not whole:
        raise UsageError(f"{path}: is not the key of a sheet; give the file that bench sheet wrote")
    return key


def _votes(path: Path, items: Mapping[int, Mapping[str, str]]) -> Iterator[Vote]:
    """The votes of one person."""
    try:
        lines = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read ({error}); give a table that bench sheet began, in UTF-8") from error
    missing = set(ANSWER_COLUMNS) - set(lines[0] if lines else ())
    if missing:
        raise UsageError(
            f"{path}: has no column {', '.join(sorted(missing))}; fill in the table that bench sheet wrote"
        )
    seen: set[int] = set()
    for number, line in enumerate(lines, start=2):
        where = f"{path} line {number}"
        text = (line["item"] or "").strip()
        if not text.isdecimal() or int(text) not in items or int(text) in seen:
            raise UsageError(
                f"{where}: {quoted(text, 40)!r} is a repeated or unknown item; items are 1 to {len(items)}"
            )
        seen.add(int(text))
        yield from _of_item(line, items[int(text)], where)


def _of_item(line: Mapping[str, str | None], item: Mapping[str, str], where: str) -> Iterator[Vote]:
    about = item["editor"], item["picture"]
    for question in PAIR_QUESTIONS:
        choice = _choice(line, question.name, (A, B, SAME), where)
        value = 0.5 if choice == SAME else pair_value((choice,), (item["clean"],))
        yield Vote(*about, item["variant"], question.name, (choice,), value)
    for column, option in ((FOLLOWS_A, A), (FOLLOWS_B, B)):
        choice = _choice(line, column, (YES, NO), where)
        variant = CLEAN if option == item["clean"] else item["variant"]
        yield Vote(*about, variant, FOLLOWS.name, (choice,), None if choice is None else float(choice == NO))


def _choice(line: Mapping[str, str | None], column: str, options: Sequence[str], where: str) -> str | None:
    """One of the options, in either case; None for an empty cell."""
    text = (line[column] or "").strip()
    for option in options:
        if text.casefold() == option.casefold():
            return option
    if text:
        raise UsageError(f"{where}: {column} is {quoted(text, 40)!r}; give {', '.join(options)}, or leave it empty")
    return None
