"""Turns jobs into outputs with one loaded encoder: the stages of the pipeline, the same in every executor."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from pca_protect.batch.classify import output_key
from pca_protect.batch.ledger import LedgerEntry, LedgerWriter
from pca_protect.batch.output_options import OutputOptions
from pca_protect.batch.pipeline import LeftOutError, Opened, Stages
from pca_protect.batch.store import Store, local_info, store_at
from pca_protect.config import ProtectConfig
from pca_protect.engine import Progress, demand
from pca_protect.errors import ModelError, PictureError
from pca_protect.image.masks import read_mask
from pca_protect.io.header import header_of
from pca_protect.io.limits import MAX_PIXELS
from pca_protect.io.plan import Job, is_url
from pca_protect.io.read import decode_picture, read_picture
from pca_protect.io.write import USUAL_MODE, output_format, write_bytes
from pca_protect.memory import batch_size
from pca_protect.protected import Protected
from pca_protect.protection import protect_batch
from pca_protect.record import Record
from pca_protect.surrogates.encoder import AnySurrogate
from pca_protect.surrogates.load import load_resolved
from pca_protect.surrogates.resolve import Resolved

_TOGETHER_ON_GPU = 16
"""Number of pictures of unknown size that are read as a group, which is then divided by size."""


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker needs to know of a run; can be pickled.

    Attributes:
        config: with the worker's device.
        resolved: the encoders of `config`, the same for every worker; None if no header was readable.
        folder: output folder or URL; None if outputs have no folder.
        temporary: folder for incomplete outputs; None for the output's own folder.
        config_digest: see `Request.digest`.
        output_options, mask, evaluate, preserve_times, offline, max_pixels: see `Request`.
    """

    config: ProtectConfig
    resolved: Resolved | None
    output_options: OutputOptions
    config_digest: str
    folder: str | None = None
    temporary: Path | None = None
    mask: Path | None = None
    evaluate: bool = True
    preserve_times: bool = False
    offline: bool = False
    max_pixels: int = MAX_PIXELS

    def load(self) -> AnySurrogate:
        """The encoder. Raises as `load_resolved` does."""
        assert self.resolved is not None
        config = self.config
        return load_resolved(self.resolved, device=config.device, precision=config.precision, offline=self.offline)


def stages_of(
    work: WorkerConfig,
    surrogate: Callable[[], AnySurrogate],
    *,
    segment: LedgerWriter | None = None,
    on_pictures: Callable[[Sequence[Job]], None] = lambda jobs: None,
    on_step: Progress | None = None,
) -> Stages:
    """The stages for these settings.

    Args:
        surrogate: returns the loaded encoder; not called if no picture can be read.
        segment: gets the line of each output, before and after it is written; None outside of a folder.
        on_pictures: called before each batch is optimised, with its jobs.
    """
    return _Worker(work, surrogate, segment, on_pictures, on_step).stages()


