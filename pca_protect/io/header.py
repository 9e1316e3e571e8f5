"""Reads format and size from a file's header, fast enough for folders of ten thousand files."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from pca_protect.errors import PictureError
from pca_protect.io.formats import ANIMATED, DECODER_ERRORS, PAGED, damaged, open_image
from pca_protect.io.limits import MAX_PIXELS, bomb, check_size, pillow_limited_to
from pca_protect.io.marker import MARKER_KEY, SOFTWARE, is_marker


@dataclass(frozen=True)
class Header:
    """Attributes:
    format: Pillow's name, such as "JPEG".
    width, height: in pixels, as stored, before EXIF rotation.
    frames: 1, or 2 for more than one, since counting requires reading the whole file.
    ours: the file carries the marker of this program's outputs.
    """

    format: str
    width: int
    height: int
    frames: int = 1
    ours: bool = False

    @property
    def suffix(self) -> str:
        """The extension of a lossless output: `.tiff` for several pages, else `.png`."""
        return ".tiff" if self.frames > 1 and self.format in PAGED else ".png"


def read_header(path: Path, *, max_pixels: int = MAX_PIXELS) -> Header | None:
    """Read the header of a picture, recognised by content; None if no known format matches.

    Raises:
        PictureError: the file cannot be read, or the picture is damaged, too small or too large.
    """
    try:
        with path.open("rb") as file:
            return header_of(file, str(path), max_pixels=max_pixels)
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error


def header_of(file: IO[bytes], source: str, *, max_pixels: int = MAX_PIXELS) -> Header | None:
    """`read_header` for an open file; `source` names it in messages.

    Raises:
        PictureError: the picture is damaged, too small or too large.
        OSError: the file cannot be read.
    """
    with pillow_limited_to(max_pixels):
        try:
            header = _webp_header(file, source) or _header(file, source)
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            raise bomb(error, source, max_pixels) from error
        except DECODER_ERRORS as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise damaged(source, error) from error
    if header is not None:
        check_size(header.width, header.height, source, max_pixels=max_pixels)
    return header


def _header(file: IO[bytes], source: str) -> Header | None:
    image = open_image(file, source)
    if image is None:
        return None
    several = (image.format in ANIMATED or image.format in PAGED) and bool(getattr(image, "is_animated", False))
    return Header(image.format or "", image.width, image.height, 2 if several else 1, _ours(image))


def _ours(image: Image.Image) -> bool:
    if MARKER_KEY in image.info:
        return True
    if image.format == "TIFF":
        return is_marker(image.tag_v2.get(SOFTWARE))  # type: ignore[attr-defined]
    if image.format in ("JPEG", "MPO") and b'"budget_levels"' in image.info.get("exif", b""):
        return is_marker(image.getexif().get(SOFTWARE))
    return False


def _webp_header(file: IO[bytes], source: str) -> Header | None:
    """Parse the chunks directly: Pillow would read the whole file and allocate the canvas."""
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WEBP":
        return None
    size: tuple[int, int] | None = None
    animated = ours = False
    while len(chunk := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        end = file.tell() + length + length % 2
        data = file.read(length if name == b"EXIF" and length < 2**24 else min(length, 10))
        if name == b"VP8X" and len(data) == 10:
            animated = bool(data[0] & 0x02)
            size = int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
        elif name == b"VP8 " and size is None and len(data) == 10:
            size = int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
        elif name == b"VP8L" and size is None and len(data) >= 5:
            bits = int.from_bytes(data[1:5], "little")
            size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif name == b"EXIF" and b'"budget_levels"' in data:
            exif = Image.Exif()
            exif.load(data)
            ours = is_marker(exif.get(SOFTWARE))
        file.seek(end)
    if size is None:
        raise damaged(source, EOFError("no data in the WebP file"))
    return Header("WEBP", *size, 2 if animated else 1, ours)
