"""Extracts EXIF, XMP, IPTC, text and resolution from a file, cleaned of previews, and names what is left out."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from PIL import Image

from pca_protect.io import exif, iptc, xmp
from pca_protect.io.container_metadata import RAW_PROFILE, Found, found_in
from pca_protect.io.density import density_of_exif
from pca_protect.io.exif_of_tiff import DESCRIPTIVE, exif_of_tiff
from pca_protect.io.formats import DECODER_ERRORS
from pca_protect.io.marker import MARKER_KEY
from pca_protect.io.metadata_table import warnings_about
from pca_protect.io.picture import Density, Text

_IPTC = 33723


@dataclass(frozen=True)
class EmbeddedMetadata:
    """Fields of `Picture`."""

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    text: tuple[Text, ...] = ()
    density: Density | None = None
    color_chunks: tuple[tuple[str, bytes], ...] = ()
    read_warnings: tuple[str, ...] = ()


def orientation_of(image: Image.Image) -> int:
    """The orientation, 1 to 8, from EXIF or else from XMP; 1 if missing or unreadable. Always 1 for TIFF, which Pillow turns
    upright while decoding."""
    if hasattr(image, "tag_v2"):
        return 1
    try:
        tags = image.getexif()
    except DECODER_ERRORS:
        return 1
    orientation = tags.get(exif.ORIENTATION)
    if orientation is None:
        return xmp.orientation_of(_xmp(image))
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def embedded_metadata_of(image: Image.Image, data: bytes, *, page: int = 0) -> EmbeddedMetadata:
    """The metadata of a decoded image, with orientation reset and previews removed. Unreadable blocks are left out with a
    warning.

    Args:
        data: the file; empty for an image without one.
        page: index of the page in a TIFF, from 0.
    """
    found = found_in(image.format or "", data) if data else Found(text=_text(image))
    warnings = list(found.read_warnings)
    block, packet = b"", b""
    try:
        block = _exif(image, data, page)
        if block:
            block, exif_warnings = exif.cleaned(block)
            warnings += exif_warnings
    except DECODER_ERRORS:
        block = b""
        warnings.append("the file's EXIF block is damaged and was left out")
    try:
        packet = _clean_xmp(_xmp(image), found.extended_xmp, warnings)
    except ValueError:
        warnings.append("the file's XMP packet cannot be read and was left out")
    warnings += warnings_about(image.format or "", found.keys)
    return EmbeddedMetadata(
        exif=block,
        xmp=packet,
        iptc=_iptc(image),
        text=found.text or _comments(image),
        density=found.density or (density_of_exif(block) if block else None),
        color_chunks=found.color_chunks,
        read_warnings=tuple(warnings),
    )


def _clean_xmp(packet: bytes, extension: bytes, warnings: list[str]) -> bytes:
    try:
        return xmp.cleaned(packet, extension=extension)
    except ValueError:
        if not extension:
            raise
        cleaned = xmp.cleaned(packet)
        warnings.append("the file's extended XMP cannot be read and was left out")
        return cleaned


def _text(image: Image.Image) -> tuple[Text, ...]:
    """PNG text of an image without a file, without XMP and raw profiles."""
    chunks: dict[str, str] = dict(getattr(image, "text", None) or {})
    left_out = ("XML:com.adobe.xmp", MARKER_KEY)
    return tuple(
        Text(str(keyword), str(value))
        for keyword, value in chunks.items()
        if keyword not in left_out and not keyword.startswith(RAW_PROFILE)
    )


def _comments(image: Image.Image) -> tuple[Text, ...]:
    """The comment field of GIF and other formats."""
    comment = image.info.get("comment")
    if isinstance(comment, bytes):
        comment = comment.decode("utf-8", "replace")
    return (Text("Comment", comment.strip("\0")),) if isinstance(comment, str) and comment.strip("\0") else ()


def _exif(image: Image.Image, data: bytes, page: int) -> bytes:
    if hasattr(image, "tag_v2") and data:
        return exif_of_tiff(data, page)
    block = image.info.get("exif") or b""
    for name in ("exif", "APP1", "app1"):  # PNG, as ImageMagick writes it
        block = block or iptc.from_raw_profile(str(image.info.get(f"{RAW_PROFILE}{name}", "")))
    if not block and not data:
        return _rewritten(image)
    return bytes(block).removeprefix(exif.PREFIX)


def _rewritten(image: Image.Image) -> bytes:
    """The tags of an image without a file, as Pillow writes them, with the letters that it read."""
    tags = image.getexif()
    for tag, value in list(tags.items()):
        if hasattr(image, "tag_v2") and tag not in DESCRIPTIVE:
            del tags[tag]
        elif isinstance(value, str):
            tags[tag] = value.encode("latin-1", "replace")
    return tags.tobytes().removeprefix(exif.PREFIX) if len(tags) else b""


def _xmp(image: Image.Image) -> bytes:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if isinstance(packet, tuple):  # a TIFF tag written with type SHORT or LONG by mistake
        packet = bytes(value & 0xFF for value in packet)
    if not packet:
        packet = iptc.from_raw_profile(str(image.info.get(f"{RAW_PROFILE}xmp", "")))
    return packet.encode() if isinstance(packet, str) else bytes(packet)


def _iptc(image: Image.Image) -> bytes:
    if hasattr(image, "tag_v2"):
        return _iptc_of_tiff(image)
    resources = image.info.get("photoshop")  # JPEG
    if isinstance(resources, dict) and isinstance(resources.get(0x0404), bytes):
        return bytes(resources[0x0404])
    for name in ("iptc", "8bim"):  # PNG, as ImageMagick and exiftool write it
        data = iptc.from_raw_profile(str(image.info.get(f"{RAW_PROFILE}{name}", "")))
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
