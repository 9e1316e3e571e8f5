"""One picture of a job: protected, with the files that the page offers and shows."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from pca_protect.batch.output_options import OutputOptions
from pca_protect.cli.batch_progress import BatchProgress
from pca_protect.config import ProtectConfig
from pca_protect.engine import demand
from pca_protect.image.tensors import Mask
from pca_protect.io.picture import Picture
from pca_protect.io.read import from_pil
from pca_protect.io.write import encode_picture, output_format
from pca_protect.memory import batch_size
from pca_protect.protected import Protected
from pca_protect.protection import protect
from pca_protect.record import Record
from pca_protect.surrogates.encoder import AnySurrogate

AMPLIFICATION = 8
MASK_NAME = "mask.png"
UNPROTECTED = "ORIGINAL-UNPROTECTED"
"""In the name under which a browser saves the original."""
_PNG = "image/png"
_QUALITY = 90
"""JPEG quality of the amplified difference."""


@dataclass(frozen=True)
class ProtectedFile:
    """A protected picture.

    Attributes:
        name: of its file, with folders.
        record: its measurements.
        encoder_digests: digests of the encoders that it is protected against.
        file, before, after, change: download tokens of the protected file, of the original and the protected picture in a
            format that browsers show, and of the amplified difference.
        mask: download token of the painted mask; empty without one.
        opaque: download token of the protected picture without its transparency, as many editors read it; empty for opaque
            pictures.
    """

    name: str
    record: Record
    encoder_digests: tuple[str, ...]
    file: str
    before: str
    after: str
    change: str
    mask: str = ""
    opaque: str = ""

    @property
    def tokens(self) -> set[str]:
        """All download tokens."""
        return {self.file, self.before, self.after, self.change, self.mask, self.opaque} - {""}


def protect_one(
    picture: Picture,
    name: str,
    config: ProtectConfig,
    output_options: OutputOptions,
    mask: Mask | None,
    *,
    encoders: AnySurrogate,
    put: Callable[..., str],
    on_progress: Callable[[str, float], None],
) -> ProtectedFile:
    """Protects a picture and stores its files.

    Args:
        name: of the output.
        put: `FileStore.put` for the session.
        on_progress: called with a phase and the share that is done, in [0, 1]; an exception from it ends the work.
    """
    frames = 1 + len(picture.following)
    frames_at_once = (
        batch_size(encoders, demand(config, height=picture.height, width=picture.width), at_most=config.batch)
        if frames > 1
        else 1
    )
    progress = BatchProgress(math.ceil(frames / frames_at_once))

    def on_step(steps_done: int, steps: int, _: float) -> None:
        done = progress.share(steps_done, steps)
        on_progress("Protecting" if done < 1 else "Evaluating", done)

    on_progress("Protecting", 0.0)
    protected = protect(output_options.prepared(picture), config, surrogate=encoders, mask=mask, on_step=on_step)
    on_progress("Writing", 1.0)
    data, record = protected.encoded(output_format(Path(name), allow_lossy=False))
    last = PurePosixPath(name).name
    pages = name.endswith(".tiff")  # browsers do not show TIFF
    file = put(data, media_type="image/tiff" if pages else _PNG, name=last)
    return ProtectedFile(
        name=name,
        record=record,
        encoder_digests=tuple(member.digest for member in encoders.members),
        file=file,
        before=put(
            encode_picture(_browser_copy(protected.original), "PNG"),
            media_type=_PNG,
            name=f"{last.split('.')[0]}.{UNPROTECTED}.png",
        ),
        after=put(encode_picture(_browser_copy(protected.picture), "PNG"), media_type=_PNG, name=f"{last}.png")
        if pages
        else file,
        change=put(_amplified_difference(protected), media_type="image/jpeg"),
        mask="" if mask is None else put(_mask_png(mask), media_type=_PNG, name=MASK_NAME),
        opaque=put(_opaque_png(protected.picture), media_type=_PNG) if _is_transparent(picture) else "",
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


def _is_transparent(picture: Picture) -> bool:
    """Whether some pixels are not opaque."""
    return picture.alpha is not None and bool((picture.alpha < np.iinfo(picture.alpha.dtype).max).any())


def _opaque_png(picture: Picture) -> bytes:
    """The colours of all pixels, transparent ones included, as `Image.convert("RGB")` reads them."""
    buffer = io.BytesIO()
    Image.fromarray(picture.rgb).save(buffer, "PNG")
    return buffer.getvalue()
