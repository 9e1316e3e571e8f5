"""The work behind the button: uploaded pictures in, protected files on the shelf out."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pca_protect.batch.delivery import Delivery
from pca_protect.cli.web.desk import Job
from pca_protect.cli.web.models import Models
from pca_protect.cli.web.names import protected_names
from pca_protect.cli.web.shelf import Shelf
from pca_protect.config import ProtectConfig
from pca_protect.errors import Cancelled, PcaProtectError
from pca_protect.io.picture import Picture
from pca_protect.io.write import encode_picture
from pca_protect.perturb import Mask
from pca_protect.protection import Protected, protect
from pca_protect.record import Record

AMPLIFICATION = 8
MASK_NAME = "mask.png"
_QUALITY = 90
"""Of the amplified difference, which is there to be looked at."""


@dataclass(frozen=True)
class Result:
    """A picture that was protected.

    Attributes:
        name: of its file.
        record: what was measured.
        file, before, change: tokens on the shelf: the protected file, the original as PNG, the amplified difference.
        protected: for the proof.
    """

    name: str
    record: Record
    file: str
    before: str
    change: str


@dataclass(frozen=True)
class Results:
    """Attributes:
    done: in order.
    failed: a sentence each.
    warnings: about the models.
    together: token of a zip of all files; empty for a single one.
    painted: token of the mask as a picture; empty where there was none.
    """

    done: tuple[Result, ...]
    failed: tuple[str, ...]
    warnings: tuple[str, ...]
    together: str
    painted: str


def protect_all(
    job: Job[Results],
    pictures: Sequence[Picture],
    config: ProtectConfig,
    *,
    delivery: Delivery,
    mask: Mask | None,
    models: Models,
    shelf: Shelf,
) -> Results:
    """A picture that fails does not stop the others.

    Raises:
        Cancelled: the job was.
        UsageError, ModelError, DeviceError: from the encoders.
    """
    job.report("Loading the model")
    encoders = models.encoders(config.vaes)
    sizes = [picture.width * picture.height * (1 + len(picture.following)) for picture in pictures]
    done: list[Result] = []
    failed: list[str] = []
    names = protected_names([picture.source for picture in pictures])
    for number, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        before, size, frames = sum(sizes[:number]), sizes[number], _Frames(1 + len(picture.following))
        which = f", picture {number + 1} of {len(pictures)}" if len(pictures) > 1 else ""

        def on_step(steps_done: int, steps: int, _: float) -> None:
            share = frames.share(steps_done, steps)  # noqa: B023 - called within this turn
            doing = "Working on" if share < 1 else "Measuring"
            job.report(f"{doing} {picture.source}{which}", (before + share * size) / sum(sizes))  # noqa: B023

        job.report(f"Working on {picture.source}{which}", before / sum(sizes))
        try:
            protected = protect(delivery.prepared(picture), config, surrogate=encoders, mask=mask, on_step=on_step)
            job.report(f"Writing {name}")
            done.append(_shelved(protected, name, job.owner, shelf))
        except Cancelled:
            raise
        except PcaProtectError as error:
            failed.append(str(error))
        except OSError as error:
            failed.append(f"{picture.source}: cannot be kept ({error.strerror}); make room on the disk")
            break
    together = _zipped(done, job.owner, shelf) if len(done) > 1 else ""
    painted = "" if mask is None else shelf.keep(job.owner, _painted(mask), media_type="image/png", name=MASK_NAME)
    return Results(tuple(done), tuple(failed), encoders.warnings, together, painted)


class _Frames:
    """Steps count anew for every frame of an animation."""

    def __init__(self, frames: int) -> None:
        self._frames, self._done, self._last = frames, 0, 0

    def share(self, done: int, steps: int) -> float:
        if done < self._last:
            self._done += 1
        self._last = done
        return min(1.0, (self._done + done / steps) / self._frames)


def _painted(mask: Mask) -> bytes:
    """As `protect --mask` reads it."""
    buffer = io.BytesIO()
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _shelved(protected: Protected, name: str, owner: str, shelf: Shelf) -> Result:
    data, record = protected.encoded("PNG")
    original = encode_picture(_shown(protected.original), "PNG")
    return Result(
        name=name,
        record=record,
        file=shelf.keep(owner, data, media_type="image/png", name=name),
        before=shelf.keep(owner, original, media_type="image/png"),
        change=shelf.keep(owner, _difference(protected), media_type="image/jpeg"),
    )


def _shown(picture: Picture) -> Picture:
    """Pixels and their colour profile, without what a picture says about itself."""
    return Delivery(strip_metadata=True).prepared(picture)


def _difference(protected: Protected) -> bytes:
    """Grey where nothing changed, brighter and darker where levels rose and fell."""
    change = protected.picture.rgb.astype(np.int16) - protected.original.rgb
    buffer = io.BytesIO()
    shown = (128 + AMPLIFICATION * change).clip(0, 255).astype(np.uint8)
    Image.fromarray(shown).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def _zipped(results: Sequence[Result], owner: str, shelf: Shelf) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNG is packed already
        for result in results:
            kept = shelf.find(result.file)
            if kept is not None:
                archive.write(kept.path, result.name)
    return shelf.keep(owner, buffer.getvalue(), media_type="application/zip", name="protected.zip")
