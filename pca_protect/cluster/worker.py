"""The workers of a cluster run: decode, protect and write. A failing picture does not affect others."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pca_protect.batch.output_options import OutputOptions
from pca_protect.cluster.fetch import AttemptTracker, Row
from pca_protect.cluster.plan import Task
from pca_protect.cluster.records import ClusterEntry
from pca_protect.cluster.storage import storage_at
from pca_protect.config import ProtectConfig
from pca_protect.errors import ModelError, PcaProtectError, PictureError, first_line
from pca_protect.io.formats import ANIMATED, DECODER_ERRORS, PAGED, damaged, open_image
from pca_protect.io.limits import pillow_limited_to
from pca_protect.io.marker import MARKER_KEY, SOFTWARE, is_marker
from pca_protect.io.picture import Picture
from pca_protect.io.read import MAX_PIXELS, decode_picture
from pca_protect.io.write import output_format
from pca_protect.protected import Protected
from pca_protect.protection import protect_batch
from pca_protect.record import Record
from pca_protect.surrogates.load import load_resolved
from pca_protect.surrogates.resolve import Resolved

TRIES = 3
"""Number of worker crashes after which a picture is reported as failed."""


@dataclass(frozen=True)
class WorkerConfig:
    """Settings shared by all workers of a run.

    Attributes:
        output: root of the outputs.
        resolved: the encoders of `config`, the same on every worker.
        weights_sha256: digest of the encoder that the driver process loaded.
        offline: use no network for models.
        evaluate: see `Request`.
    """

    output: str
    config: ProtectConfig
    resolved: Resolved
    output_options: OutputOptions
    weights_sha256: str
    offline: bool
    evaluate: bool
    max_pixels: int | None


@dataclass(frozen=True)
class Result:
    """The result of a task: a record with its journal line, a failure message, or the reason why it was left out."""

    task: Task
    line: ClusterEntry | None = None
    record: Record | None = None
    failure: str = ""
    left_out: str = ""


class Protector:
    """An actor of the pool: loads the encoder once and protects batches of pictures.

    Raises:
        ModelError: this machine's encoder differs from that of the driver process.
    """

    def __init__(self, worker_config: WorkerConfig, attempts: AttemptTracker) -> None:
        config = worker_config.config
        self._worker_config = worker_config
        self._attempts = attempts
        self._surrogate = load_resolved(
            worker_config.resolved, device=config.device, precision=config.precision, offline=worker_config.offline
        )
        if self._surrogate.digest != worker_config.weights_sha256:
            raise ModelError(
                f"{', '.join(config.vaes)}: a worker loaded {self._surrogate.name} from {self._surrogate.origin}, not the "
                "encoder of the machine that started the run; put the same files on every machine"
            )

    def __call__(self, batch: Row) -> Row:
        tasks: list[Task] = [pickle.loads(text) for text in batch["task"]]
        rows = list(zip(tasks, batch["bytes"], batch["problem"], strict=True))
        urls = [task.url for task in tasks]
        if self._attempts.together(urls):
            results = self._protected(rows)
            self._attempts.end(urls)
        else:
            results = [result for row in rows for result in self._retried(*row)]
        return {"result": [pickle.dumps(result) for result in results]}

    def _retried(self, task: Task, data: bytes, problem: str) -> list[Result]:
        """Retry one picture after a worker was lost, to isolate the one that crashes workers. Replaces any output that the
        lost worker wrote."""
        if self._attempts.alone(task.url) > TRIES:
            sentence = (
                f"{task.url}: crashed its worker {TRIES} times (out of memory or decoder crash); protect it separately"
            )
            results = [Result(task, failure=sentence)]
        else:
            results = self._protected([(replace(task, replace=True), data, problem)])
        self._attempts.end([task.url])
        return results

    def _protected(self, rows: Sequence[tuple[Task, bytes, str]]) -> list[Result]:
        results: list[Result] = []
        pictures: list[tuple[Task, str, Picture]] = []
        for task, data, problem in rows:
            try:
                if problem:
                    raise PictureError(problem)
                suffix, left_out = self._inspected(task, bytes(data))
                if left_out:
                    results.append(Result(task, left_out=left_out))
                else:
                    pictures.append((task, suffix, self._decoded(task, bytes(data))))
            except Exception as error:  # noqa: BLE001 - see `_failed`
                results.append(_failed(task, error))
        pictures.sort(key=lambda item: (item[2].width, item[2].height))  # equal sizes form batches
        return [*results, *self._optimised(pictures)]

    def _inspected(self, task: Task, data: bytes) -> tuple[str, str]:
        """The output's suffix, and the reason to leave the picture out; empty if none."""
        named_as_picture = "." in task.stored.place.rsplit("/", 1)[-1]
        try:
            with pillow_limited_to(self._max_pixels):
                image = open_image(io.BytesIO(data), task.url)
        except DECODER_ERRORS as error:
            if named_as_picture:
                raise damaged(task.url, error) from error
            image = None
        if image is None:
            return "", "" if named_as_picture else "no picture"
        several = image.format in PAGED and image.format not in ANIMATED and getattr(image, "n_frames", 1) > 1
        try:
            ours = MARKER_KEY in image.info or is_marker(image.getexif().get(SOFTWARE))
        except DECODER_ERRORS:
            ours = False
        return ".tiff" if several else ".png", "an output of this program" if ours else ""

    def _decoded(self, task: Task, data: bytes) -> Picture:
        if not data:
            raise PictureError(f"{task.url}: is empty (0 bytes); copy it again from where it came")
        return self._worker_config.output_options.prepared(decode_picture(data, task.url, max_pixels=self._max_pixels))

    def _optimised(self, pictures: Sequence[tuple[Task, str, Picture]]) -> list[Result]:
        if not pictures:
            return []
        try:
            protected = protect_batch(
                [picture for _, _, picture in pictures],
                self._worker_config.config,
                surrogate=self._surrogate,
                evaluate=self._worker_config.evaluate,
            )
        except Exception as error:  # noqa: BLE001 - see `_failed`
            if len(pictures) == 1:
                return [_failed(pictures[0][0], error)]
            return [result for picture in pictures for result in self._optimised([picture])]
        return [
            self._written(task, suffix, result) for (task, suffix, _), result in zip(pictures, protected, strict=True)
        ]

    def _written(self, task: Task, suffix: str, protected: Protected) -> Result:
        worker_config = self._worker_config
        place = task.target + suffix
        output = storage_at(worker_config.output)
        try:
            options = worker_config.output_options
            format_name = output_format(Path(place), allow_lossy=options.allow_lossy)
            data, record = protected.encoded(format_name, allow_lossy=options.allow_lossy, marker=options.marker)
            output.write(place, data, replace=task.replace)
        except Exception as error:  # noqa: BLE001 - see `_failed`
            return _failed(task, error)
        line = ClusterEntry(
            input=task.url,
            input_sha256=record.input_sha256,
            config_sha256=worker_config.output_options.digest(worker_config.config),
            weights_sha256=worker_config.weights_sha256,
            output=place,
            output_sha256=record.output_sha256,
            version=record.versions["pca_protect"],
            seconds=round(record.seconds, 3),
            input_bytes=task.stored.size_bytes,
            input_etag=task.stored.etag,
            output_bytes=len(data),
        )
        return Result(task, line, replace(record, output=output.url(place)))

    @property
    def _max_pixels(self) -> int:
        return MAX_PIXELS if self._worker_config.max_pixels is None else self._worker_config.max_pixels


def _failed(task: Task, error: Exception) -> Result:
    """Convert any exception to a failed result: an exception that leaves a worker would end the whole run."""
    if isinstance(error, PcaProtectError):
        return Result(task, failure=str(error))
    if isinstance(error, MemoryError):
        return Result(task, failure=f"{task.url}: needs more memory than its worker has; make it smaller")
    return Result(task, failure=f"{task.url}: failed ({type(error).__name__}: {first_line(error)}); please report this")
