"""Protects one process's share of the pictures, from input files to output files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from pca_protect.batch.classify import output_key
from pca_protect.batch.journal import Journal, LedgerEntry
from pca_protect.batch.outcome import Outcome
from pca_protect.batch.output_lock import State
from pca_protect.batch.pipeline import Stages, run_pipeline
from pca_protect.batch.request import Request
from pca_protect.config import ProtectConfig
from pca_protect.engine import Progress, demand
from pca_protect.errors import ModelError, PictureError
from pca_protect.image.masks import read_mask
from pca_protect.io.limits import MAX_PIXELS
from pca_protect.io.picture import Picture
from pca_protect.io.plan import Job
from pca_protect.io.read import read_picture
from pca_protect.io.write import output_format, write_bytes
from pca_protect.memory import batch_size
from pca_protect.protected import Protected
from pca_protect.protection import protect_batch
from pca_protect.record import Record
from pca_protect.surrogates.encoder import AnySurrogate


def work(
    jobs: Sequence[Job],
    request: Request,
    config: ProtectConfig,
    *,
    surrogate: Callable[[], AnySurrogate],
    state: State | None,
    part: int | None,
    report: Callable[[Outcome], None],
    on_picture: Callable[[Job], None],
    on_step: Progress | None,
) -> None:
    """Protect the pictures of these jobs.

    Args:
        surrogate: returns the loaded encoder; not called if no picture can be read.
        state: state folder of the output folder; None without a journal, for outputs beside their pictures.
        part: this process's part of the journal; None for a single process.
        report: called with the outcome of every picture.
        on_picture: called before each batch is optimised, with its first job.

    Raises:
        Stopped: the disk is full or read-only.
        ModelError, DeviceError: from the encoder.
    """
    output_options = request.output_options
    config_digest = request.digest(config)
    mask = None if request.mask is None else read_mask(request.mask, max_pixels=request.max_pixels or MAX_PIXELS)
    journal = Journal(state.folder, part=part) if state is not None else None

    def read(job: Job) -> Picture:
        return output_options.prepared(read_picture(Path(job.source.path), max_pixels=request.max_pixels or MAX_PIXELS))

    @lru_cache(maxsize=256)
    def together(width_px: int, height_px: int) -> int:
        return batch_size(surrogate(), demand(config, height=height_px, width=width_px), at_most=config.batch)

    def optimise(pictures: Sequence[tuple[Job, Picture]]) -> Sequence[Protected]:
        on_picture(pictures[0][0])
        inputs = [picture for _, picture in pictures]
        encoder = surrogate()
        try:
            return protect_batch(
                inputs,
                config,
                surrogate=encoder,
                masks=[mask] * len(inputs),
                evaluate=request.evaluate,
                on_step=on_step,
            )
        except ModelError as error:  # the encoder is loaded but cannot process this picture
            raise PictureError(f"{inputs[0].source}: {error}") from error

    def write(job: Job, protected: Protected) -> Record:
        target = Path(job.target)
        format_name = output_format(target, allow_lossy=output_options.allow_lossy)
        data, record = protected.encoded(
            format_name, allow_lossy=output_options.allow_lossy, marker=output_options.marker
        )
        if journal is not None and state is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            journal.append(_line(job, record, config_digest, output_key(state.folder.parent, job)))
        temporary = state.temporary if state is not None else None
        write_bytes(data, target, overwrite=request.existing == "overwrite", folder=temporary)
        return replace(record, output=job.target)

    def at_once(job: Job) -> int:
        width_px, height_px = job.source.width_px, job.source.height_px
        return together(width_px, height_px) if width_px and height_px else 1

    run_pipeline(jobs, Stages(read, at_once, optimise, write), report)


def _line(job: Job, record: Record, config_digest: str, output: str) -> LedgerEntry:
    return LedgerEntry(
        input=job.source.place.replace(os.sep, "/"),
        input_sha256=record.input_sha256,
        config_sha256=config_digest,
        weights_sha256=str(record.vae["weights_sha256"]),
        output=output,
        output_sha256=record.output_sha256,
        version=record.versions["pca_protect"],
        seconds=round(record.seconds, 3),
    )
