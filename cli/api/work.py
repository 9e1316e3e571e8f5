"""The computation of jobs, in the worker thread."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pca_protect.cli.api.jobs import Done, Job, Outcome, stop_if_settled
from pca_protect.cli.api.options import FORMATS, ProtectRequest
from pca_protect.cli.batch_progress import BatchProgress
from pca_protect.engine import demand
from pca_protect.eval.check.protection import protection_of
from pca_protect.eval.check.run import check_picture
from pca_protect.io.picture import Picture
from pca_protect.io.read import decode_picture
from pca_protect.memory import batch_size
from pca_protect.protected import Protected
from pca_protect.protection import protect_batch
from pca_protect.record import Record
from pca_protect.surrogates.encoder import AnySurrogate

SOURCE = "picture"
"""Name of an uploaded picture in messages and records."""


@dataclass(frozen=True)
class ProtectWork:
    """A picture file, its request, and the format of the result where the request names none: a key of `FORMATS`."""

    data: bytes
    request: ProtectRequest
    default_format: str


@dataclass(frozen=True)
class CheckWork:
    """A picture file and its original, None if unknown."""

    data: bytes
    original: bytes | None
    seed: int


class Computer:
    """Runs jobs with the server's encoders.

    Args:
        max_pixels: of all frames of a picture.
    """

    def __init__(self, surrogate: AnySurrogate, *, max_pixels: int) -> None:
        self._surrogate, self._max_pixels = surrogate, max_pixels

    def at_once(self, request: ProtectRequest, width: int, height: int) -> int:
        """Largest batch of pictures of a size."""
        config = request.config
        return batch_size(self._surrogate, demand(config, height=height, width=width), at_most=config.batch)

    def run(self, jobs: list[Job[ProtectWork | CheckWork]]) -> list[Outcome]:
        """The outcomes of jobs of one kind.

        Raises:
            PcaProtectError: from a picture of the batch.
            Cancelled: all jobs are settled.
        """
        works = [job.work for job in jobs]
        first = works[0]
        if isinstance(first, CheckWork):
            return [self._check(first, jobs)]
        return list(self._protect([work for work in works if isinstance(work, ProtectWork)], jobs))

    def _protect(self, works: Sequence[ProtectWork], jobs: list[Job[Any]]) -> list[Outcome]:
        request = works[0].request
        pictures = [request.output_options.prepared(self._decoded(work.data)) for work in works]
        frames = sum(1 + len(picture.following) for picture in pictures)
        together = self.at_once(request, pictures[0].width, pictures[0].height) if frames > 1 else 1
        progress = BatchProgress(math.ceil(frames / together))

        def on_step(done: int, steps: int, _: float) -> None:
            stop_if_settled(jobs)
            share = progress.share(done, steps)
            for job in jobs:
                job.progress = share

        stop_if_settled(jobs)
        results = protect_batch(
            pictures, request.config, surrogate=self._surrogate, evaluate=request.evaluate, on_step=on_step
        )
        return [
            _done(protected, request.format or work.default_format)
            for protected, work in zip(results, works, strict=True)
        ]

    def _check(self, work: CheckWork, jobs: list[Job[Any]]) -> Outcome:
        picture = self._decoded(work.data)
        original = None if work.original is None else self._decoded(work.original, "original")
        found, _ = check_picture(
            picture,
            original,
            surrogates=self._surrogate.members,
            protection=protection_of(io.BytesIO(work.data), max_pixels=self._max_pixels),
            seed=work.seed,
            device=str(self._surrogate.device),
            offline=True,
            on_progress=lambda *_: stop_if_settled(jobs),
        )
        values = asdict(found)
        del values["edits"]  # none are made here
        return Done(json.dumps(values, allow_nan=False).encode(), "application/json", {})

    def _decoded(self, data: bytes, source: str = SOURCE) -> Picture:
        return decode_picture(data, source, max_pixels=self._max_pixels)


def _done(protected: Protected, format_option: str) -> Done:
    format_name, media_type = FORMATS[format_option]
    data, record = protected.encoded(format_name)
    return Done(data, media_type, _plain(record))


def _plain(record: Record) -> dict[str, Any]:
    """The record as JSON values, without the origin of the weights, which may be a path of this machine. Infinite and undefined
    numbers become None."""
    values: dict[str, Any] = json.loads(record.as_json(), parse_constant=lambda _: None)
    del values["vae"]["origin"]
    return values
