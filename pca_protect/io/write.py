"""Encodes a `Picture` and writes files atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from pca_protect.errors import PictureError, UsageError
from pca_protect.io.encoded import Encoded
from pca_protect.io.jpeg import encode_jpeg
from pca_protect.io.picture import Picture
from pca_protect.io.png import encode_png
from pca_protect.io.tiff import encode_tiff
from pca_protect.io.webp import encode_webp

LOSSLESS = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
LOSSY = {".jpg": "JPEG", ".jpeg": "JPEG"}


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


def encode(picture: Picture, format_name: str, *, marker: str = "") -> Encoded:
    """Encode a picture as a file. PNG, WEBP and TIFF are lossless in pixels, frames and times (WebP: whole milliseconds;
    TIFF: no times).

    Args:
        format_name: "PNG", "WEBP", "TIFF" or "JPEG" (quality 95 without chroma subsampling).
        marker: one line for the file's metadata, see `pca_protect.io.marker`; empty for none.

    Returns:
        The file, and a sentence on each part of the metadata that the format cannot store.

    Raises:
        PictureError: the format cannot store the pixels, the frames or the colour profile.
    """
    encoder = {"PNG": encode_png, "WEBP": encode_webp, "TIFF": encode_tiff, "JPEG": encode_jpeg}[format_name]
    return encoder(picture, marker)


def encode_picture(picture: Picture, format_name: str, *, marker: str = "") -> bytes:
    """The file of `encode`."""
    return encode(picture, format_name, marker=marker).data


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
