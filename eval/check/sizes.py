"""The size at which a check measures a picture: the one that the picture was protected for."""

from __future__ import annotations

from dataclasses import replace
from typing import IO

from pca_protect.image.resize import resized, sizes
from pca_protect.image.scale_names import Scale
from pca_protect.io.header import marker_facts
from pca_protect.io.limits import MAX_PIXELS, MIN_SIDE
from pca_protect.io.picture import Picture


def protected_scales(file: IO[bytes], *, max_pixels: int = MAX_PIXELS) -> tuple[Scale, ...]:
    """The scales in the marker of a picture file; empty if there are none."""
    found = marker_facts(file, "picture", max_pixels=max_pixels).get("scales")
    if not isinstance(found, list):
        return ()
    return tuple(
        scale for scale in found if scale in ("native", "1mp") or (isinstance(scale, int) and scale >= MIN_SIDE)
    )


def at_largest(picture: Picture, scales: tuple[Scale, ...]) -> Picture:
    """The picture at the largest of these scales, without transparency; the picture itself if this is its own size."""
    size = sizes(picture.height, picture.width, scales)[-1]
    if size == (picture.height, picture.width):
        return picture
    return replace(picture, rgb=resized(picture.rgb, size), alpha=None)
