"""What a picture was protected for, by its marker, and the size at which a check therefore measures it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import IO

from pca_protect.image.resize import resized, sizes
from pca_protect.image.scale_names import Scale
from pca_protect.io.header import marker_facts
from pca_protect.io.limits import MAX_PIXELS, MIN_SIDE
from pca_protect.io.picture import Picture


@dataclass(frozen=True)
class Protection:
    """Facts in the marker of a picture.

    Attributes:
        scales: those that it was protected for; empty if unknown.
        vae: names of the encoders joined by ` + `, or the first digits of their digest; empty if unknown.
    """

    scales: tuple[Scale, ...] = ()
    vae: str = ""


UNKNOWN = Protection()
"""Of a picture without a marker."""


def protection_of(file: IO[bytes], *, max_pixels: int = MAX_PIXELS) -> Protection:
    """The protection that the marker of a picture file describes."""
    facts = marker_facts(file, "picture", max_pixels=max_pixels)
    found, vae = facts.get("scales"), facts.get("vae")
    scales = (
        [scale for scale in found if scale in ("native", "1mp") or (isinstance(scale, int) and scale >= MIN_SIDE)]
        if isinstance(found, list)
        else []
    )
    return Protection(tuple(scales), vae if isinstance(vae, str) else "")


def at_largest(picture: Picture, scales: tuple[Scale, ...]) -> Picture:
    """The picture at the largest of these scales, without transparency; the picture itself if this is its own size."""
    size = sizes(picture.height, picture.width, scales)[-1]
    if size == (picture.height, picture.width):
        return picture
    return replace(picture, rgb=resized(picture.rgb, size), alpha=None)
