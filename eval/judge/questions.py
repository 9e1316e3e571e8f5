"""Questions to a judge about an edit, and about two edits of one picture. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

Picture = TypeVar("Picture")

DEFAULT_MODEL = "Qwen/Qwen3-VL-4B-Instruct"
"""Apache-2.0, 9 GB. Its processor needs torchvision."""

YES, NO = "yes", "no"
A, B = "A", "B"


@dataclass(frozen=True)
class Question:
    """Attributes:
    name: in tables.
    of: one edit, or a pair of edits.
    text: with the place `{prompt}`.
    options: the two answers.
    """

    name: str
    of: Literal["edit", "pair"]
    text: str
    options: tuple[str, str]


FOLLOWS = Question(
    "follows", "edit", 'The editor was told: "{prompt}". Does the edit show what was asked for?', (YES, NO)
)
BETTER = Question(
    "better", "pair", 'The editor was told: "{prompt}". Which edit follows this instruction better?', (A, B)
)
INTACT = Question("intact", "pair", "Which edit looks less damaged, with fewer artefacts and distortions?", (A, B))

PAIR_QUESTIONS = (BETTER, INTACT)
QUESTIONS = (FOLLOWS, *PAIR_QUESTIONS)


def conversation(question: Question, prompt: str, original: Picture, edits: Sequence[Picture]) -> list[str | Picture]:
    """Texts and pictures in the order in which a model gets them.

    Args:
        edits: one, or A and B.
    """
    names = ["Edit:"] if question.of == "edit" else ["Edit A:", "Edit B:"]
    shown: list[str | Picture] = ["Original picture:", original]
    for name, edit in zip(names, edits, strict=True):
        shown += [name, edit]
    first, second = question.options
    return [*shown, f"{question.text.format(prompt=prompt)} Answer with one word, {first} or {second}."]
