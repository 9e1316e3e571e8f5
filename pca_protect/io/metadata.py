"""Removes or adds metadata of a picture before it is written. Never changes pixels."""

from __future__ import annotations

from dataclasses import replace

from pca_protect.io import exif, iptc, xmp
from pca_protect.io.picture import Picture


def without_metadata(picture: Picture) -> Picture:
    """Remove EXIF, XMP, IPTC and text. The colour profile stays, since it defines the colours."""
    return replace(picture, exif=b"", xmp=b"", iptc=b"", text=())


def without_gps(picture: Picture) -> Picture:
    """Remove where the picture was taken: the GPS directory of EXIF, GPS properties and place names in XMP, IPTC location
    records, and text chunks about GPS; maker notes stay. An unreadable block is left out whole, with a warning."""
    read_warnings = picture.read_warnings
    block = picture.exif
    try:
        block = exif.without_gps(block) if block else b""
    except ValueError:
        block = b""
        read_warnings = (
            *read_warnings,
            "the file's EXIF block could not be read and was left out, as it may say where the picture was taken",
        )
    packet = picture.xmp
    try:
        packet = xmp.without_places(packet)
    except ValueError:
        packet = b""
        read_warnings = (
            *read_warnings,
            "the file's XMP packet could not be read and was left out, as it may say where the picture was taken",
        )
    return replace(
        picture,
        exif=block,
        xmp=packet,
        iptc=iptc.without_location(picture.iptc),
        text=tuple(text for text in picture.text if "gps" not in text.keyword.lower()),
        read_warnings=read_warnings,
    )


def with_notice(picture: Picture, text: str) -> Picture:
    """Add `text` as terms of use and a ban on generative training to the XMP packet (`pca_protect.io.xmp`). Existing
    properties are kept. An unreadable packet is replaced, with a warning."""
    try:
        return replace(picture, xmp=xmp.with_notice(picture.xmp, text))
    except ValueError:
        note = "the file's XMP packet could not be read and was replaced by the notice"
        return replace(picture, xmp=xmp.with_notice(b"", text), read_warnings=(*picture.read_warnings, note))
