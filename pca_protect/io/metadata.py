"""Removes or adds metadata of a picture before it is written. Never changes pixels."""

from __future__ import annotations

from dataclasses import replace

from PIL import ExifTags, Image

from pca_protect.io import iptc, xmp
from pca_protect.io.formats import DECODER_ERRORS
from pca_protect.io.picture import Picture

_EXIF_MARK = b"Exif\0\0"


def without_metadata(picture: Picture) -> Picture:
    """Remove EXIF, XMP, IPTC and text. The colour profile stays, since it defines the colours."""
    return replace(picture, exif=b"", xmp=b"", iptc=b"", text={})


def without_gps(picture: Picture) -> Picture:
    """Remove where the picture was taken: the GPS directory of EXIF, GPS properties and place names in XMP, IPTC location
    records, and text chunks about GPS. An unreadable block is dropped whole, with a warning."""
    read_warnings = picture.read_warnings
    exif = picture.exif
    try:
        exif = _exif_without_gps(exif)
    except DECODER_ERRORS:
        exif = b""
        read_warnings = (
            *read_warnings,
            "its EXIF block could not be read and was left out, as it may say where the picture was taken",
        )
    packet = picture.xmp
    try:
        packet = xmp.without_places(packet)
    except ValueError:
        packet = b""
        read_warnings = (
            *read_warnings,
            "its XMP packet could not be read and was left out, as it may say where the picture was taken",
        )
    text = {keyword: value for keyword, value in picture.text.items() if "gps" not in keyword.lower()}
    return replace(
        picture, exif=exif, xmp=packet, iptc=iptc.without_location(picture.iptc), text=text, read_warnings=read_warnings
    )


def with_notice(picture: Picture, text: str) -> Picture:
    """Add `text` as terms of use and a ban on generative training to the XMP packet (`pca_protect.io.xmp`). Existing
    properties are kept. An unreadable packet is replaced, with a warning."""
    try:
        return replace(picture, xmp=xmp.with_notice(picture.xmp, text))
    except ValueError:
        note = "its XMP packet could not be read and was replaced by the notice"
        return replace(picture, xmp=xmp.with_notice(b"", text), read_warnings=(*picture.read_warnings, note))


def _exif_without_gps(block: bytes) -> bytes:
    if not block:
        return b""
    exif = Image.Exif()
    exif.load(block)
    if ExifTags.IFD.GPSInfo not in exif:
        return block
    exif.get_ifd(ExifTags.IFD.Exif)  # read it before the offsets change
    exif[ExifTags.IFD.GPSInfo] = 0
    del exif[ExifTags.IFD.GPSInfo]
    return exif.tobytes() if len(exif) else b""
