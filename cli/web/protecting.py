"""The job of the Protect button: from uploads to downloads."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from pca_protect.batch.output_options import OutputOptions
from pca_protect.cli.batch_progress import BatchProgress
from pca_protect.cli.web.downloads import Downloads
from pca_protect.cli.web.job_queue import Job
from pca_protect.cli.web.models import Models
from pca_protect.cli.web.names import protected_names
from pca_protect.cli.web.uploads import Upload, Uploads
from pca_protect.config import ProtectConfig
from pca_protect.engine import demand
from pca_protect.errors import Cancelled, DeviceError, PcaProtectError, UsageError
from pca_protect.image.tensors import Mask
from pca_protect.io.header import Header
from pca_protect.io.picture import Picture
from pca_protect.io.plan import PROTECTED, TEST_ONLY
from pca_protect.io.read import from_pil
from pca_protect.io.write import encode_picture, output_format
from pca_protect.memory import batch_size
from pca_protect.protected import Protected
from pca_protect.protection import protect
from pca_protect.record import Record
from pca_protect.surrogates.encoder import AnySurrogate
from pca_protect.surrogates.families import AUTO

AMPLIFICATION = 8
MASK_NAME = "mask.png"
_PNG = "image/png"
_QUALITY = 90
"""JPEG quality of the amplified difference."""


@dataclass(frozen=True)
class ProtectRequest:
    """Pictures and settings of a job.

    Attributes:
        uploads: the pictures.
        mask: editable pixels of a single picture; None for all.
    """

    uploads: Sequence[Upload]
    config: ProtectConfig
    output_options: OutputOptions
    mask: Mask | None


@dataclass(frozen=True)
class Result:
    """A protected picture.

    Attributes:
        name: of its file.
        record: its measurements.
        encoder_digests: digests of the encoders that it is protected against.
        file, before, after, change: download tokens of the protected file, of the original and the protected picture in a
            format that browsers show, and of the amplified difference.
        mask: download token of the painted mask; empty without one.
    """

    name: str
    record: Record
    encoder_digests: tuple[str, ...]
    file: str
    before: str
    after: str
    change: str
    mask: str = ""


@dataclass(frozen=True)
class Results:
    """Attributes:
    done: in the order of the uploads.
    failed: an error message each.
    warnings: about the encoders.
    archive: download token of a zip of all files; empty for a single file.
    test_only: see `Record`.
    """

    done: tuple[Result, ...]
    failed: tuple[str, ...]
    warnings: tuple[str, ...]
    archive: str
    test_only: bool = False


def protect_all(
    job: Job[Results], visit: str, request: ProtectRequest, *, uploads: Uploads, models: Models, downloads: Downloads
) -> Results:
    """Protects pictures one after another, with one in memory. A failed picture does not stop the others. A cancelled job keeps
    its finished pictures.

    Raises:
        Cancelled: the job was cancelled before the first picture was finished.
        UsageError, ModelError, DeviceError: from the encoders.
    """
    job.report("Loading the encoder")
    encoders = models.encoders(request.config.vaes)
    failed: list[str] = []
    readable: list[tuple[Upload, Header]] = []
    for upload in request.uploads:
        try:
            header = uploads.header(upload)
            if header is None:
                uploads.read(upload)  # raises the error
            else:
                readable.append((upload, header))
        except PcaProtectError as error:
            failed.append(str(error))
    label = TEST_ONLY if AUTO in request.config.vaes and encoders.embedded else PROTECTED
    names = protected_names([(upload.name, header.suffix) for upload, header in readable], label=label)
    areas = [header.width * header.height for _, header in readable]
    done: list[Result] = []
    for number, ((upload, _), name) in enumerate(zip(readable, names, strict=True)):
        title = f"{upload.name}, picture {number + 1} of {len(readable)}" if len(readable) > 1 else upload.name
        share = sum(areas[:number]) / sum(areas), areas[number] / sum(areas)
        try:
            done.append(_protect_one(job, visit, request, upload, name, title, share, uploads, encoders, downloads))
        except Cancelled:
            if not done:
                raise
            failed.append(f"stopped after {len(done)} of {len(readable)} pictures, which are kept")
            break
        except (UsageError, DeviceError) as error:  # the other pictures would fail in the same way
            if not done:
                raise
            failed.append(f"stopped after {len(done)} of {len(readable)} pictures, which are kept: {error}")
            break
        except PcaProtectError as error:
            failed.append(str(error))
        except OSError as error:
            failed.append(_storage_error(upload.name, error))
            break
        except Exception as error:  # noqa: BLE001 - a bug on one picture must not stop the others
            failed.append(f"{upload.name}: cannot be protected ({type(error).__name__}: {error}); please report this")
    archive = ""
    if len(done) > 1:
        try:
            archive = downloads.keep(
                visit, lambda path: _zip(path, done, downloads), media_type="application/zip", name=f"{label}.zip"
            )
        except OSError as error:
            failed.append(_storage_error("the zip of all pictures", error))
    return Results(tuple(done), tuple(failed), encoders.warnings, archive, encoders.embedded)


def _storage_error(name: str, error: OSError) -> str:
    return f"{name}: cannot be stored ({error.strerror or error}); free disk space"


def _protect_one(
    job: Job[Results],
    visit: str,
    request: ProtectRequest,
    upload: Upload,
    name: str,
    title: str,
    share: tuple[float, float],
    uploads: Uploads,
    encoders: AnySurrogate,
    downloads: Downloads,
) -> Result:
    """Protects a picture and stores its downloads.

    Args:
        title: of the picture, for the progress.
        share: of all work: the share before this picture, and the share of this picture.
    """
    before, part = share
    job.report(f"Reading {title}", before)
    picture = uploads.read(upload)
    frames = 1 + len(picture.following)
    frames_at_once = (
        batch_size(
            encoders,
            demand(request.config, height=picture.height, width=picture.width),
            at_most=request.config.batch,
        )
        if frames > 1
        else 1
    )
    progress = BatchProgress(math.ceil(frames / frames_at_once))

    def on_step(steps_done: int, steps: int, _: float) -> None:
        done = progress.share(steps_done, steps)
        job.report(f"{'Protecting' if done < 1 else 'Evaluating'} {title}", before + done * part)

    job.report(f"Protecting {title}", before)
    protected = protect(
        request.output_options.prepared(picture), request.config, surrogate=encoders, mask=request.mask, on_step=on_step
    )
    job.report(f"Writing {name}")
    data, record = protected.encoded(output_format(Path(name), allow_lossy=False))
    pages = name.endswith(".tiff")  # browsers do not show TIFF
    file = downloads.keep(visit, data, media_type="image/tiff" if pages else _PNG, name=name)
    return Result(
        name=name,
        record=record,
        encoder_digests=tuple(member.digest for member in encoders.members),
        file=file,
        before=downloads.keep(visit, encode_picture(_browser_copy(protected.original), "PNG"), media_type=_PNG),
        after=downloads.keep(visit, encode_picture(_browser_copy(protected.picture), "PNG"), media_type=_PNG)
        if pages
        else file,
        change=downloads.keep(visit, _amplified_difference(protected), media_type="image/jpeg"),
        mask=""
        if request.mask is None
        else downloads.keep(visit, _mask_png(request.mask), media_type=_PNG, name=MASK_NAME),
    )


def _browser_copy(picture: Picture) -> Picture:
    """The picture without metadata except the colour profile; of a multi-page picture the first page."""
    still = not any(frame.duration_ms for frame in (picture, *picture.following))
    return OutputOptions(strip_metadata=True).prepared(replace(picture, following=()) if still else picture)


def _amplified_difference(protected: Protected) -> bytes:
    """JPEG of the difference on mid-grey, times `AMPLIFICATION`."""
    change = protected.picture.rgb.astype(np.int16) - protected.original.rgb
    amplified = (128 + AMPLIFICATION * change).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(amplified).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def _mask_png(mask: Mask) -> bytes:
    """The mask as `protect --mask` reads it."""
    return encode_picture(from_pil(Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))), "PNG")


def _zip(path: Path, results: Sequence[Result], downloads: Downloads) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for result in results:
            archive.writestr(result.name, downloads.read(result.file, result.name))
