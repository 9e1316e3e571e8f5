"""The table of metadata, computed from real files: every part of every format is carried, dropped or named as it says."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
from conftest import ROOT, smooth_picture
from PIL import Image, ImageCms, TiffImagePlugin

from pca_protect.io import exif, iptc
from pca_protect.io.metadata_table import PARTS, as_markdown, fate_of
from pca_protect.io.picture import Picture, Text
from pca_protect.io.read import decode_picture
from pca_protect.io.tiff_directory import ASCII, Value
from pca_protect.io.write import encode

SECRET = b"a part that is looked for"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RECORDS = b"\x1c\x02\x50\x00\x19" + SECRET
NOTE = '{"version": "1", "budget_levels": 8}'
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="{SECRET.decode()}"/></rdf:RDF></x:xmpmeta>'
).encode()
BLOCK = exif.with_values(b"", {0x13B: Value(ASCII, len(SECRET) + 1, SECRET + b"\0")})
IMAGE = smooth_picture(32, 24)


def saved(format_name: str, image: Image.Image = IMAGE, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def heic(image: Image.Image = IMAGE, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, **options)
    return file.getvalue()


def chunk(name: str, content: bytes) -> bytes:
    body = name.encode() + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(name: str, content: bytes = SECRET) -> bytes:
    data = saved("PNG")
    return data[:33] + chunk(name, content) + data[33:]


def jpeg(marker: int, content: bytes, **options: object) -> bytes:
    data = saved("JPEG", quality=95, **options)
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


def webp(name: bytes, content: bytes = SECRET) -> bytes:
    """A chunk at the end, as extended files have it."""
    data = saved("WEBP", lossless=True, exif=exif.PREFIX + exif.with_values(b"", {0x10E: Value(ASCII, 2, b"a\0")}))
    data += name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def tiff(tag: int, value: object, kind: int = 7) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info.tagtype[tag] = kind
    info[tag] = value
    return saved("TIFF", tiffinfo=info)


def reduced_page() -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[254], info[270] = 1, SECRET
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file, True) as writer:
        IMAGE.save(writer, "TIFF")
        writer.newFrame()
        smooth_picture(10, 8).save(writer, "TIFF", tiffinfo=info)
        writer.newFrame()
    return file.getvalue()


def box(name: str, content: bytes = SECRET) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name.encode() + content


def has_text(picture: Picture) -> bool:
    return any(SECRET.decode() in text.text for text in picture.text)


def has_exif(picture: Picture) -> bool:
    return exif.value_of(picture.exif, 0x13B) == Value(ASCII, len(SECRET) + 1, SECRET + b"\0")


def has_profile(picture: Picture) -> bool:
    return picture.icc_profile == SRGB


def has_xmp(picture: Picture) -> bool:
    return SECRET in picture.xmp


def has_iptc(picture: Picture) -> bool:
    return picture.iptc == RECORDS


def has_chunk(name: str, content: bytes) -> Callable[[Picture], bool]:
    return lambda picture: (name, content) in picture.color_chunks


def has_300_dpi(picture: Picture) -> bool:
    return (
        picture.density is not None
        and picture.density.unit == "cm"
        and round(picture.density.x * Fraction(254, 100)) == 300
    )


@dataclass
class Case:
    """A file with a part, and whether a picture has it; by default, the part holds `SECRET`."""

    file: Callable[[], bytes]
    carried: Callable[[Picture], bool] = field(default=lambda picture: False)


THUMBNAIL = struct.pack(">BBBB", 8, 8, 1, 1) + SECRET
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0" + b"G" * 32 + struct.pack(">II", len(XMP), 0) + XMP
MAIN = XMP.replace(b"dc:title", b"dc:source").replace(SECRET, b"another")
MPF = b"MPF\0II*\0\x08\0\0\0\0\0\0\0\0\0" + SECRET
CHROMA = struct.pack(">8I", *[31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000])
PHYS = struct.pack(">IIB", 11811, 11811, 1)

CASES: dict[tuple[str, str], Case] = {
    ("PNG", "iCCP"): Case(lambda: saved("PNG", icc_profile=SRGB), has_profile),
    ("PNG", "sRGB"): Case(lambda: png("sRGB", b"\1"), has_chunk("sRGB", b"\1")),
    ("PNG", "gAMA"): Case(lambda: png("gAMA", b"\0\1\x86\xa0"), has_chunk("gAMA", b"\0\1\x86\xa0")),
    ("PNG", "cHRM"): Case(lambda: png("cHRM", CHROMA), has_chunk("cHRM", CHROMA)),
    ("PNG", "cICP"): Case(lambda: png("cICP", b"\x0c\x0d\0\1"), has_chunk("cICP", b"\x0c\x0d\0\1")),
    ("PNG", "mDCV"): Case(lambda: png("mDCV", bytes(24)), has_chunk("mDCV", bytes(24))),
    ("PNG", "cLLI"): Case(lambda: png("cLLI", bytes(8)), has_chunk("cLLI", bytes(8))),
    ("PNG", "pHYs"): Case(lambda: png("pHYs", PHYS), has_300_dpi),
    ("PNG", "eXIf"): Case(lambda: saved("PNG", exif=BLOCK), has_exif),
    ("PNG", "tEXt"): Case(lambda: png("tEXt", b"Title\0" + SECRET), has_text),
    ("PNG", "zTXt"): Case(lambda: png("zTXt", b"Title\0\0" + zlib.compress(SECRET)), has_text),
    ("PNG", "iTXt"): Case(lambda: png("iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), has_xmp),
    **{("PNG", name): Case(lambda name=name: png(name)) for name in ("tIME", "sBIT", "hIST", "sPLT")},
    **{("PNG", name): Case(lambda name=name: png(name)) for name in ("bKGD", "dSIG", "iDOT", "caBX")},
    ("JPEG", "APP0 JFIF"): Case(lambda: saved("JPEG", dpi=(300, 300)), has_300_dpi),
    ("JPEG", "APP0 JFXX"): Case(lambda: jpeg(0xE0, b"JFXX\0\x13" + THUMBNAIL)),
    ("JPEG", "APP1 EXIF"): Case(lambda: saved("JPEG", exif=exif.PREFIX + BLOCK), has_exif),
    ("JPEG", "APP1 XMP"): Case(lambda: saved("JPEG", xmp=XMP), has_xmp),
    ("JPEG", "APP1 extended XMP"): Case(lambda: jpeg(0xE1, EXTENDED, xmp=MAIN), has_xmp),
    ("JPEG", "APP2 ICC"): Case(lambda: saved("JPEG", icc_profile=SRGB), has_profile),
    ("JPEG", "APP2 MPF"): Case(lambda: jpeg(0xE2, MPF)),
    ("JPEG", "APP11 JUMBF"): Case(lambda: jpeg(0xEB, b"JP\0\1" + SECRET)),
    ("JPEG", "APP12 Ducky"): Case(lambda: jpeg(0xEC, b"Ducky\0" + SECRET)),
    ("JPEG", "APP13 Photoshop"): Case(lambda: jpeg(0xED, b"Photoshop 3.0\0" + iptc.to_photoshop(RECORDS)), has_iptc),
    ("JPEG", "COM"): Case(lambda: jpeg(0xFE, SECRET), has_text),
    ("JPEG", "trailer"): Case(lambda: saved("JPEG") + SECRET),
    ("WEBP", "ICCP"): Case(lambda: saved("WEBP", icc_profile=SRGB), has_profile),
    ("WEBP", "EXIF"): Case(lambda: saved("WEBP", exif=exif.PREFIX + BLOCK), has_exif),
    ("WEBP", "XMP"): Case(lambda: saved("WEBP", xmp=XMP), has_xmp),
    ("WEBP", "C2PA"): Case(lambda: webp(b"C2PA")),
    ("TIFF", "descriptive tags"): Case(lambda: tiff(0x13B, SECRET, 2), has_exif),
    ("TIFF", "282"): Case(lambda: saved("TIFF", dpi=(300, 300)), has_300_dpi),
    ("TIFF", "700"): Case(lambda: tiff(700, XMP, 1), has_xmp),
    ("TIFF", "33723"): Case(lambda: tiff(33723, RECORDS), has_iptc),
    ("TIFF", "34377"): Case(lambda: tiff(34377, iptc.to_photoshop(RECORDS), 1), has_iptc),
    ("TIFF", "34675"): Case(lambda: saved("TIFF", icc_profile=SRGB), has_profile),
    ("TIFF", "37724"): Case(lambda: tiff(37724, SECRET)),
    ("TIFF", "330"): Case(lambda: tiff(330, 8, 4)),
    ("TIFF", "301"): Case(lambda: tiff(301, tuple(range(768)), 3)),
    ("TIFF", "reduced page"): Case(reduced_page),
}  # fmt: skip
for maker, name in ((heic, "HEIF"), (lambda image=IMAGE, **options: saved("AVIF", image, **options), "AVIF")):
    CASES |= {
        (name, "item Exif"): Case(lambda make=maker: make(exif=exif.PREFIX + BLOCK), has_exif),
        (name, "item mime"): Case(lambda make=maker: make(xmp=XMP), has_xmp),
        (name, "colr prof"): Case(lambda make=maker: make(icc_profile=SRGB), has_profile),
        **{(name, top): Case(lambda make=maker, top=top: make() + box(top)) for top in ("mpvd", "uuid", "jumb")},
    }


def nclx(data: bytes, primaries: int, transfer: int) -> bytes:
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def depth_map() -> bytes:
    data = heic(smooth_picture(64, 48, channels=4))
    assert b"auxid:1\0" in data
    return data.replace(b"auxid:1\0", b"auxid:2\0")


def avif_depth_map() -> bytes:
    return saved("AVIF", smooth_picture(64, 48, channels=4)).replace(b"auxiliary:alpha", b"auxiliary:depth")


P3 = has_chunk("cICP", b"\x0c\x0d\0\1")
CASES[("HEIF", "colr nclx")] = Case(lambda: nclx(heic(), 12, 13), P3)
CASES[("AVIF", "colr nclx")] = Case(lambda: nclx(saved("AVIF"), 12, 13), P3)
CASES[("HEIF", "auxiliary picture")] = Case(depth_map)
CASES[("AVIF", "auxiliary picture")] = Case(avif_depth_map)
CASES[("HEIF", "thumbnail")] = Case(lambda: heic(smooth_picture(128, 96), thumbnails=[32]))

UNTESTED = {("HEIF", "item tmap"), ("AVIF", "item tmap"), ("AVIF", "thumbnail"), *(("MPO", part.key) for part in PARTS)}
"""Parts for which no library at hand writes a file; an MPO is a JPEG."""


@pytest.mark.parametrize("place", CASES, ids=lambda place: " ".join(place))
def test_the_table_says_what_happens(place: tuple[str, str]):
    case = CASES[place]
    data = case.file()
    picture = decode_picture(data, "x")
    again = decode_picture(encode(picture, "PNG", marker=NOTE).data, "x")
    named = [warning for warning in picture.read_warnings if f"{place[1]} (" in warning]
    carried = case.carried(again)
    assert fate_of(*place) == ("carried" if carried else "named" if named else "dropped")
    assert carried or SECRET not in encode(picture, "PNG").data
    if fate_of(*place) == "dropped" and place[0] != "HEIF":
        assert SECRET in data  # the file has the part


def test_every_part_of_the_table_has_a_file():
    listed = {(format_name, part.key) for part in PARTS if part.fate != "pixels" for format_name in part.formats}
    assert listed - UNTESTED == CASES.keys()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (lambda: png("prVt"), "prVt"),
        (lambda: png("tEXt", b"Raw profile type secret\0" + SECRET), "Raw profile type secret"),
        (lambda: png("iTXt", b"no keyword and no text"), "unreadable iTXt"),
        (lambda: jpeg(0xE7, b"Unknown\0" + SECRET), "APP7 Unknown"),
        (lambda: webp(b"PRVT"), "PRVT"),
        (lambda: tiff(65000, SECRET), "65000"),
        (lambda: heic() + box("prvt"), "prvt"),
        (lambda: saved("AVIF") + box("prvt"), "prvt"),
    ],
)
def test_unknown_parts_are_named(file: Callable[[], bytes], name: str):
    picture = decode_picture(file(), "x")
    assert picture.read_warnings[-1] == f"parts of the file were left out: {name}"
    assert SECRET not in encode(picture, "PNG").data


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_plain_files_are_read_without_a_word(format_name: str):
    data = heic() if format_name == "HEIF" else saved(format_name)
    assert decode_picture(data, "x").read_warnings == ()


@pytest.mark.parametrize("unit", ["inch", "cm"])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_resolution_is_carried_into_every_format(format_name: str, unit: str):
    code = {"inch": 1, "cm": 2}[unit]
    data = bytearray(saved("JPEG", quality=95))
    data[13:18] = struct.pack(">BHH", code, 300, 150)
    again = decode_picture(encode(decode_picture(bytes(data), "x"), format_name, marker=NOTE).data, "x").density
    assert again is not None
    factor = Fraction(254, 100) if (unit, again.unit) == ("inch", "cm") else 1
    assert (round(again.x * factor), round(again.y * factor)) == (300, 150)


def test_the_shape_of_pixels_is_carried():
    data = bytearray(saved("JPEG"))
    data[13:18] = struct.pack(">BHH", 0, 4, 3)
    for format_name in ("PNG", "JPEG"):
        again = decode_picture(encode(decode_picture(bytes(data), "x"), format_name).data, "x").density
        assert again is not None
        assert (again.unit, again.x / again.y) == ("", Fraction(4, 3))


@pytest.mark.parametrize(
    ("format_name", "expected"),
    [
        ("PNG", []),
        ("WEBP", ["text chunks cannot", "colour coding cannot", "IPTC records cannot"]),
        ("TIFF", ["text chunks cannot", "colour coding cannot", "times of its frames cannot"]),
        (
            "JPEG",
            ["text chunks cannot", "colour coding cannot", "EXIF block of 7", "XMP packet of 7", "IPTC block of 7"],
        ),
    ],
)
def test_what_a_format_cannot_store_is_named(format_name: str, expected: list[str]):
    block = exif.with_values(BLOCK, {0x10E: Value(ASCII, 70_000, b"x" * 70_000)})
    rgb = np.asarray(IMAGE)
    picture = Picture(
        rgb,
        exif=block,
        xmp=XMP + b" " * 70_000,
        iptc=RECORDS + bytes(70_000),
        text=(Text("Title", "x"),),
        color_chunks=(("gAMA", b"\0\1\x86\xa0"),),
        duration_ms=20.0 if format_name == "TIFF" else 0.0,
    )
    left_out = encode(picture, format_name, marker=NOTE).left_out
    assert len(left_out) == len(expected)
    assert all(part in sentence for part, sentence in zip(expected, left_out, strict=True))


def test_repeated_keywords_languages_and_odd_keywords_are_carried():
    texts = (
        Text("Title", "Boats"),
        Text("Title", "Boote", "de", "Titel"),
        Text("  a\tkeyword ", "odd"),
        Text("", "none"),
        Text("k" * 100, "long"),
    )
    data = encode(Picture(np.asarray(IMAGE), text=texts), "PNG", marker=NOTE).data
    keywords = ("a keyword", "Comment", "k" * 79)
    odd = tuple(Text(keyword, text.text) for keyword, text in zip(keywords, texts[2:], strict=True))
    assert decode_picture(data, "x").text == (*texts[:2], *odd)
    many = Picture(np.asarray(IMAGE), text=tuple(Text("Title", str(number)) for number in range(51)))
    assert "51 text chunks" in encode(many, "PNG").left_out[0]
    assert decode_picture(encode(many, "PNG").data, "x").text == many.text


def test_text_of_cameras_survives_byte_for_byte():
    """Latin-1 and UTF-8 in tags declared as ASCII, infinity as a distance, and a maker note at its position."""
    strings = {0x8298: "© 2024 José".encode("latin-1"), 0x13B: "José Müller".encode()}
    block = exif.with_values(b"", {tag: Value(ASCII, len(text) + 1, text + b"\0") for tag, text in strings.items()})
    data = saved("JPEG", exif=exif.PREFIX + block)
    for format_name in ("PNG", "WEBP", "TIFF", "JPEG"):
        again = decode_picture(encode(decode_picture(data, "x"), format_name, marker=NOTE).data, "x")
        for tag, text in strings.items():
            assert exif.value_of(again.exif, tag) == Value(ASCII, len(text) + 1, text + b"\0")


def test_the_document_has_the_table():
    assert as_markdown() in (ROOT / "docs" / "pictures.md").read_text()
