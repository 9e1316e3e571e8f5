"""Fetches bytes and counts attempts on a cluster. Imports no torch, so that processes for these tasks start fast and stay
small."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, Protocol

from pca_protect.cluster.plan import Task
from pca_protect.cluster.storage import storage_at
from pca_protect.errors import PcaProtectError

Row = dict[str, Any]
"""A row or a batch of rows of Ray Data: `task` (pickled), `bytes` and `problem`, one of which is empty."""


class AttemptTracker(Protocol):
    """Counts the unfinished attempts at each picture, outside the workers so that the counts survive them."""

    def together(self, urls: Sequence[str]) -> bool:
        """Begin a batch and return True, unless one of its pictures has an unfinished attempt."""

    def alone(self, url: str) -> int:
        """Begin one picture and return its number of unfinished attempts, including this one."""

    def end(self, urls: Sequence[str]) -> None:
        """Mark pictures as finished, whether protected or failed."""


class Counter:
    """The `AttemptTracker` of a run. Stores only pictures in progress."""

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
    """Fetch the bytes of every task, or an error message. Runs as a separate Ray Data task, so the encoder does not wait."""
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
