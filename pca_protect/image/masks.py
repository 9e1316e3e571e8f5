"""The editable part of a picture: masks, regions, faces, transparency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pca_protect.errors import PictureError, UsageError
from pca_protect.image.regions import parse_region
from pca_protect.io.picture import Picture
from pca_protect.io.read import MAX_PIXELS, from_pil, read_picture

if TYPE_CHECKING:  # the module behind it imports torch
    from pca_protect.image.tensors import Mask

_FACE_MARGIN = 0.3
"""Fraction of a face box added on every side, because detectors box only eyes, nose and mouth."""


def editable_mask(picture: Picture, region: str | None, mask: Mask | None) -> Mask | None:
    """Mask of the editable pixels: inside region and mask, and not fully transparent.

    Returns:
        `(H, W)`, true where the picture may change; None is everywhere.

    Raises:
        PictureError: the mask has another size, the region is outside the picture or contains no face, or no pixel is editable.
    """
    shape = (picture.height, picture.width)
    editable = np.ones(shape, dtype=bool)
    if mask is not None:
        if mask.shape != shape:
            raise PictureError(
                f"{picture.source}: is {picture.width}x{picture.height} px and its mask {mask.shape[1]}x{mask.shape[0]}; give a "
                "mask of the upright picture's size"
            )
        editable &= mask
    if region is not None:
        editable &= _region(picture, region)
    if picture.alpha is not None:
        editable &= picture.alpha > 0
    if editable.all():
        return None
    if not editable.any():
        reason = (
            "is fully transparent"
            if mask is None and region is None
            else "has no visible pixel inside its mask or region"
        )
        raise PictureError(f"{picture.source}: {reason}; there is nothing to protect")
    return editable


def as_mask(mask: Mask | NDArray[np.uint8] | Image.Image) -> Mask:
    """A mask as booleans `(H, W)`: true where the picture may change, which is 128 and above in 8-bit masks.

    Raises:
        UsageError: the array has another shape or type.
    """
    if isinstance(mask, Image.Image):
        return mask_of(from_pil(mask)) if mask.has_transparency_data else as_mask(np.asarray(mask.convert("L")))
    levels = mask
    if levels.ndim != 2 or levels.dtype not in (np.bool_, np.uint8):
        raise UsageError(
            f"a mask of shape {levels.shape} and type {levels.dtype} cannot be read; give bool or uint8 (H, W), or a Pillow image"
        )
    return levels.astype(np.bool_) if levels.dtype == np.bool_ else levels >= 128


def read_mask(path: Path, *, max_pixels: int = MAX_PIXELS) -> Mask:
    """Read a mask file: values of 128 and above, multiplied by alpha, are protected.

    Raises:
        PictureError: the file cannot be read, or all of it is below 128.
    """
    mask = mask_of(read_picture(path, max_pixels=max_pixels))
    if not mask.any():
        raise PictureError(
            f"{path}: is dark or transparent everywhere and protects nothing; paint the part to protect white and opaque"
        )
    return mask


def mask_of(picture: Picture) -> Mask:
    """True where the brightest channel of a picture, over black, is 128 or above. Painting programs save masks as white on
    transparency."""
    levels = picture.rgb.max(axis=-1).astype(np.uint32)
    if picture.alpha is not None:
        opaque = 255 if picture.low is None else 65535
        levels = levels * picture.alpha // opaque
    mask: Mask = levels >= 128
    return mask


def _region(picture: Picture, region: str) -> Mask:
    parsed = parse_region(region)
    if parsed == "center":
        boxes = [(picture.width // 4, picture.height // 4, picture.width // 2, picture.height // 2)]
    elif parsed == "face":
        boxes = [_with_margin(box) for box in find_faces(picture)]
        if not boxes:
            raise PictureError(
                f"{picture.source}: no face found; give the region as `region=x,y,w,h`, or protect the whole picture"
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


_DETECTOR_PX = 640
"""Longer side of the picture given to the detector, which takes 0.2 s at this size."""
_SMALLEST_FACE_PX = 40

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


def find_faces(picture: Picture) -> list[Box]:
    """Boxes around eyes, nose and mouth of each face; empty without a face.

    Raises:
        UsageError: scikit-image is not installed.
    """
    try:
        from skimage.data import lbp_frontal_face_cascade_filename  # noqa: PLC0415 - an extra
        from skimage.feature import Cascade  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "region face needs scikit-image: pip install 'pca-protect[face]', or give the region as x,y,w,h"
        ) from error
    thumbnail = Image.fromarray(picture.rgb)
    thumbnail.thumbnail((_DETECTOR_PX, _DETECTOR_PX))
    factor = picture.width / thumbnail.width
    faces = Cascade(lbp_frontal_face_cascade_filename()).detect_multi_scale(  # type: ignore[no-untyped-call]
        np.asarray(thumbnail),
        scale_factor=1.15,
        step_ratio=1,
        min_size=(_SMALLEST_FACE_PX, _SMALLEST_FACE_PX),
        max_size=(_DETECTOR_PX, _DETECTOR_PX),
    )
    return [
        (
            round(face["c"] * factor),
            round(face["r"] * factor),
            round(face["width"] * factor),
            round(face["height"] * factor),
        )
        for face in faces
    ]
