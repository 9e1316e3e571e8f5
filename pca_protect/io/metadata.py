"""What a picture says about itself, taken out or added to before it is written. Pixels are never touched."""

from __future__ import annotations

from dataclasses import replace

from PIL import ExifTags, Image

from pca_protect.io import iptc, xmp
from pca_protect.io.formats import DECODER_ERRORS
from pca_protect.io.picture import Picture

_EXIF_MARK = b"Exif\0\0"


def without_metadata(picture: Picture) -> Picture:
    """Without EXIF, XMP, IPTC and text. The colour profile stays: it is part of the colour."""
    return replace(picture, exif=b"", xmp=b"", iptc=b"", text={})


def without_gps(picture: Picture) -> Picture:
    """Without the place it was taken at: the GPS part of EXIF, GPS properties and place names in XMP, the location
    records of IPTC, and text chunks about GPS. A packet that cannot be read is left out as a whole, with a note."""
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
    """With `text` as terms of use, and generative training forbidden, in the XMP packet (`pca_protect.io.xmp`). What
    the packet says already is kept; one that cannot be read is replaced, with a note."""
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
    exif.get_ifd(ExifTags.IFD.Exif)  # read before anything moves
    exif[ExifTags.IFD.GPSInfo] = 0
    del exif[ExifTags.IFD.GPSInfo]
    return exif.tobytes() if len(exif) else b""
