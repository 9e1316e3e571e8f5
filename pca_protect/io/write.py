"""Encodes a `Picture` and writes files atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

from pca_protect.errors import PictureError, UsageError
from pca_protect.io.encoded import Encoded
from pca_protect.io.jpeg import encode_jpeg
from pca_protect.io.picture import Picture
from pca_protect.io.png import encode_png
from pca_protect.io.tiff import encode_tiff
from pca_protect.io.webp import encode_webp

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)
"""Errors of disks without hard links (exFAT, some network shares)."""

USUAL_MODE = 0o666
"""Read and write for everybody whom the umask does not exclude. Pictures are not executable."""

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


def write_bytes(
    data: bytes, path: Path, *, overwrite: bool = False, folder: Path | None = None, mode: int = USUAL_MODE
) -> None:
    """Write a file atomically: whole, or not at all. Existing files are kept by default. A replacement has the permissions of the
    file it replaces.

    On Linux the data goes to a file without a name in the target's folder, of which a killed process leaves nothing. Elsewhere it
    goes to a temporary file that is then moved into place.

    Args:
        overwrite: permit replacing an existing file.
        folder: folder of the temporary file; the target's folder by default, or if `folder` is on another disk or mount.
        mode: permissions of a new file, which the umask of the process restricts.

    Raises:
        PictureError: the file exists, the folder is missing or read-only, or the disk is full.
    """
    try:
        try:
            _write_unnamed(data, path, overwrite=overwrite, mode=mode)
        except _NoUnnamedFilesError:
            _write_renamed(data, path, overwrite=overwrite, folder=folder or path.parent, mode=mode)
    except OSError as error:
        raise PictureError(_write_error(path, error)) from error


class _NoUnnamedFilesError(Exception):
    """The system or the file system has none."""


def _write_unnamed(data: bytes, path: Path, *, overwrite: bool, mode: int) -> None:
    if not hasattr(os, "O_TMPFILE"):
        raise _NoUnnamedFilesError
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, mode)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise _NoUnnamedFilesError from error
        raise
    with os.fdopen(descriptor, "wb") as file:
        _fill(file, data, path, overwrite=overwrite)
        source = Path(f"/proc/self/fd/{file.fileno()}")
        if not source.exists():
            raise _NoUnnamedFilesError
        if not (overwrite and os.path.lexists(path)):
            try:
                _link_unnamed(source, path)
                return
            except FileExistsError:
                if not overwrite:
                    raise
            except OSError as error:
                if error.errno in (*_NO_LINKS, errno.EXDEV, errno.ENOENT):
                    raise _NoUnnamedFilesError from error
                raise
        named = _temporary_name(path.parent)
        _link_unnamed(source, named)
    try:
        named.replace(path)
    finally:
        named.unlink(missing_ok=True)


def _link_unnamed(source: Path, path: Path) -> None:
    """Link what a descriptor's entry in /proc points to. Python does so only if given a descriptor of a folder, too."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.link(source, path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _write_renamed(data: bytes, path: Path, *, overwrite: bool, folder: Path, mode: int) -> None:
    if folder.stat().st_dev != path.parent.stat().st_dev:
        folder = path.parent
    temporary = _temporary_name(folder)
    try:
        with os.fdopen(os.open(temporary, _CREATE, mode), "wb") as file:
            _fill(file, data, path, overwrite=overwrite)
        _move_into_place(temporary, path, overwrite=overwrite)
    except OSError as error:
        if error.errno != errno.EXDEV or folder == path.parent:  # the folder of the target is a mount of its own
            raise
        _write_renamed(data, path, overwrite=overwrite, folder=path.parent, mode=mode)
    finally:
        temporary.unlink(missing_ok=True)


def _fill(file: BinaryIO, data: bytes, path: Path, *, overwrite: bool) -> None:
    """Write to the disk itself, with the permissions of the file to be replaced. Those of a new file are set by the system, which
    applies the umask of the process."""
    if overwrite and hasattr(os, "fchmod"):
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode) & 0o777)
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _temporary_name(folder: Path) -> Path:
    return folder / f".pca-{secrets.token_hex(8)}.tmp"


def _move_into_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Use a hard link, which unlike a rename never replaces a file created meanwhile."""
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def _write_error(path: Path, error: OSError) -> str:
    folder = path.parent
    reasons = {
        errno.ENOENT: f"{path}: the folder {folder} does not exist; create it first",
        errno.EEXIST: f"{path}: exists already; add `overwrite=True` or choose another name",
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
