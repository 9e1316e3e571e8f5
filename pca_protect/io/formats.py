"""Which picture formats are read, told by their content, and opened without decoding."""

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
"""Pillow's names of the raster formats that hold a picture, tried in this order. Left out are what another program has to
interpret (EPS, PDF, WMF), containers Pillow only recognises (HDF5, GRIB, MPEG), and formats without any mark of their own
that a text file can be taken for; of those only TGA stays, as the last."""

ANIMATED = frozenset({"PNG", "WEBP", "GIF", "AVIF", "FLI"})
PAGED = frozenset({"TIFF", "DCX"})

KNOWN = "PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF, HEIC, JPEG 2000 and others"

DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, ArithmeticError, AttributeError,
    AssertionError, RuntimeError, NotImplementedError, RecursionError, struct.error,
)  # fmt: skip
"""What Pillow's decoders were seen to raise on damaged and hostile files."""

_SHORTEST = 16
"""Bytes. No picture is shorter, and Pillow's tests of the first bytes count on them."""

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_LOOSE = frozenset({"PCX", "SGI", "FLI", "DIB", "TGA", "CUR", "ICO", "PPM", "BMP", "MSP"})
"""Marked by a few bytes that other files begin with too: failing to open as one of these means nothing."""


def open_image(file: IO[bytes], source: str) -> ImageFile.ImageFile | None:
    """The picture with its header read and no pixel decoded; None when the content is in no known format.

    Raises:
        PictureError: in a known format, but damaged, or HEIC without pillow-heif.
    """
    file.seek(0)
    prefix = file.read(64)
    if len(prefix) < _SHORTEST:
        return None
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
            if name not in _LOOSE or _looks_like(name, prefix):
                damage = error
            continue
        if image.mode:
            return image
    if damage is not None:
        raise damaged(source, damage) from damage
    return None


def damaged(source: str, error: Exception) -> PictureError:
    """The sentence for a file that a decoder gave up on."""
    reason = first_line(error)
    if isinstance(error, EOFError) or re.search("truncated|no data|too early|incomplete", reason, re.IGNORECASE):
        return PictureError(
            f"{source}: is damaged, its end is missing ({reason}); copy it again from where it came, "
            "or open it in a viewer and save what is left"
        )
    if re.match("decoder error|broken data stream|unrecognized data stream", reason):
        return PictureError(
            f"{source}: is damaged, its pixels cannot be unpacked ({reason}); copy it again from where it came, "
            "or open it in a viewer and save it again"
        )
    if re.search("too large|too much memory", reason, re.IGNORECASE):
        return PictureError(
            f"{source}: unpacks to more metadata than a picture has ({reason}); open it in a viewer and save it again"
        )
    if re.search("unsupported|unknown|not supported", reason, re.IGNORECASE):
        return PictureError(
            f"{source}: is damaged or of a rare kind ({reason}); open it in a viewer and save it as PNG"
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
            f"{source}: is a HEIC picture, which needs one more library to be read; run pip install 'pca-protect[heif]'"
        ) from error
    pillow_heif.register_heif_opener()


def _is_heic(prefix: bytes) -> bool:
    """Told by the brands of the file type box; AVIF, which shares the container, is read by Pillow itself."""
    if prefix[4:8] != b"ftyp" or prefix[8:12] not in _HEIC_BRANDS:
        return False
    size = min(int.from_bytes(prefix[:4], "big"), len(prefix))
    compatible = {prefix[start : start + 4] for start in range(16, size, 4)}
    return not compatible & {b"avif", b"avis"}


def _looks_like(name: str, prefix: bytes) -> bool:
    """Whether the loosely marked format is meant all the same."""
    if name == "BMP":
        return prefix[6:10] == bytes(4)  # reserved bytes, which text does not have
    if name == "PPM":
        return re.match(rb"P[1-6f]\s+(#.*\s+)*-?\d+\s", prefix) is not None
    return False
