"""Extracts EXIF, XMP, IPTC and text from a file, without tags that describe how its pixels are stored."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from PIL import ExifTags, Image

from pca_protect.io import iptc, xmp
from pca_protect.io.formats import DECODER_ERRORS

ORIENTATION = 0x0112

_STRUCTURAL = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291, 301,
     317, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 338, 339, 340, 341, 342, 347, 512, 513, 514, 515, 517,
     518, 519, 520, 521, 529, 530, 531, 532, 700, 33723, 34377, 34675, 37724}
)  # fmt: skip
"""TIFF tags dropped from EXIF: pixel layout, pointers to further pictures (a thumbnail shows the unprotected one), and
data carried separately (XMP, IPTC, the colour profile)."""

_DESCRIPTIVE = frozenset(
    {269, 270, 271, 272, 274, 282, 283, 285, 296, 297, 305, 306, 315, 316, 18246, 18249, 33432, 34665, 34853, 40091,
     40092, 40093, 40094, 40095}
)  # fmt: skip
"""TIFF tags kept from a TIFF file. All others are dropped, since private tags may hold whole layers."""

_MAKER_NOTE = 0x927C
_IPTC = 33723
_RAW_PROFILE_PREFIX = "Raw profile type "


@dataclass(frozen=True)
class EmbeddedMetadata:
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    read_warnings: tuple[str, ...] = ()


def orientation_of(image: Image.Image) -> int:
    """The orientation, 1 to 8, from EXIF or from XMP as exiftool writes it; 1 if missing or unreadable. Always 1 for TIFF,
    which Pillow turns upright while decoding."""
    if hasattr(image, "tag_v2"):
        return 1
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except DECODER_ERRORS:
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def embedded_metadata_of(image: Image.Image) -> EmbeddedMetadata:
    """The metadata of a decoded image, with orientation reset and thumbnails removed. Unreadable blocks are dropped with a
    warning."""
    read_warnings = []
    try:
        exif, maker_note_dropped = _exif(image)
        if maker_note_dropped:
            read_warnings.append(
                "the camera's maker note may hold a preview of the unprotected picture and was left out"
            )
    except DECODER_ERRORS:
        exif = b""
        read_warnings.append("its EXIF block is damaged and was left out")
    try:
        packet = xmp.without_previews(xmp.upright(_xmp(image)))
    except ValueError:
        packet = b""
        read_warnings.append("its unreadable XMP packet may hold a preview of the unprotected picture and was left out")
    return EmbeddedMetadata(exif=exif, xmp=packet, iptc=_iptc(image), read_warnings=tuple(read_warnings))


def text_of(image: Image.Image) -> dict[str, str]:
    """PNG text by keyword, without XMP and raw profiles; comments of GIF, JPEG and others under `Comment`."""
    chunks: dict[str, str] = dict(getattr(image, "text", None) or {})
    text = {
        str(keyword): str(value)
        for keyword, value in chunks.items()
        if keyword != "XML:com.adobe.xmp" and not keyword.startswith(_RAW_PROFILE_PREFIX)
    }
    comment = image.info.get("comment")
    if isinstance(comment, bytes):
        comment = comment.decode("utf-8", "replace")
    if isinstance(comment, str) and comment.strip("\0") and "Comment" not in text:
        text["Comment"] = comment.strip("\0")
    return text


def _exif(image: Image.Image) -> tuple[bytes, bool]:
    """The block, re-encoded without its thumbnail directory, and whether the maker note was dropped."""
    exif = image.getexif()
    from_tiff = hasattr(image, "tag_v2")
    for tag in list(exif):
        if tag in _STRUCTURAL or tag == ORIENTATION or (from_tiff and tag not in _DESCRIPTIVE):
            del exif[tag]
    maker_note_dropped = False
    if ExifTags.IFD.Exif in exif:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        maker_note = details.get(_MAKER_NOTE)
        if isinstance(maker_note, bytes) and b"\xff\xd8\xff" in maker_note:
            del details[_MAKER_NOTE]
            maker_note_dropped = True
    return exif.tobytes() if len(exif) else b"", maker_note_dropped


def _xmp(image: Image.Image) -> bytes:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if isinstance(packet, tuple):  # a TIFF tag written with type SHORT or LONG by mistake
        packet = bytes(value & 0xFF for value in packet)
    if not packet:
        packet = iptc.from_raw_profile(str(image.info.get("Raw profile type xmp", "")))
    return packet.encode() if isinstance(packet, str) else bytes(packet)


def _iptc(image: Image.Image) -> bytes:
    if hasattr(image, "tag_v2"):
        return _iptc_of_tiff(image)
    resources = image.info.get("photoshop")  # JPEG
    if isinstance(resources, dict) and isinstance(resources.get(0x0404), bytes):
        return bytes(resources[0x0404])
    for name in ("iptc", "8bim"):  # PNG, as ImageMagick and exiftool write it
        data = iptc.from_raw_profile(str(image.info.get(f"{_RAW_PROFILE_PREFIX}{name}", "")))
        if data:
            return iptc.from_photoshop(data) if data.startswith(b"8BIM") else data
    return b""


def _iptc_of_tiff(image: Image.Image) -> bytes:
    """Undo the byte swap of the common case in which the tag is declared as 32-bit integers."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    records = tags.get(_IPTC)
    if isinstance(records, int):
        records = (records,)
    if isinstance(records, tuple):
        try:
            records = struct.pack(f"{(tags.prefix == b'MM' and '>') or '<'}{len(records)}I", *records)
        except struct.error:
            records = b""
    if isinstance(records, bytes) and records:
        return records if records[:1] == b"\x1c" else b""
    block = tags.get(34377)
    return iptc.from_photoshop(block) if isinstance(block, bytes) else b""
