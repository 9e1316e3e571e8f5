"""Recognises image formats by content and opens files without decoding them."""

from __future__ import annotations

import importlib
import re
import struct
from typing import IO

from PIL import Image, ImageFile

from pca_protect.errors import PictureError, first_line

FORMATS = (
    "PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF", "JPEG2000", "PSD", "QOI", "DDS", "ICO", "CUR", "ICNS",
    "PPM", "PCX", "DCX", "SGI", "SUN", "XBM", "XPM", "MSP", "FLI", "DIB", "TGA",
)  # fmt: skip
"""Pillow's names of the raster formats read, tried in this order. Excluded are formats that need an interpreter (EPS, PDF,
WMF), containers that Pillow only identifies (HDF5, GRIB, MPEG), and formats without a signature, which match text files.
TGA has no signature either and is tried last."""

ANIMATED = frozenset({"PNG", "WEBP", "GIF", "AVIF", "FLI"})
PAGED = frozenset({"TIFF", "DCX"})

KNOWN = "PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF, HEIC, JPEG 2000 and others"

PICTURE_SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif",
     ".jp2", ".j2k", ".psd", ".tga", ".ico", ".jxl", ".jxr", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf",
     ".raf", ".rw2", ".pef", ".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".qoi", ".dds"}
)  # fmt: skip
"""Extensions of picture files, readable here or not. A file so named that cannot be read is a failure."""

_RAW = "a RAW photograph"
_UNSUPPORTED = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"gimp xcf ", "GIMP XCF"),
    (0, b"MM\0\x2b", "big-endian BigTIFF"),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"FOVb", _RAW),
    (6, b"HEAPCCDR", _RAW),
    (4, b"ftypcrx ", _RAW),
    (8, b"CR\x02\0", _RAW),
)
"""Position, signature and name of picture formats that cannot be read here."""

DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, ArithmeticError, AttributeError,
    AssertionError, RuntimeError, NotImplementedError, RecursionError, struct.error,
)  # fmt: skip
"""Exceptions that Pillow's decoders were observed to raise on damaged and hostile files."""

_MIN_BYTES = 16
"""Bytes. No picture is shorter, and Pillow's signature tests require that many."""

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_WEAK_SIGNATURE = frozenset({"PCX", "SGI", "FLI", "DIB", "TGA", "CUR", "ICO", "PPM", "BMP", "MSP"})
"""Formats with a short signature that other files share: failing to open as one of these is no sign of damage."""


def open_image(file: IO[bytes], source: str) -> ImageFile.ImageFile | None:
    """Open a picture by its header, without decoding pixels; None if no known format matches.

    Raises:
        PictureError: the file is damaged, is of a picture format that cannot be read here, or is HEIC and pillow-heif is not
            installed.
    """
    file.seek(0)
    prefix = file.read(64)
    if len(prefix) < _MIN_BYTES:
        return None
    for position, signature, name in _UNSUPPORTED:
        if prefix[position:].startswith(signature):
            raise PictureError(f"{source}: is {name}, which cannot be read here; save it as PNG or TIFF")
    _load_plugins(prefix, source)
    damage: Exception | None = None
    for name in FORMATS:
        if name not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(prefix[:16]) is not True:
            continue
        file.seek(0)
        try:
            image = factory(file, "")
        except DECODER_ERRORS as error:
            if name not in _WEAK_SIGNATURE or _is_plausible(name, prefix):
                damage = error
            continue
        if image.mode:
            return image
    if damage is not None:
        raise damaged(source, damage) from damage
    return None


def damaged(source: str, error: Exception) -> PictureError:
    """The error for a file that a decoder rejected."""
    reason = first_line(error)
    if isinstance(error, EOFError) or re.search("truncated|no data|too early|incomplete", reason, re.IGNORECASE):
        return PictureError(
            f"{source}: is truncated ({reason}); copy or download it again, or open it in a viewer and save what is left"
        )
    if re.search(r"cannot handle|not identified|unrecognized image mode|^[\d\s(),'-]+$", reason):
        return PictureError(
            f"{source}: is of a kind that cannot be read here ({reason}); open it in a viewer and save it as PNG"
        )
    if re.match("decoder error|broken data stream|unrecognized data stream", reason):
        return PictureError(
            f"{source}: is damaged, its pixels cannot be decoded ({reason}); copy or download it again, "
            "or open it in a viewer and save it again"
        )
    if re.search("too large|too much memory", reason, re.IGNORECASE):
        return PictureError(
            f"{source}: its metadata is over the size limit ({reason}); open it in a viewer and save it again"
        )
    if re.search("unsupported|unknown|not supported", reason, re.IGNORECASE):
        return PictureError(
            f"{source}: is damaged or uses an unsupported feature ({reason}); open it in a viewer and save it as PNG"
        )
    return PictureError(f"{source}: is damaged ({reason}); open it in a viewer and save it again")


def _load_plugins(prefix: bytes, source: str) -> None:
    Image.init()
    if "HEIF" in Image.OPEN or not _is_heic(prefix):
        return
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise PictureError(
            f"{source}: is a HEIC file, and pillow-heif is not installed; run pip install 'pca-protect[heif]'"
        ) from error
    pillow_heif.register_heif_opener()


def _is_heic(prefix: bytes) -> bool:
    """Whether the brands of the file type box are HEIC. AVIF shares the container, and Pillow reads it natively."""
    if prefix[4:8] != b"ftyp" or prefix[8:12] not in _HEIC_BRANDS:
        return False
    size = min(int.from_bytes(prefix[:4], "big"), len(prefix))
    compatible = {prefix[start : start + 4] for start in range(16, size, 4)}
    return not compatible & {b"avif", b"avis"}


def _is_plausible(name: str, prefix: bytes) -> bool:
    """Whether more of the header matches a format with a weak signature."""
    if name == "BMP":
        return prefix[6:10] == bytes(4)  # reserved bytes, zero in BMP but not in text
    if name == "PPM":
        return re.match(rb"P[1-6f]\s+(#.*\s+)*-?\d+\s", prefix) is not None
    return False
