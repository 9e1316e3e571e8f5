"""`protect - -o -`: one picture from standard input, to standard output, or both."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from pca_protect.batch.classify import Evidence, classify, refuse
from pca_protect.batch.ledger import Ledger
from pca_protect.batch.outcome import EncoderInfo, Failure, Outcome, Summary
from pca_protect.batch.preview import explained
from pca_protect.batch.request import Request
from pca_protect.cli import console
from pca_protect.cli.run_output import Reporter
from pca_protect.config import ProtectConfig
from pca_protect.errors import PictureError, UsageError
from pca_protect.image.masks import read_mask
from pca_protect.io.header import header_of
from pca_protect.io.limits import MAX_PIXELS
from pca_protect.io.naming import NameTemplate
from pca_protect.io.plan import Job, is_url, plan
from pca_protect.io.read import decode_picture, read_file
from pca_protect.io.source import Found, Source
from pca_protect.io.write import LOSSLESS, output_format, write_bytes
from pca_protect.surrogates.resolve import resolve

if TYPE_CHECKING:
    from pca_protect.protected import Protected

STREAM = "-"
_INPUT, _OUTPUT = "standard input", "standard output"
_BYTES_PER_PIXEL, _METADATA_BYTES = 8, 2**26
"""The largest picture without compression is RGBA of 16 bits. A longer stream is not read to its end."""
_CHUNK = 2**20


def is_pipe(request: Request) -> bool:
    """Whether the input or the output of a request is a standard stream."""
    return STREAM in request.names or request.output == STREAM


def run_pipe(request: Request, config: ProtectConfig, reporter: Reporter) -> int:
    """Protect one picture and write it, whole or not at all. `auto` falls back to the embedded model only if the output is a
    file, as the warning about it may be lost beside a stream.

    Returns:
        The exit code.

    Raises:
        UsageError, ModelError, DeviceError: nothing was written.
        console.ReaderGoneError: the reader of standard output ended.
    """
    job = _job(request)
    if job is None:
        reporter.message(f"{request.output}: exists, skipped")
        return 0
    started = time.perf_counter()
    failures: tuple[Failure, ...] = ()
    try:
        data = _read(request)
        protected, format_name = _protected(data, job, request, config, reporter)
        _write(protected, format_name, job, request, reporter)
    except PictureError as error:
        failures = (Failure(request.names[0], "", str(error)),)
        reporter.done(Outcome(replace(job, source=replace(job.source, path=request.names[0])), failure=failures[0]))
    finally:
        reporter.end(Summary(1 - len(failures), 0, 0, 0, failures, time.perf_counter() - started))
    return PictureError.exit_code if failures else 0


def _job(request: Request) -> Job | None:
    """The input and output, after all checks that need no data; None if the output exists and is to be kept.

    Raises:
        UsageError: the request is invalid for a stream.
    """
    if len(request.names) != 1 or request.from_file is not None:
        raise UsageError("`-` stands for one picture; name no other input, or protect several into a folder")
    for name, value in (("shard", request.shard), ("errors", request.errors)):
        if value is not None:
            raise UsageError(f"`{name}` needs files and `-` is a stream; leave one of them out")
    if request.engine != "local":
        raise UsageError("`engine=ray` needs files and `-` is a stream; leave one of them out")
    (name,) = request.names
    if name == STREAM and sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe a picture into it: protect - -o - < in.png > out.png")
    source = Source(_INPUT, "", _INPUT) if name == STREAM else Source(name, "", Path(name).name)
    if request.output == STREAM:
        _check_stdout(request)
        return Job(source, STREAM)
    if request.output is None or is_url(request.output) or Path(request.output).is_dir():
        raise UsageError("standard input has no file name to name the output after; add -o FILE or -o -")
    planned = plan(
        Found([source]),
        request.output,
        allow_lossy=request.output_options.allow_lossy,
        name=request.output_name,
        suffix="" if request.output_format is None else f".{request.output_format}",
    )
    jobs, (status,) = classify(planned.jobs, Evidence(None, Ledger(), request.existing, "", None))
    refuse(jobs)
    return None if status == "exists" else jobs[0]


def _check_stdout(request: Request) -> None:
    if sys.__stdout__ is None or sys.stdout.isatty():
        raise UsageError("standard output is a terminal or closed; redirect it to a file or a program")
    if is_url(request.names[0]):
        raise UsageError(f"{request.names[0]}: is a URL, which needs an output folder or URL; add -o")
    if request.output_name != NameTemplate():
        raise UsageError(
            f"`output_name={request.output_name.text}`: standard output has no name; leave one of them out"
        )


def _read(request: Request) -> bytes:
    """The whole input.

    Raises:
        PictureError: it is empty, cannot be read, or is longer than any picture within the limit.
    """
    if request.names[0] != STREAM:
        return read_file(Path(request.names[0]))
    most = (request.max_pixels or MAX_PIXELS) * _BYTES_PER_PIXEL + _METADATA_BYTES
    chunks, length = [], 0
    while chunk := sys.stdin.buffer.read(_CHUNK):
        chunks.append(chunk)
        length += len(chunk)
        if length > most:
            raise PictureError(
                f"{_INPUT}: is longer than {most / 1e6:.0f} MB; check the program that sends it, or raise `max_pixels`"
            )
    if not length:
        raise PictureError(f"{_INPUT}: is empty (0 bytes); check the program that sends it")
    return b"".join(chunks)


def _protected(
    data: bytes, job: Job, request: Request, config: ProtectConfig, reporter: Reporter
) -> tuple[Protected, str]:
    """The protected picture, and the name of the output's format.

    Raises:
        UsageError: the input is an output of this program.
        PictureError: it cannot be read or protected.
        ModelError, DeviceError: see `load_resolved`.
    """
    max_pixels = request.max_pixels or MAX_PIXELS
    header = header_of(BytesIO(data), job.source.path, max_pixels=max_pixels)
    if header is not None and header.ours:
        raise UsageError(f"{job.source.path}: is an output of this program; give the original")
    picture = request.output_options.prepared(decode_picture(data, job.source.path, max_pixels=max_pixels))
    assert header is not None  # or decoding would have failed
    mask = None if request.mask is None else read_mask(request.mask, max_pixels=max_pixels)
    if job.target == STREAM:
        suffix = header.suffix if request.output_format is None else f".{request.output_format}"
        format_name = LOSSLESS[suffix]
    else:
        format_name = output_format(Path(job.target), allow_lossy=request.output_options.allow_lossy)
    from pca_protect.protection import protect_batch
    from pca_protect.surrogates.load import load_resolved

    resolved = resolve(
        config.vaes,
        offline=request.offline,
        fallback=request.fallback and job.target != STREAM,
        device=config.device,
        precision=config.precision,
    )
    config, choice = request.completed(config, resolved.names)
    reporter.configured(config)
    for sentence in explained(resolved, config, choice):
        reporter.message(sentence)
    surrogate = load_resolved(resolved, device=config.device, precision=config.precision, offline=request.offline)
    reporter.loaded(EncoderInfo.of(surrogate))
    reporter.begin([job])
    reporter.pictures([job])
    (protected,) = protect_batch(
        [picture], config, surrogate=surrogate, masks=[mask], evaluate=request.evaluate, on_step=reporter.step
    )
    return protected, format_name


def _write(protected: Protected, format_name: str, job: Job, request: Request, reporter: Reporter) -> None:
    """Write the file and report it.

    Raises:
        PictureError: the format cannot store the picture, or the file cannot be written.
    """
    options = request.output_options
    data, record = protected.encoded(format_name, allow_lossy=options.allow_lossy, marker=options.marker)
    if job.target == STREAM:
        console.send(data)
    else:
        write_bytes(data, Path(job.target), overwrite=job.replace)
    output = _OUTPUT if job.target == STREAM else job.target
    reporter.done(Outcome(job, record=replace(record, input=request.names[0], output=output)))
