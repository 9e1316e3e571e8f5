"""A `Picture` to a file that is whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pca_protect.errors import PictureError, UsageError
from pca_protect.io.picture import Picture
from pca_protect.io.read import read_picture

LOSSLESS = {".png": "PNG", ".webp": "WEBP"}
LOSSY = {".jpg": "JPEG", ".jpeg": "JPEG"}
NOTE_KEY = "pca_protect"
"""PNG text keyword of the note that says what was done; WebP and JPEG carry it in the EXIF tag Software."""

_SOFTWARE = 0x0131
_LOSSY_QUALITY = 95


def output_format(path: Path, *, allow_lossy: bool) -> str:
    """The format a path's extension asks for.

    Raises:
        UsageError: lossy without permission, or unknown.
    """
    suffix = path.suffix.lower()
    if suffix in LOSSLESS:
        return LOSSLESS[suffix]
    if suffix in LOSSY:
        if allow_lossy:
            return LOSSY[suffix]
        raise UsageError(
            f"{path}: {suffix} compression eats the perturbation; write .png or .webp, or add --allow-lossy"
        )
    raise UsageError(f"{path}: cannot write {suffix or 'a name without extension'}; use .png or .webp (lossless)")


def write_picture(
    picture: Picture, path: Path, *, note: str = "", allow_lossy: bool = False, overwrite: bool = False
) -> None:
    """Write under a temporary name in the same folder and move into place.

    Args:
        note: what was done, in one line, kept in the file's metadata.
        allow_lossy: permit JPEG; its quality is 95 without chroma subsampling.
        overwrite: permit replacing an existing file.

    Raises:
        UsageError: the format is lossy or unknown.
        PictureError: the file exists, the folder is missing or read-only, or the disk is full.
    """
    format_name = output_format(path, allow_lossy=allow_lossy)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            _encode(picture, file, format_name, note)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_usual_mode())
        _move_into_place(Path(temporary), path, overwrite=overwrite)
    except OSError as error:
        raise PictureError(_why_not(path, error)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()


def largest_change_levels(picture: Picture, path: Path) -> int:
    """The largest change of any channel of any pixel against a file, in 8-bit levels, on the bytes re-read from disk."""
    saved = read_picture(path)
    return int(np.abs(saved.rgb.astype(np.int16) - picture.rgb.astype(np.int16)).max())


def _move_into_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """A hard link, unlike a rename, never replaces a file that came into being meanwhile."""
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


def _encode(picture: Picture, file: IO[bytes], format_name: str, note: str) -> None:
    image = Image.fromarray(_channels(picture))
    exif = Image.Exif()
    if picture.exif:
        exif.load(picture.exif)
    profile = picture.icc_profile or None
    if format_name == "PNG":
        chunks = PngInfo()
        for keyword, value in picture.text.items():
            if keyword != NOTE_KEY:
                chunks.add_itxt(keyword, value)
        if picture.xmp:
            chunks.add_itxt("XML:com.adobe.xmp", picture.xmp.decode("utf-8", "replace"))
        if note:
            chunks.add_text(NOTE_KEY, note)
        image.save(file, "PNG", pnginfo=chunks, exif=exif, icc_profile=profile)
        return
    if note:
        exif[_SOFTWARE] = note
    if format_name == "WEBP":
        image.save(file, "WEBP", lossless=True, exact=True, exif=exif, icc_profile=profile, xmp=picture.xmp)
        return
    image.convert("RGB").save(
        file, "JPEG", quality=_LOSSY_QUALITY, subsampling=0, exif=exif, icc_profile=profile, xmp=picture.xmp
    )


def _channels(picture: Picture) -> NDArray[np.uint8]:
    return picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])


def _usual_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _why_not(path: Path, error: OSError) -> str:
    folder = path.parent
    reasons = {
        errno.ENOENT: f"{path}: the folder {folder} does not exist; create it first",
        errno.EEXIST: f"{path}: exists already; add --overwrite or choose another name",
        errno.EACCES: f"{path}: the folder {folder} cannot be written to; choose another with -o",
        errno.EPERM: f"{path}: the folder {folder} cannot be written to; choose another with -o",
        errno.EROFS: f"{path}: the folder {folder} is on a read-only disk; choose another with -o",
        errno.ENOSPC: f"{path}: the disk is full; nothing was written, make room or choose another folder with -o",
        errno.EDQUOT: f"{path}: the disk quota is used up; nothing was written, choose another folder with -o",
        errno.EFBIG: f"{path}: the file would be larger than allowed here; nothing was written",
        errno.ENAMETOOLONG: f"{path}: the name is too long for this disk; choose a shorter one with -o",
    }
    number = error.errno or 0
    return reasons.get(
        number, f"{path}: cannot be written ({error}); nothing was written, choose another place with -o"
    )