class _Worker:
    def __init__(
        self,
        work: WorkerConfig,
        surrogate: Callable[[], AnySurrogate],
        segment: LedgerWriter | None,
        on_pictures: Callable[[Sequence[Job]], None],
        on_step: Progress | None,
    ) -> None:
        self._work = work
        self._surrogate = surrogate
        self._segment = segment
        self._on_pictures = on_pictures
        self._on_step = on_step
        self._mask = None if work.mask is None else read_mask(work.mask, max_pixels=work.max_pixels)
        self._turn = threading.Lock()  # an executor may run two pipelines, one of which reads and writes meanwhile

    def stages(self) -> Stages:
        return Stages(self.read, lru_cache(maxsize=256)(self.together), self.optimise, self.write)

    def read(self, job: Job) -> Opened:
        source, limit = job.source, self._work.max_pixels
        if is_url(source.path):
            data = store_at(source.root).read(source.place)
            job = self._inspected(job, data)
            picture = decode_picture(data, source.path, max_pixels=limit)
        else:
            picture = read_picture(Path(source.path), max_pixels=limit)
        return Opened(job, self._work.output_options.prepared(picture))

    def together(self, width_px: int, height_px: int) -> int:
        config = self._work.config
        if not width_px or not height_px:
            return config.batch or (_TOGETHER_ON_GPU if self._surrogate().device.type == "cuda" else 1)
        return batch_size(self._surrogate(), demand(config, height=height_px, width=width_px), at_most=config.batch)

    def optimise(self, pictures: Sequence[Opened]) -> Sequence[Protected]:
        work, inputs = self._work, [opened.picture for opened in pictures]
        with self._turn:
            self._on_pictures([opened.job for opened in pictures])
            encoder = self._surrogate()
            try:
                return protect_batch(
                    inputs,
                    work.config,
                    surrogate=encoder,
                    masks=[self._mask] * len(inputs),
                    evaluate=work.evaluate,
                    on_step=self._on_step,
                )
            except ModelError as error:  # the encoder is loaded but cannot process this picture
                raise PictureError(f"{inputs[0].source}: {error}") from error

    def write(self, job: Job, protected: Protected) -> tuple[Record, LedgerEntry | None]:
        work, options = self._work, self._work.output_options
        format_name = output_format(Path(job.target), allow_lossy=options.allow_lossy)
        data, record = protected.encoded(format_name, allow_lossy=options.allow_lossy, marker=options.marker)
        record = replace(record, output=job.target)
        if work.folder is None:
            write_bytes(data, Path(job.target), overwrite=job.replace, mode=_mode_of(job))
            self._set_time(job, Path(job.target))
            return record, None
        store = store_at(work.folder)
        entry = self._entry(job, record, len(data))
        if self._segment is not None:
            self._segment.append(entry)
        store.write(entry.output, data, overwrite=job.replace, temporary=work.temporary, mode=_mode_of(job))
        if store.is_local:
            self._set_time(job, store.path(entry.output))
        entry = replace(entry, written=True, output_tag=_tag_of(store, entry))
        if self._segment is not None:
            self._segment.append(entry)
        return record, entry

    def _set_time(self, job: Job, output: Path) -> None:
        """Give the output the modification time that its picture had when it was listed, if the run preserves times."""
        source = job.source
        if self._work.preserve_times and source.tag and not is_url(source.path):
            os.utime(output, ns=(int(source.tag), int(source.tag)))

    def _inspected(self, job: Job, data: bytes) -> Job:
        """The job with its output's suffix.

        Raises:
            LeftOutError: an output of this program, or not a picture.
        """
        header = header_of(BytesIO(data), job.source.path, max_pixels=self._work.max_pixels)
        if header is not None and header.ours:
            raise LeftOutError("an output of this program")
        if header is None:
            if "." not in job.source.place.rpartition("/")[2]:
                raise LeftOutError("not a picture")
            return job  # decoding it raises the error message
        if job.source.suffix:
            return job
        source = replace(job.source, suffix=header.suffix)
        return replace(job, source=source, target=f"{job.target}{header.suffix}")

    def _entry(self, job: Job, record: Record, output_bytes: int) -> LedgerEntry:
        source = job.source
        return LedgerEntry(
            input=source.place.replace("\\", "/"),
            input_sha256=record.input_sha256,
            config_sha256=self._work.config_digest,
            weights_sha256=str(record.vae["weights_sha256"]),
            output=output_key(self._work.folder, job.target),
            output_sha256=record.output_sha256,
            version=record.versions["pca_protect"],
            seconds=round(record.seconds, 3),
            input_bytes=source.size_bytes,
            input_tag=source.tag,
            output_bytes=output_bytes,
            test_only=record.test_only,
        )


def _mode_of(job: Job) -> int:
    """The permissions of a picture on a disk, without those to execute; the usual ones if it is gone or in a bucket."""
    try:
        return stat.S_IMODE(Path(job.source.path).stat().st_mode) & USUAL_MODE
    except (OSError, ValueError):
        return USUAL_MODE


def _tag_of(store: Store, entry: LedgerEntry) -> str:
    """Modification time of an output that was just written; empty in a bucket."""
    stored = local_info(store.path(entry.output)) if store.is_local else None
    return stored.tag if stored is not None else ""
