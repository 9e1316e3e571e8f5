"""Bytes of a file to a `Picture`, or one sentence why not."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pca_protect.errors import PictureError, UsageError
from pca_protect.io.picture import Picture

MIN_SIDE = 8
MAX_PIXELS = 89_000_000
"""Above this a file counts as a decompression bomb. Pillow warns from 89 megapixels on."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")

_EIGHT_BIT_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"}
_REASONS = {
    "CMYK": "is CMYK; convert it to RGB first",
    "YCbCr": "is stored as YCbCr; convert it to RGB first",
    "LAB": "is stored as LAB; convert it to RGB first",
    "HSV": "is stored as HSV; convert it to RGB first",
}
_ORIENTATION = 0x0112

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error)
"""What Pillow's decoders were seen to raise on damaged and hostile files."""


def read_picture(path: Path) -> Picture:
    """Read and decode a picture file.

    Raises:
        UsageError: the path is a folder.
        PictureError: missing, unreadable, damaged, too small, too large, or of a kind that cannot be protected.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, and folders are not supported yet; name the pictures, {path}/*.png say")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise PictureError(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error
    if not data:
        raise PictureError(f"{path}: is empty (0 bytes); copy it again from where it came")
    return decode_picture(data, str(path))


def decode_picture(data: bytes, source: str) -> Picture:
    """Decode the bytes of a picture file; `source` names it in messages. Raises as `read_picture` does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata is no reason to stop; size is checked right below
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, source)
                _check_kind(image, source)
                image.load()
                return from_pil(image, source=source, digest=hashlib.sha256(data).hexdigest())
    except UnidentifiedImageError as error:
        raise PictureError(f"{source}: is not a picture in a known format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise PictureError(
            f"{source}: is over the limit of {MAX_PIXELS // 10**6} megapixels; make it smaller"
        ) from error
    except _DECODER_ERRORS as error:
        raise PictureError(f"{source}: is damaged ({error}); open it in a viewer and save it again") from error


def from_pil(image: Image.Image, *, source: str = "picture", digest: str = "") -> Picture:
    """A `Picture` from an open Pillow image, upright, with its metadata.

    Raises:
        PictureError: its size or kind cannot be protected.
    """
    _check_size(image, source)
    _check_kind(image, source)
    exif = image.getexif()
    upright = ImageOps.exif_transpose(image)
    if _ORIENTATION in exif:
        del exif[_ORIENTATION]
    has_alpha = upright.has_transparency_data
    converted = upright.convert("RGBA" if has_alpha else "RGB")
    array = np.asarray(converted)
    info = image.info
    xmp = info.get("xmp", info.get("XML:com.adobe.xmp", b""))
    text = {str(key): str(value) for key, value in getattr(image, "text", {}).items() if key not in _NOT_TEXT}
    return Picture(
        rgb=np.ascontiguousarray(array[..., :3]),
        alpha=np.ascontiguousarray(array[..., 3]) if has_alpha else None,
        icc_profile=_profile_for_rgb(image),
        exif=exif.tobytes() if len(exif) else b"",
        xmp=xmp.encode() if isinstance(xmp, str) else bytes(xmp),
        text=text,
        digest=digest,
        source=source,
    )


_NOT_TEXT = {"XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1"}
"""Chunks that are metadata in disguise and are carried as such."""


def _profile_for_rgb(image: Image.Image) -> bytes:
    """A grey profile does not describe the RGB picture that a grey one becomes."""
    profile: bytes = image.info.get("icc_profile") or b""
    return b"" if profile[16:20] == b"GRAY" else profile


def _check_size(image: Image.Image, source: str) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise PictureError(
            f"{source}: {width}x{height} px is too small; the shorter side has to be at least {MIN_SIDE} px"
        )
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"{source}: {width}x{height} px is over the limit of {MAX_PIXELS // 10**6} megapixels; make it smaller"
        )


def _check_kind(image: Image.Image, source: str) -> None:
    if image.mode not in _EIGHT_BIT_MODES:
        reason = _REASONS.get(
            image.mode, f"has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits first"
        )
        raise PictureError(f"{source}: {reason}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a phone's JPEG with a preview or a depth map behind the picture
        raise PictureError(f"{source}: holds {frames} frames or pages; save them as pictures of their own first")
