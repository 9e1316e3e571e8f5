"""Finds the parts of a file that are not pixels, by format: text, resolution, colour coding, and the names of all others."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pca_protect.io.containers import boxes, inflated, jpeg_segments, png_chunks, webp_chunks
from pca_protect.io.density import density_of_jfif, density_of_png
from pca_protect.io.exif_of_tiff import DESCRIPTIVE, page_directory
from pca_protect.io.marker import MARKER_KEY
from pca_protect.io.picture import Density, Text

COLOR_CHUNKS = ("cICP", "sRGB", "gAMA", "cHRM", "mDCV", "cLLI")
RAW_PROFILE = "Raw profile type "
_KNOWN_PROFILES = frozenset(RAW_PROFILE + name for name in ("exif", "APP1", "app1", "xmp", "iptc", "8bim"))
_XMP_KEYWORD = "XML:com.adobe.xmp"

_SRGB_PRIMARIES, _SRGB_TRANSFERS = frozenset({1, 2}), frozenset({1, 2, 6, 13, 14, 15})
"""CICP codes (ITU-T H.273) that decoders and viewers take for sRGB."""
_PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFERS = {16: "PQ", 18: "HLG"}

_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")


@dataclass(frozen=True)
class Found:
    """Attributes:
    keys: names of the parts, as in `metadata_table`.
    text, density, color_chunks: see `Picture`.
    extended_xmp: packet of extended XMP; empty if none.
    read_warnings: one sentence each.
    """

    keys: tuple[str, ...] = ()
    text: tuple[Text, ...] = ()
    density: Density | None = None
    color_chunks: tuple[tuple[str, bytes], ...] = ()
    extended_xmp: bytes = b""
    read_warnings: tuple[str, ...] = ()


def found_in(format_name: str, data: bytes) -> Found:
    """The parts of a file; nothing for formats without a reader here."""
    if format_name == "PNG":
        return _in_png(data)
    if format_name in ("JPEG", "MPO"):
        return _in_jpeg(data, format_name)
    if format_name == "WEBP":
        return Found(tuple(name for name, _ in webp_chunks(data)))
    if format_name == "TIFF":
        return _in_tiff(data)
    if format_name in ("HEIF", "AVIF"):
        return _in_boxes(data)
    return Found()


def _in_png(data: bytes) -> Found:
    keys: list[str] = []
    text: list[Text] = []
    colors: dict[str, bytes] = {}
    density = None
    for name, content in png_chunks(data):
        if name in ("tEXt", "zTXt", "iTXt"):
            chunk = _text_chunk(name, content)
            if chunk is None:
                keys.append(f"unreadable {name}")
            elif chunk.keyword.startswith(RAW_PROFILE):
                keys += [] if chunk.keyword in _KNOWN_PROFILES else [chunk.keyword]
            elif chunk.keyword not in (_XMP_KEYWORD, MARKER_KEY):
                text.append(chunk)
            continue
        keys.append(name)
        if name in COLOR_CHUNKS:
            colors.setdefault(name, content)
        if name == "pHYs" and len(content) == 9:
            density = density_of_png(content)
    return Found(tuple(keys), tuple(text), density, tuple(colors.items()))


def _text_chunk(name: str, content: bytes) -> Text | None:
    keyword, separator, rest = content.partition(b"\0")
    if not separator:
        return None
    key = keyword.decode("latin-1")
    if name == "tEXt":
        return Text(key, rest.decode("latin-1"))
    if name == "zTXt":
        return Text(key, inflated(rest[1:]).decode("latin-1")) if rest[:1] == b"\0" else None
    parts = rest[2:].split(b"\0", 2)
    if len(parts) < 3:
        return None
    language, translated, text = parts
    return Text(
        key,
        (inflated(text) if rest[:1] == b"\1" else text).decode("utf-8", "replace"),
        language.decode("latin-1"),
        translated.decode("utf-8", "replace"),
    )


_APPLICATION = (
    (0xE0, b"JFIF\0", "APP0 JFIF"),
    (0xE0, b"JFXX\0", "APP0 JFXX"),
    (0xE1, b"Exif\0", "APP1 EXIF"),
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0", "APP1 XMP"),
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0", "APP1 extended XMP"),
    (0xE2, b"ICC_PROFILE\0", "APP2 ICC"),
    (0xE2, b"MPF\0", "APP2 MPF"),
    (0xEB, b"JP", "APP11 JUMBF"),
    (0xED, b"Photoshop 3.0\0", "APP13 Photoshop"),
    (0xEE, b"Adobe", "APP14 Adobe"),
    (0xFE, b"", "COM"),
)
"""Marker and first bytes of known segments."""


def _in_jpeg(data: bytes, format_name: str) -> Found:
    keys: list[str] = []
    text: list[Text] = []
    extensions: dict[int, bytes] = {}
    density = None
    for marker, content in jpeg_segments(data):
        key = next((key for code, start, key in _APPLICATION if code == marker and content.startswith(start)), "")
        if not key and 0xE0 <= marker <= 0xEF:
            name = content[:20].split(b"\0", 1)[0].decode("latin-1")
            key = f"APP{marker - 0xE0} {name if name.isprintable() else ''}".strip()
        elif marker == 0 and content.strip(b"\0"):
            key = "trailer"
        keys += [key] if key else []
        if key == "COM":
            text.append(Text("Comment", _comment(content)))
        elif key == "APP0 JFIF" and density is None and len(content) >= 12:
            density = density_of_jfif(content)
        elif key == "APP1 extended XMP" and len(content) > 75:
            (position,) = struct.unpack_from(">I", content, 71)
            extensions[position] = content[75:]
    if format_name == "MPO":  # a sentence of its own names the other pictures
        keys = [key for key in keys if key not in ("APP2 MPF", "trailer")]
    extended = b"".join(extensions[position] for position in sorted(extensions))
    return Found(tuple(keys), tuple(one for one in text if one.text), density, extended_xmp=extended)


def _comment(content: bytes) -> str:
    content = content.strip(b"\0")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _in_tiff(data: bytes) -> Found:
    try:
        _, directory = page_directory(data, 0)
    except ValueError:
        return Found()
    tags = [entry.tag for entry in directory.entries]
    descriptive = ["descriptive tags"] if DESCRIPTIVE.intersection(tags) else []
    return Found((*descriptive, *(str(tag) for tag in tags if tag == 282 or tag not in DESCRIPTIVE)))


def _in_boxes(data: bytes) -> Found:
    keys: list[str] = []
    colors: tuple[tuple[str, bytes], ...] = ()
    warnings: tuple[str, ...] = ()
    for name, start, end in boxes(data):
        keys.append(name)
        if name != "meta":
            continue
        for inner, first, last in boxes(data, start + 4, end):  # after version and flags
            if inner == "iinf":
                keys += _item_types(data[first:last])
            elif inner == "iref":
                keys += ["thumbnail"] if any(kind == "thmb" for kind, _, _ in boxes(data, first + 4, last)) else []
            elif inner == "iprp":
                properties = _properties(data, first, last)
                keys += _keys_of_properties(properties)
                colors, warnings = _color_coding(properties)
    return Found(tuple(keys), color_chunks=colors, read_warnings=warnings)


def _item_types(content: bytes) -> list[str]:
    """Types of the items of an `iinf` box (ISO/IEC 14496-12, section 8.11.6)."""
    types = []
    for name, start, end in boxes(content, 8 if content[:1] > b"\0" else 6):
        version = content[start]
        at = start + {2: 8, 3: 10}.get(version, end)
        if name == "infe" and at + 4 <= end:
            kind = content[at : at + 4].decode("latin-1")
            if kind == "mime" and b"application/rdf+xml" not in content[at:end]:
                kind = f"mime {content[at + 4 : end].strip(bytes(1)).split(bytes(1))[0].decode('latin-1')}"
            types.append(f"item {kind.strip()}")
    return types


def _properties(data: bytes, start: int, end: int) -> list[tuple[str, bytes]]:
    return [
        (name, data[first:last])
        for container, low, high in boxes(data, start, end)
        if container == "ipco"
        for name, first, last in boxes(data, low, high)
    ]


def _keys_of_properties(properties: list[tuple[str, bytes]]) -> list[str]:
    keys = []
    for name, content in properties:
        if name == "colr":
            kind = content[:4].decode("latin-1")
            keys.append("colr prof" if kind in ("prof", "rICC") else f"colr {kind}")
        elif name == "auxC" and content[4:].split(b"\0", 1)[0] not in _ALPHA:
            keys.append("auxiliary picture")
    return keys


def _color_coding(properties: list[tuple[str, bytes]]) -> tuple[tuple[tuple[str, bytes], ...], tuple[str, ...]]:
    """A cICP chunk for colours other than sRGB that no profile defines, and a warning."""
    colors = [content for name, content in properties if name == "colr"]
    coded = [content for content in colors if content[:4] == b"nclx" and len(content) >= 10]
    if not coded or any(content[:4] in (b"prof", b"rICC") for content in colors):
        return (), ()
    primaries, transfer = struct.unpack_from(">HH", coded[0], 4)
    if primaries in _SRGB_PRIMARIES and transfer in _SRGB_TRANSFERS:
        return (), ()
    known = filter(None, (_PRIMARIES.get(primaries), _TRANSFERS.get(transfer)))
    name = " ".join(known) or f"CICP {primaries}/{transfer}"
    warning = (
        f"the colours are coded as {name} without a profile; PNG keeps that as a cICP chunk, which older viewers ignore"
    )
    return (("cICP", bytes([primaries & 255, transfer & 255, 0, 1])),), (warning,)
