"""Refuses files whose pixels decoders read wrongly or in part without an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from PIL import Image

from pca_protect.errors import PictureError

_REDUCED, _BITS, _COMPRESSION, _PHOTOMETRIC, _PLANAR, _SUB_DIRECTORIES = 254, 258, 259, 262, 284, 330
_PIECES = (273, 324)
"""Tags of the positions of strips and tiles."""
_SAMPLES, _RGB, _YCBCR = 277, 2, 6
_RAW, _SEPARATE, _COLOUR_FILTER, _LINEAR_RAW = 1, 2, 32803, 34892
_PADDING_BYTES = 16
"""Bytes between the last pixel and the end of a JPEG that some cameras add."""


def require_readable(image: Image.Image, data: bytes, source: str) -> None:
    """Check an opened image before its pixels are decoded.

    Raises:
        PictureError: the file is a RAW photograph, is sparse, is damaged inside, or has a layout that decoders get wrong.
    """
    if image.format == "TIFF":
        require_finished_tiff(image, source)
    elif image.format in ("JPEG", "MPO") and data:
        _require_undamaged_jpeg(data, source)


def require_finished_tiff(image: Image.Image, source: str) -> None:
    """Raises:
    PictureError: see `require_readable`.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    reduced_only = bool(int(tags.get(_REDUCED, 0)) & 1) and _SUB_DIRECTORIES in tags
    if reduced_only or tags.get(_PHOTOMETRIC) in (_COLOUR_FILTER, _LINEAR_RAW):
        raise PictureError(
            f"{source}: is a RAW photograph, of which only a preview could be read; develop it and save it as TIFF or PNG"
        )
    if any(0 in _of_colours(_numbers(tags.get(tag, 1)), tags) for tag in _PIECES):
        raise PictureError(f"{source}: is a sparse TIFF with missing parts; open it in a viewer and save it again")
    deep = any(bits > 8 for bits in _numbers(tags.get(_BITS, 8)))
    if deep and tags.get(_PLANAR) == _SEPARATE and tags.get(_COMPRESSION, _RAW) == _RAW:
        raise PictureError(
            f"{source}: stores 16-bit channels in separate uncompressed planes, which cannot be read; save it as PNG, or "
            "with compression"
        )


def _of_colours(pieces: tuple[int, ...], tags: Mapping[int, Any]) -> tuple[int, ...]:
    """The strips or tiles of colour channels; in separate planes, further samples are last."""
    if tags.get(_PLANAR) != _SEPARATE:
        return pieces
    colours = 3 if tags.get(_PHOTOMETRIC) in (_RGB, _YCBCR) else 1
    return pieces[: len(pieces) * colours // max(colours, int(tags.get(_SAMPLES, 1)))]


def _numbers(value: object) -> tuple[int, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(int(one) for one in values if isinstance(one, int))


def _require_undamaged_jpeg(data: bytes, source: str) -> None:
    """Decode a second time: Pillow ignores the decoder's warnings of damage inside the picture."""
    import simplejpeg  # noqa: PLC0415 - needed for one format only

    try:
        # At an eighth of the size, all coefficients are still read.
        simplejpeg.decode_jpeg(data, min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        reason = str(error)
        padding = re.search(r"(\d+) extraneous bytes before marker 0xd9", reason)
        if "Corrupt JPEG data" in reason and not (padding and int(padding[1]) <= _PADDING_BYTES):
            raise PictureError(
                f"{source}: is damaged, a part of its pixels is lost ({reason}); copy or download it again"
            ) from error
