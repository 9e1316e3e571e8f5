"""The table of what happens to each part of a picture file that is not pixels: carried, dropped on purpose, or named.

`docs/pictures.md` contains it, and a test compares both. A part that is not in the table is named in a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pca_protect.io.exif_of_tiff import LAYOUT

Fate = Literal["pixels", "carried", "dropped", "named"]
"""`pixels`: decoded into the picture. `carried`: kept where the output format has a place, else named. `dropped`: left out
without a message. `named`: left out with a message."""


@dataclass(frozen=True)
class Part:
    """Attributes:
    formats: Pillow's names of the formats that have the part.
    key: the chunk, segment, tag or box, as a reader of the format gives it.
    what: the content, for messages and the table.
    reason: of a part that is dropped or changed; empty if none.
    """

    formats: tuple[str, ...]
    key: str
    what: str
    fate: Fate
    reason: str = ""


_PNG, _JPEG, _WEBP, _TIFF = ("PNG",), ("JPEG", "MPO"), ("WEBP",), ("TIFF",)
_BOXES = ("HEIF", "AVIF")
_EXIF = "EXIF"
_EDITED = "orientation set to 1, thumbnail removed, every other value as it is"
_XMP = "XMP"
_XMP_EDITED = "orientation set to 1, previews and references to left-out parts removed"
_SIGNED = "its signature would not match the changed pixels"
_OUTDATED = "describes the unchanged file"

PARTS: tuple[Part, ...] = (
    *(Part(_PNG, key, "pixels", "pixels") for key in ("IHDR", "PLTE", "tRNS", "IDAT", "IEND")),
    *(Part(_PNG, key, "frames of an animation", "pixels") for key in ("acTL", "fcTL", "fdAT")),
    Part(_PNG, "iCCP", "colour profile", "carried"),
    Part(_PNG, "sRGB", "sRGB intent", "carried"),
    Part(_PNG, "gAMA", "gamma", "carried"),
    Part(_PNG, "cHRM", "primaries and white point", "carried"),
    Part(_PNG, "cICP", "colour coding (CICP)", "carried"),
    Part(_PNG, "mDCV", "mastering display of HDR", "carried"),
    Part(_PNG, "cLLI", "light levels of HDR", "carried"),
    Part(_PNG, "pHYs", "resolution", "carried"),
    Part(_PNG, "eXIf", _EXIF, "carried", _EDITED),
    Part(_PNG, "tEXt", "text, EXIF, XMP or IPTC", "carried"),
    Part(_PNG, "zTXt", "text, EXIF, XMP or IPTC", "carried"),
    Part(_PNG, "iTXt", "text or XMP", "carried"),
    Part(_PNG, "tIME", "time of the last change", "dropped", _OUTDATED),
    Part(_PNG, "sBIT", "significant bits", "dropped", "the change uses all bits"),
    Part(_PNG, "hIST", "histogram of the palette", "dropped", "the output has no palette"),
    Part(_PNG, "sPLT", "suggested palette", "dropped", _OUTDATED),
    Part(_PNG, "bKGD", "background colour", "dropped", "viewers choose their own"),
    Part(_PNG, "dSIG", "digital signature", "dropped", _SIGNED),
    Part(_PNG, "iDOT", "offsets of Apple's decoder", "dropped", _OUTDATED),
    Part(_PNG, "caBX", "content credentials (C2PA)", "named", _SIGNED),
    Part(_JPEG, "APP0 JFIF", "resolution", "carried"),
    Part(_JPEG, "APP0 JFXX", "thumbnail", "dropped", "shows the unprotected picture"),
    Part(_JPEG, "APP1 EXIF", _EXIF, "carried", _EDITED),
    Part(_JPEG, "APP1 XMP", _XMP, "carried", _XMP_EDITED),
    Part(_JPEG, "APP1 extended XMP", _XMP, "carried", "joined with the main packet"),
    Part(_JPEG, "APP2 ICC", "colour profile", "carried"),
    Part(_JPEG, "APP12 Ducky", "settings of the compression", "dropped", _OUTDATED),
    Part(_JPEG, "APP2 MPF", "further pictures: previews, stereo pairs, gain maps", "named"),
    Part(_JPEG, "APP11 JUMBF", "content credentials (C2PA)", "named", _SIGNED),
    Part(_JPEG, "APP13 Photoshop", "IPTC", "carried", "other Photoshop resources, such as thumbnails, are dropped"),
    Part(_JPEG, "APP14 Adobe", "colour transform", "pixels"),
    Part(_JPEG, "COM", "comment", "carried"),
    Part(_JPEG, "trailer", "data after the picture, such as the video of a motion photo", "named"),
    *(Part(_WEBP, key, "pixels", "pixels") for key in ("VP8", "VP8L", "VP8X", "ALPH", "ANIM", "ANMF")),
    Part(_WEBP, "ICCP", "colour profile", "carried"),
    Part(_WEBP, "EXIF", _EXIF, "carried", _EDITED),
    Part(_WEBP, "XMP", _XMP, "carried", _XMP_EDITED),
    Part(_WEBP, "C2PA", "content credentials (C2PA)", "named", _SIGNED),
    Part(
        _TIFF, "descriptive tags", _EXIF, "carried", "orientation set to 1; maker notes are copied to another position"
    ),
    Part(_TIFF, "282", "resolution", "carried"),
    Part(_TIFF, "700", _XMP, "carried", _XMP_EDITED),
    Part(_TIFF, "33723", "IPTC", "carried"),
    Part(_TIFF, "34377", "Photoshop resources", "carried", "IPTC alone, where tag 33723 is missing"),
    Part(_TIFF, "34675", "colour profile", "carried"),
    Part(_TIFF, "37724", "layers of Photoshop", "named", "show the unprotected picture"),
    Part(_TIFF, "330", "further pictures", "named", "show the unprotected picture"),
    Part(_TIFF, "reduced page", "thumbnail", "dropped", "shows the unprotected picture"),
    Part(_TIFF, "301", "transfer function", "named"),
    *(Part(_TIFF, str(tag), "pixels", "pixels") for tag in sorted(LAYOUT)),
    *(
        Part(_BOXES, key, "pixels", "pixels")
        for key in ("ftyp", "meta", "mdat", "idat", "free", "skip", "moov", "wide")
    ),
    *(
        Part(_BOXES, f"item {key}", "pixels", "pixels")
        for key in ("hvc1", "av01", "grid", "iden", "iovl", "unci", "jpeg")
    ),
    Part(_BOXES, "colr prof", "colour profile", "carried"),
    Part(_BOXES, "colr nclx", "colour coding (CICP)", "carried"),
    Part(_BOXES, "item Exif", _EXIF, "carried", _EDITED),
    Part(_BOXES, "item mime", _XMP, "carried", _XMP_EDITED),
    Part(_BOXES, "thumbnail", "thumbnail", "dropped", "shows the unprotected picture"),
    Part(_BOXES, "item tmap", "gain map", "named"),
    Part(_BOXES, "auxiliary picture", "depth or gain map", "named"),
    Part(_BOXES, "mpvd", "video of a motion photo", "named"),
    Part(_BOXES, "uuid", "content credentials (C2PA) or private data", "named", _SIGNED),
    Part(_BOXES, "jumb", "content credentials (C2PA)", "named", _SIGNED),
)

_BY_KEY = {(format_name, part.key): part for part in PARTS for format_name in part.formats}
_MOST_NAMES = 6


def fate_of(format_name: str, key: str) -> Fate:
    """What happens to a part; `named` for parts that are not in the table."""
    part = _BY_KEY.get((format_name, key))
    return part.fate if part is not None else "named"


def warnings_about(format_name: str, keys: Iterable[str]) -> Iterator[str]:
    """At most one sentence, which names the parts that are left out."""
    names = []
    for key in dict.fromkeys(keys):
        if fate_of(format_name, key) == "named":
            part = _BY_KEY.get((format_name, key))
            names.append(key if part is None else f"{key} ({part.what})")
    if names:
        more = f" and {len(names) - _MOST_NAMES} others" if len(names) > _MOST_NAMES else ""
        yield f"parts of the file were left out: {', '.join(names[:_MOST_NAMES])}{more}"


def as_markdown() -> str:
    """The table of `docs/pictures.md`."""
    titles = {"MPO": "", "HEIF": "HEIC"}
    fates = {"carried": "carried", "dropped": "dropped on purpose", "named": "left out, named in a message"}
    rows = ["| format | part | content | what happens |", "|---|---|---|---|"]
    joined: dict[tuple[str, str, str], list[str]] = {}
    for part in PARTS:
        if part.fate == "pixels":
            continue
        formats = ", ".join(filter(None, (titles.get(name, name) for name in part.formats)))
        outcome = fates[part.fate] + (f": {part.reason}" if part.reason else "")
        joined.setdefault((formats, part.what, outcome), []).append(part.key)
    rows += [
        f"| {formats} | {', '.join(keys)} | {what} | {outcome} |" for (formats, what, outcome), keys in joined.items()
    ]
    rows.append("| all | any other | | left out, named in a message |")
    return "\n".join(rows)
