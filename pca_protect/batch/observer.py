"""The events of a run, for those who show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pca_protect.batch.outcome import EncoderInfo, Outcome, Summary
from pca_protect.config import ProtectConfig
from pca_protect.io.plan import Job


class RunObserver(Protocol):
    """Receives the events of a run, in its main thread. `pictures` and `step` come from runs in this process only."""

    def progress(self, what: str, done: int, total: int | None) -> None:
        """Progress of the preparation, see `begin.OnProgress`; called often."""

    def message(self, sentence: str) -> None:
        """A notice, before the work begins or at its end."""

    def configured(self, config: ProtectConfig) -> None:
        """The settings, with those that the device decides, see `Request.completed`; called once, before the work begins."""

    def loaded(self, encoder: EncoderInfo) -> None:
        """The encoder is loaded; called once."""

    def skipped(self, job: Job, reason: str) -> None:
        """A picture is skipped: it is "finished", its output "exists", or why it was left out."""

    def begin(self, jobs: Sequence[Job]) -> None:
        """The work on pending pictures begins; those with a problem are among them."""

    def pictures(self, jobs: Sequence[Job]) -> None:
        """The optimisation of one picture, or of several of one size, begins."""

    def step(self, done: int, steps: int, loss: float) -> None:
        """Progress of the optimisation; the loss is in its own unit, see `engine.Progress`."""

    def done(self, outcome: Outcome) -> None:
        """A picture is finished or has failed."""

    def end(self, summary: Summary) -> None:
        """The run ends, completely or early."""
