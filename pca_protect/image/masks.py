"""Which part of a picture to protect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pca_protect.config import parse_region
from pca_protect.errors import PictureError, UsageError
from pca_protect.io.picture import Picture
from pca_protect.io.read import MAX_PIXELS, read_picture

if TYPE_CHECKING:  # the module behind it imports torch
    from pca_protect.image.tensors import Mask

_FACE_MARGIN = 0.3
"""Detectors draw their boxes around eyes, nose and mouth; so much of the box is added on every side."""


def editable_mask(picture: Picture, region: str | None, mask: Mask | None) -> Mask | None:
    """Where a picture may change: in its region and its mask, and not where it is fully transparent.

    Returns:
        `(H, W)`, or None for everywhere.

    Raises:
        PictureError: the mask is of another size, the region lies outside the picture or holds no face, or nothing is left.
    """
    shape = (picture.height, picture.width)
    free = np.ones(shape, dtype=bool)
    if mask is not None:
        if mask.shape != shape:
            raise PictureError(
                f"{picture.source}: is {picture.width}x{picture.height} px and its mask {mask.shape[1]}x{mask.shape[0]}; "
                "make the mask of the upright picture's size"
            )
        free &= mask
    if region is not None:
        free &= _region(picture, region)
    if picture.alpha is not None:
        free &= picture.alpha > 0
    if free.all():
        return None
    if not free.any():
        reason = (
            "is fully transparent" if mask is None and region is None else "has nothing left inside its mask or region"
        )
        raise PictureError(f"{picture.source}: {reason}; there is nothing to protect")
    return free


def as_mask(mask: Mask | NDArray[np.uint8] | Image.Image) -> Mask:
    """A mask as booleans `(H, W)`: true, or in 8 bits light (128 and more), where the picture may change.

    Raises:
        UsageError: an array of another shape or type.
    """
    levels = np.asarray(mask.convert("L")) if isinstance(mask, Image.Image) else mask
    if levels.ndim != 2 or levels.dtype not in (np.bool_, np.uint8):
        raise UsageError(
            f"a mask of shape {levels.shape} and type {levels.dtype} cannot be read; give bool or uint8 (H, W), or a Pillow image"
        )
    return levels.astype(np.bool_) if levels.dtype == np.bool_ else levels >= 128


def read_mask(path: Path, *, max_pixels: int = MAX_PIXELS) -> Mask:
    """A mask file: light is protected, dark (below half) is not.

    Raises:
        PictureError: it cannot be read, or is all dark.
    """
    mask = mask_of(read_picture(path, max_pixels=max_pixels))
    if not mask.any():
        raise PictureError(f"{path}: is dark everywhere, which protects nothing; paint white what to protect")
    return mask


def mask_of(picture: Picture) -> Mask:
    """Where a picture is light."""
    light: Mask = picture.rgb.max(axis=-1) >= 128
    return light


def _region(picture: Picture, region: str) -> Mask:
    parsed = parse_region(region)
    if parsed == "center":
        boxes = [(picture.width // 4, picture.height // 4, picture.width // 2, picture.height // 2)]
    elif parsed == "face":
        boxes = [_with_margin(box) for box in find_faces(picture)]
        if not boxes:
            raise PictureError(
                f"{picture.source}: no face found; name the place as `region=x,y,w,h`, or protect all of it"
            )
    else:
        assert not isinstance(parsed, str)
        boxes = [parsed]
    mask = np.zeros((picture.height, picture.width), dtype=bool)
    for x, y, width, height in boxes:
        mask[max(y, 0) : y + height, max(x, 0) : x + width] = True
    if not mask.any():
        raise PictureError(
            f"{picture.source}: the region {region} lies outside its {picture.width}x{picture.height} px; choose another"
        )
    return mask


def _with_margin(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    x, y, width, height = box
    margin_x, margin_y = round(width * _FACE_MARGIN), round(height * _FACE_MARGIN)
    return x - margin_x, y - margin_y, width + 2 * margin_x, height + 2 * margin_y


_LOOKED_AT_PX = 640
"""Longer side of what the detector sees; it takes a fifth of a second there."""
_SMALLEST_PX = 40

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


def find_faces(picture: Picture) -> list[Box]:
    """Boxes around eyes, nose and mouth; none is a possible answer.

    Raises:
        UsageError: scikit-image is not installed.
    """
    try:
        from skimage.data import lbp_frontal_face_cascade_filename  # noqa: PLC0415 - an extra
        from skimage.feature import Cascade  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "region face needs scikit-image: pip install 'pca-protect[face]', or name the place as x,y,w,h"
        ) from error
    small = Image.fromarray(picture.rgb)
    small.thumbnail((_LOOKED_AT_PX, _LOOKED_AT_PX))
    factor = picture.width / small.width
    found = Cascade(lbp_frontal_face_cascade_filename()).detect_multi_scale(  # type: ignore[no-untyped-call]
        np.asarray(small),
        scale_factor=1.15,
        step_ratio=1,
        min_size=(_SMALLEST_PX, _SMALLEST_PX),
        max_size=(_LOOKED_AT_PX, _LOOKED_AT_PX),
    )
    return [
        (
            round(face["c"] * factor),
            round(face["r"] * factor),
            round(face["width"] * factor),
            round(face["height"] * factor),
        )
        for face in found
    ]
