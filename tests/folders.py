"""What the tests of folders and of processes share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conftest import smooth_picture

from pca_protect.batch.ledger import STATE
from pca_protect.batch.outcome import EncoderInfo, Outcome, Summary
from pca_protect.config import ProtectConfig
from pca_protect.io.plan import Job


def put_pictures(folder: Path, number: int) -> Path:
    """Small odd-sized pictures, a third of them in a subfolder."""
    for index in range(number):
        path = folder / ("deeper" if index % 3 == 2 else ".") / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth_picture(16 + index % 2, 24, seed=index).save(path)
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    """All files by their place, without what the program keeps for itself there."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    places = {str(path.relative_to(folder)): path for path in files}
    return {place: path.read_bytes() for place, path in sorted(places.items()) if not place.startswith(STATE)}


class Recorder:
    """A observer that remembers."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.outcomes: list[Outcome] = []
        self.summaries: list[Summary] = []
        self.skips: list[tuple[Job, str]] = []
        self.loaded_times = 0

    def progress(self, what: str, done: int, total: int | None) -> None:
        pass

    def skipped(self, job: Job, reason: str) -> None:
        self.skips.append((job, reason))

    def message(self, sentence: str) -> None:
        self.messages.append(sentence)

    def configured(self, config: ProtectConfig) -> None:
        self.config = config

    def loaded(self, encoder: EncoderInfo) -> None:
        self.loaded_times += 1

    def begin(self, jobs: Sequence[Job]) -> None:
        pass

    def pictures(self, jobs: Sequence[Job]) -> None:
        pass

    def step(self, done: int, steps: int, loss: float) -> None:
        pass

    def done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def end(self, summary: Summary) -> None:
        self.summaries.append(summary)
