"""Encodes a `Picture` and writes files atomically."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from pca_protect.errors import PictureError, UsageError
from pca_protect.io import iptc
from pca_protect.io.frames import frames_of
from pca_protect.io.marker import MARKER_KEY, SOFTWARE
from pca_protect.io.picture import Picture
from pca_protect.io.png import encode_png
from pca_protect.io.tiff import encode_tiff
from pca_protect.io.webp import encode_webp

__all__ = ["MARKER_KEY", "encode_picture", "largest_change_levels", "left_out", "output_format", "write_bytes"]

LOSSLESS = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
LOSSY = {".jpg": "JPEG", ".jpeg": "JPEG"}

_LOSSY_QUALITY = 95
_LARGEST_SEGMENT = 65_000
"""Bytes of metadata in one JPEG segment, whose limit is 65,535 bytes with its headers."""


def output_format(path: Path, *, allow_lossy: bool) -> str:
    """The format of a path's extension.

    Raises:
        UsageError: the format is lossy without permission, or unknown.
    """
    suffix = path.suffix.lower()
    if suffix in LOSSLESS:
        return LOSSLESS[suffix]
    if suffix in LOSSY:
        if allow_lossy:
            return LOSSY[suffix]
        raise UsageError(
            f"{path}: {suffix} compression weakens the perturbation; write .png, .webp or .tiff, or add `allow_lossy`"
        )
    raise UsageError(
        f"{path}: cannot write {suffix or 'a name without extension'}; use .png, .webp or .tiff (lossless)"
    )


def encode_picture(picture: Picture, format_name: str, *, marker: str = "") -> bytes:
    """Encode a picture as a file. PNG, WEBP and TIFF are lossless in pixels, frames and times (WebP: whole milliseconds;
    TIFF: no times). Metadata that the format cannot store is dropped: text except in PNG, IPTC in WebP, and in JPEG any
    block over one segment of 64 KB.

    Args:
        format_name: "PNG", "WEBP", "TIFF" or "JPEG" (quality 95 without chroma subsampling).
        marker: one line for the file's metadata, see `pca_protect.io.marker`; empty for none.

    Raises:
        PictureError: the format cannot store the pixels or the frames.
    """
    if format_name == "PNG":
        return encode_png(picture, marker)
    exif = _with_marker(picture.exif, marker)
    if format_name == "WEBP":
        return encode_webp(picture, exif)
    if format_name == "TIFF":
        return encode_tiff(picture, exif)
    return _encode_jpeg(picture, exif)


def left_out(picture: Picture, format_name: str) -> tuple[str, ...]:
    """Warnings about metadata that a format cannot store, one sentence each."""
    losses = {
        "its text": bool(picture.text) and format_name != "PNG",
        "its IPTC records": bool(picture.iptc) and format_name == "WEBP",
        "its grey colour profile": bool(picture.icc_profile) and picture.gray and format_name == "WEBP",
        "the times of its frames": picture.duration_ms > 0 and format_name == "TIFF",
    }
    return tuple(f"{what} cannot be stored in {format_name} and was left out" for what, lost in losses.items() if lost)


def largest_change_levels(picture: Picture, saved: Picture) -> int:
    """The L-inf distance over all frames, in 8-bit levels.

    Raises:
        PictureError: the pictures differ in size or number of frames.
    """
    before, after = frames_of(picture), frames_of(saved)
    if [frame.rgb.shape for frame in before] != [frame.rgb.shape for frame in after]:
        raise PictureError(
            f"{saved.source}: differs from {picture.source} in size or number of frames; please report this"
        )
    return max(_largest_difference(original, changed) for original, changed in zip(before, after, strict=True))


def write_bytes(data: bytes, path: Path, *, overwrite: bool = False, folder: Path | None = None) -> None:
    """Write a file atomically: to a temporary file that is then moved into place. Existing files are kept by default.

    Args:
        overwrite: permit replacing an existing file.
        folder: folder of the temporary file; the target's folder by default or if `folder` is on another disk.

    Raises:
        PictureError: the file exists, the folder is missing or read-only, or the disk is full.
    """
    temporary: str | None = None
    try:
        if folder is None or folder.stat().st_dev != path.parent.stat().st_dev:
            folder = path.parent
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".pca-", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_default_mode())
        _move_into_place(Path(temporary), path, overwrite=overwrite)
    except OSError as error:
        raise PictureError(_write_error(path, error)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()


def _largest_difference(picture: Picture, saved: Picture) -> int:
    """Compare bands of rows to limit memory."""
    largest = 0
    for start in range(0, picture.height, 256):
        rows = slice(start, start + 256)
        difference = np.abs(saved.rgb[rows].astype(np.int16) - picture.rgb[rows].astype(np.int16))
        largest = max(largest, int(difference.max()))
    return largest


def _with_marker(block: bytes, marker: str) -> bytes:
    if not marker:
        return block
    exif = Image.Exif()
    if block:
        exif.load(block)
    exif[SOFTWARE] = marker
    return exif.tobytes()


def _encode_jpeg(picture: Picture, exif: bytes) -> bytes:
    if picture.following:
        raise PictureError(
            f"{picture.source}: has {len(picture.following) + 1} frames, and JPEG holds one; write it to a .png file"
        )
    if picture.alpha is not None and int(picture.alpha.min()) < (255 if picture.low is None else 65535):
        raise PictureError(f"{picture.source}: is transparent, and JPEG has no transparency; write it to a .png file")
    image = Image.fromarray(np.ascontiguousarray(picture.rgb[..., 0]) if picture.gray else picture.rgb)
    extra = b""
    if 0 < len(picture.iptc) < _LARGEST_SEGMENT:
        block = b"Photoshop 3.0\0" + iptc.to_photoshop(picture.iptc)
        extra = b"\xff\xed" + struct.pack(">H", len(block) + 2) + block
    file = io.BytesIO()
    image.save(
        file,
        "JPEG",
        quality=_LOSSY_QUALITY,
        subsampling=0,
        exif=exif if len(exif) < _LARGEST_SEGMENT else b"",
        icc_profile=picture.icc_profile or None,
        xmp=picture.xmp if len(picture.xmp) < _LARGEST_SEGMENT else b"",
        extra=extra,
    )
    return file.getvalue()


def _move_into_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Use a hard link, which unlike a rename never replaces a file created meanwhile."""
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links on this disk (exFAT, some network shares)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def _default_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _write_error(path: Path, error: OSError) -> str:
    folder = path.parent
    reasons = {
        errno.ENOENT: f"{path}: the folder {folder} does not exist; create it first",
        errno.EEXIST: f"{path}: exists already; add `existing=overwrite` or choose another name",
        errno.EACCES: f"{path}: the folder {folder} cannot be written to; choose another with -o",
        errno.EPERM: f"{path}: the folder {folder} cannot be written to; choose another with -o",
        errno.EROFS: f"{path}: the folder {folder} is on a read-only disk; choose another with -o",
        errno.ENOSPC: f"{path}: the disk is full; nothing was written, make room or choose another folder with -o",
        errno.EDQUOT: f"{path}: the disk quota is used up; nothing was written, choose another folder with -o",
        errno.EFBIG: f"{path}: the file exceeds the size limit here; nothing was written, choose another folder with -o",
        errno.ENAMETOOLONG: f"{path}: the name is too long for this disk; choose a shorter one with -o",
    }
    number = error.errno or 0
    return reasons.get(
        number, f"{path}: cannot be written ({error}); nothing was written, choose another place with -o"
    )
