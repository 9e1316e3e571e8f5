"""Reads format and size from a file's header, fast enough for folders of ten thousand files."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from pca_protect.errors import PictureError
from pca_protect.io.containers import PNG_SIGNATURE
from pca_protect.io.exif import software_of
from pca_protect.io.formats import ANIMATED, DECODER_ERRORS, KNOWN, PAGED, PICTURE_SUFFIXES, damaged, open_image
from pca_protect.io.limits import MAX_PIXELS, bomb, check_size, pillow_limited_to
from pca_protect.io.marker import MARKER_KEY, SOFTWARE, facts_of, is_marker
from pca_protect.io.png import LARGEST_PROFILE

_MARKER = MARKER_KEY.encode() + b"\0"


@dataclass(frozen=True)
class Header:
    """Attributes:
    format: Pillow's name, such as "JPEG".
    width, height: in pixels, as stored, before EXIF rotation.
    frames: 1, or 2 for more than one, since counting requires reading the whole file.
    ours: the file carries the marker of this program's outputs.
    large_profile: the colour profile is larger than PNG readers accept.
    """

    format: str
    width: int
    height: int
    frames: int = 1
    ours: bool = False
    large_profile: bool = False

    @property
    def suffix(self) -> str:
        """The extension of a lossless output: `.tiff` for several pages and for one picture with a large profile, else
        `.png`."""
        return ".tiff" if (self.format in PAGED if self.frames > 1 else self.large_profile) else ".png"


def read_header(path: Path, *, max_pixels: int = MAX_PIXELS) -> Header | None:
    """Read the header of a picture file, recognised by content; None if no known format matches and its name is not a picture's.

    Raises:
        PictureError: the file cannot be read, is no picture although its name is one's, is of a picture format that cannot be
            read here, or the picture is damaged, too small or too large.
    """
    try:
        with path.open("rb") as file:
            header = header_of(file, str(path), max_pixels=max_pixels)
            if header is None and path.suffix.lower() in PICTURE_SUFFIXES:
                if file.seek(0, os.SEEK_END) == 0:
                    raise PictureError(f"{path}: is empty (0 bytes); copy or download it again")
                raise PictureError(f"{path}: is not in a recognised image format ({KNOWN}); check the file")
            return header
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error


def header_of(file: IO[bytes], source: str, *, max_pixels: int = MAX_PIXELS) -> Header | None:
    """`read_header` for an open file; `source` names it in messages.

    Raises:
        OSError: the file cannot be read.
        PictureError: see `read_header`.
    """
    with pillow_limited_to(max_pixels):
        try:
            header = _webp_header(file, source) or _header(file, source)
        except Image.DecompressionBombError as error:
            raise bomb(error, source, max_pixels) from error
        except DECODER_ERRORS as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise damaged(source, error) from error
    if header is not None:
        check_size(header.width, header.height, source, max_pixels=max_pixels)
    return header


def marker_facts(file: IO[bytes], source: str, *, max_pixels: int = MAX_PIXELS) -> dict[str, object]:
    """The facts in the marker of a readable picture file; empty without one. In PNG, a marker behind the pixels is not read."""
    with pillow_limited_to(max_pixels):
        image = open_image(file, source)
    if image is None:
        return {}
    if image.format == "PNG":
        return facts_of(str(image.info.get(MARKER_KEY, "")))
    return facts_of(_software(image))


def _header(file: IO[bytes], source: str) -> Header | None:
    image = open_image(file, source)
    if image is None:
        return None
    several = (image.format in ANIMATED or image.format in PAGED) and bool(getattr(image, "is_animated", False))
    ours = _png_is_ours(file) if image.format == "PNG" else is_marker(_software(image))
    large = len(image.info.get("icc_profile") or b"") > LARGEST_PROFILE
    return Header(image.format or "", image.width, image.height, 2 if several else 1, ours, large)


def _software(image: Image.Image) -> str:
    """The EXIF tag Software if it may hold a marker; else an empty text."""
    if image.format == "TIFF":
        return str(image.tag_v2.get(SOFTWARE, ""))  # type: ignore[attr-defined]
    block = image.info.get("exif") or b""
    return software_of(block).decode("latin-1") if b'"budget_levels"' in block else ""


def _png_is_ours(file: IO[bytes]) -> bool:
    """Look for the marker in all chunks: some programs move text behind the pixels."""
    file.seek(len(PNG_SIGNATURE))
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        end = file.tell() + length + 4
        if name in (b"iTXt", b"tEXt", b"zTXt") and file.read(len(_MARKER)) == _MARKER:
            return True
        file.seek(end)
    return False


def _webp_header(file: IO[bytes], source: str) -> Header | None:
    """Parse the chunks directly: Pillow would read the whole file and allocate the canvas."""
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WEBP":
        return None
    size: tuple[int, int] | None = None
    animated = ours = large = False
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
            ours = is_marker(software_of(data).decode("latin-1"))
        elif name == b"ICCP":
            large = length > LARGEST_PROFILE
        file.seek(end)
    if size is None:
        raise damaged(source, EOFError("no data in the WebP file"))
    return Header("WEBP", *size, 2 if animated else 1, ours, large)
