"""What a run on a cluster does beside protecting: fetch bytes, and count tries. Imports no torch, so that the processes that
do only this start at once and stay small."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, Protocol

from pca_protect.cluster.plan import Task
from pca_protect.cluster.storage import storage_at
from pca_protect.errors import PcaProtectError

Row = dict[str, Any]
"""A row or a batch of rows of Ray Data: `task` (pickled), and either `bytes` or `problem`."""


class AttemptTracker(Protocol):
    """Counts, outside the workers and their fate, how often a picture was begun and not ended."""

    def together(self, urls: Sequence[str]) -> bool:
        """Begin all of these, unless one of them was begun before without being ended."""

    def alone(self, url: str) -> int:
        """Begin this one, and say how often it was begun by now."""

    def end(self, urls: Sequence[str]) -> None:
        """These were ended, however well."""


class Counter:
    """The `AttemptTracker` of a run; holds only what is being worked on."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}

    def together(self, urls: Sequence[str]) -> bool:
        if any(url in self._begun for url in urls):
            return False
        self._begun.update(dict.fromkeys(urls, 1))
        return True

    def alone(self, url: str) -> int:
        self._begun[url] = self._begun.get(url, 0) + 1
        return self._begun[url]

    def end(self, urls: Sequence[str]) -> None:
        for url in urls:
            self._begun.pop(url, None)


def fetch(batch: Row) -> Row:
    """The bytes of every task, or the sentence why not, in a task of Ray Data of its own: the encoder does not wait."""
    contents, problems = [], []
    for text in batch["task"]:
        task: Task = pickle.loads(text)
        try:
            contents.append(storage_at(task.root).read(task.stored.place))
            problems.append("")
        except PcaProtectError as error:
            contents.append(b"")
            problems.append(str(error))
    return {"task": list(batch["task"]), "bytes": contents, "problem": problems}
