"""The work behind the button: uploaded pictures in, protected files among the downloads out."""

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
from pca_protect.protection import Protected, protect
from pca_protect.record import Record
from pca_protect.surrogates.encoder import AnySurrogate
from pca_protect.surrogates.families import AUTO

AMPLIFICATION = 8
MASK_NAME = "mask.png"
_PNG = "image/png"
_QUALITY = 90
"""Of the amplified difference, which is there to be looked at."""


@dataclass(frozen=True)
class Asked:
    """What somebody asked for.

    Attributes:
        uploads: the pictures.
        mask: where the only one of them may change; None is everywhere.
    """

    uploads: Sequence[Upload]
    config: ProtectConfig
    output_options: OutputOptions
    mask: Mask | None


@dataclass(frozen=True)
class Result:
    """A picture that was protected.

    Attributes:
        name: of its file.
        record: what was measured.
        against: digests of the encoders that it was protected against.
        file, before, after, change: tokens of downloads: the protected file, the original and the protected picture as a
            browser shows them, the amplified difference.
        painted: token of the mask as a picture; empty where there was none.
    """

    name: str
    record: Record
    against: tuple[str, ...]
    file: str
    before: str
    after: str
    change: str
    painted: str = ""


@dataclass(frozen=True)
class Results:
    """Attributes:
    done: in order.
    failed: a sentence each.
    warnings: about the models.
    together: token of a zip of all files; empty for a single one.
    test_only: see `Record`.
    """

    done: tuple[Result, ...]
    failed: tuple[str, ...]
    warnings: tuple[str, ...]
    together: str
    test_only: bool = False


def protect_all(
    job: Job[Results], visit: str, asked: Asked, *, uploads: Uploads, models: Models, downloads: Downloads
) -> Results:
    """One picture at a time is in memory. One that fails does not stop the others; after a cancellation those that were
    done are there.

    Raises:
        Cancelled: the job was, before anything was done.
        UsageError, ModelError, DeviceError: from the encoders.
    """
    job.report("Loading the model")
    encoders = models.encoders(asked.config.vaes)
    failed: list[str] = []
    known: list[tuple[Upload, Header]] = []
    for upload in asked.uploads:
        try:
            header = uploads.header(upload)
            if header is None:
                uploads.read(upload)  # says what it is not
            else:
                known.append((upload, header))
        except PcaProtectError as error:
            failed.append(str(error))
    label = TEST_ONLY if AUTO in asked.config.vaes and encoders.embedded else PROTECTED
    names = protected_names([(upload.name, header.suffix) for upload, header in known], label=label)
    areas = [header.width * header.height for _, header in known]
    done: list[Result] = []
    for number, ((upload, _), name) in enumerate(zip(known, names, strict=True)):
        which = f"{upload.name}, picture {number + 1} of {len(known)}" if len(known) > 1 else upload.name
        share = sum(areas[:number]) / sum(areas), areas[number] / sum(areas)
        try:
            done.append(_one(job, visit, asked, upload, name, which, share, uploads, encoders, downloads))
        except Cancelled:
            if not done:
                raise
            failed.append(f"stopped after {len(done)} of {len(known)} pictures; these are there")
            break
        except (UsageError, DeviceError) as error:  # of the request or the machine: the others would end likewise
            if not done:
                raise
            failed.append(f"stopped after {len(done)} of {len(known)} pictures, which are there: {error}")
            break
        except PcaProtectError as error:
            failed.append(str(error))
        except OSError as error:
            failed.append(_no_room(upload.name, error))
            break
        except Exception as error:  # noqa: BLE001 - whatever one picture does, the others are done
            failed.append(f"{upload.name}: cannot be protected ({type(error).__name__}: {error}); please report this")
    together = ""
    if len(done) > 1:
        try:
            together = downloads.keep(
                visit, lambda path: _zip(path, done, downloads), media_type="application/zip", name=f"{label}.zip"
            )
        except OSError as error:
            failed.append(_no_room("the zip of all pictures", error))
    return Results(tuple(done), tuple(failed), encoders.warnings, together, encoders.embedded)


def _no_room(name: str, error: OSError) -> str:
    return f"{name}: cannot be kept ({error.strerror or error}); make room on the disk"


def _one(
    job: Job[Results],
    visit: str,
    asked: Asked,
    upload: Upload,
    name: str,
    which: str,
    share: tuple[float, float],
    uploads: Uploads,
    encoders: AnySurrogate,
    downloads: Downloads,
) -> Result:
    """One picture, from its upload to the downloads.

    Args:
        share: of all work: what was done before, and what this picture is.
    """
    before, part = share
    job.report(f"Reading {which}", before)
    picture = uploads.read(upload)
    frames = 1 + len(picture.following)
    at_once = (
        batch_size(
            encoders,
            demand(asked.config, height=picture.height, width=picture.width),
            at_most=asked.config.batch,
        )
        if frames > 1
        else 1
    )
    runs = _Runs(math.ceil(frames / at_once))

    def on_step(steps_done: int, steps: int, _: float) -> None:
        done = runs.share(steps_done, steps)
        job.report(f"{'Working on' if done < 1 else 'Measuring'} {which}", before + done * part)

    job.report(f"Working on {which}", before)
    protected = protect(
        asked.output_options.prepared(picture), asked.config, surrogate=encoders, mask=asked.mask, on_step=on_step
    )
    job.report(f"Writing {name}")
    data, record = protected.encoded(output_format(Path(name), allow_lossy=False))
    pages = name.endswith(".tiff")  # which browsers do not show
    file = downloads.keep(visit, data, media_type="image/tiff" if pages else _PNG, name=name)
    return Result(
        name=name,
        record=record,
        against=tuple(member.digest for member in encoders.members),
        file=file,
        before=downloads.keep(visit, encode_picture(_shown(protected.original), "PNG"), media_type=_PNG),
        after=downloads.keep(visit, encode_picture(_shown(protected.picture), "PNG"), media_type=_PNG)
        if pages
        else file,
        change=downloads.keep(visit, _difference(protected), media_type="image/jpeg"),
        painted=""
        if asked.mask is None
        else downloads.keep(visit, _painted(asked.mask), media_type=_PNG, name=MASK_NAME),
    )


class _Runs:
    """Steps count anew for every batch of an animation's frames."""

    def __init__(self, runs: int) -> None:
        self._runs, self._finished, self._last = runs, 0, 0

    def share(self, done: int, steps: int) -> float:
        if done < self._last:
            self._finished += 1
        self._last = done
        return min(1.0, (self._finished + done / steps) / self._runs)


def _shown(picture: Picture) -> Picture:
    """Pixels and their colour profile, without what a picture says about itself; of pages the first."""
    still = not any(frame.duration_ms for frame in (picture, *picture.following))
    return OutputOptions(strip_metadata=True).prepared(replace(picture, following=()) if still else picture)


def _difference(protected: Protected) -> bytes:
    """Grey where nothing changed, brighter and darker where levels rose and fell."""
    change = protected.picture.rgb.astype(np.int16) - protected.original.rgb
    shown = (128 + AMPLIFICATION * change).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def _painted(mask: Mask) -> bytes:
    """As `protect --mask` reads it."""
    return encode_picture(from_pil(Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))), "PNG")


def _zip(path: Path, results: Sequence[Result], downloads: Downloads) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # PNG is packed already
        for result in results:
            archive.writestr(result.name, downloads.read(result.file, result.name))
