"""EXIF blocks edited in place: every kept value stays where it is, byte for byte."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field

import pytest
from conftest import smooth_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from pca_protect.io import exif
from pca_protect.io.exif_of_tiff import exif_of_tiff
from pca_protect.io.tiff_directory import ASCII, UTF8, Value

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
THUMBNAIL = b"\xff\xd8\xff\xdbthumbnail of the unprotected picture\xff\xd9"


@dataclass
class Tags:
    """Type, count and bytes by tag."""

    values: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    following: int = 0


def read(block: bytes, start: int | None = None) -> Tags:
    """A reader of classic directories that shares nothing with the program."""
    order = "<" if block[:2] == b"II" else ">"
    at = struct.unpack_from(f"{order}I", block, 4)[0] if start is None else start
    tags = Tags()
    (count,) = struct.unpack_from(f"{order}H", block, at)
    for number in range(count):
        place = at + 2 + 12 * number
        tag, kind, length = struct.unpack_from(f"{order}HHI", block, place)
        size = SIZES[kind] * length
        where = place + 8 if size <= 4 else struct.unpack_from(f"{order}I", block, place + 8)[0]
        tags.values[tag] = (kind, length, block[where : where + size])
        tags.positions[tag] = where if size > 4 else -1
    (tags.following,) = struct.unpack_from(f"{order}I", block, at + 2 + 12 * count)
    return tags


def below(block: bytes, tags: Tags, tag: int) -> Tags:
    order = "<" if block[:2] == b"II" else ">"
    return read(block, struct.unpack(f"{order}I", tags.values[tag][2])[0])


class Writer:
    """Writes directories anywhere, values before or after them, as cameras do."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.data = bytearray((b"II\x2a\0" if order == "<" else b"MM\0\x2a") + bytes(4))

    def directory(self, values: dict[int, tuple[int, bytes]], following: int = 0, *, gap: bytes = b"") -> int:
        entries = []
        for tag, (kind, data) in values.items():
            count = len(data) // SIZES[kind]
            if len(data) > 4:
                self.data += gap
                place = struct.pack(f"{self.order}I", len(self.data))
                self.data += data
            else:
                place = data.ljust(4, b"\0")
            entries.append(struct.pack(f"{self.order}HHI", tag, kind, count) + place)
        start = len(self.data)
        self.data += struct.pack(f"{self.order}H", len(entries)) + b"".join(entries)
        self.data += struct.pack(f"{self.order}I", following)
        return start

    def pointer(self, start: int) -> tuple[int, bytes]:
        return 4, struct.pack(f"{self.order}I", start)

    def block(self, start: int) -> bytes:
        struct.pack_into(f"{self.order}I", self.data, 4, start)
        return bytes(self.data)


plain = st.binary(max_size=40).map(lambda data: data.replace(b"\xff\xd8", b"ab"))
values = st.tuples(st.sampled_from(sorted(SIZES)), plain).map(lambda pair: (pair[0], pair[1] * SIZES[pair[0]]))
STRUCTURAL = {273, 279, 324, 325, 330, 513, 514, 700, 33723, 34377, 34675, 37724, 0x8769, 0x8825, 0xA005, 0x112}
tags = st.dictionaries(st.integers(1, 65535).filter(lambda tag: tag not in STRUCTURAL), values, max_size=8)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[bytes, bool, bool]:
    """A block with orientation, maker note and thumbnail; whether it has a GPS directory; whether it is turned."""
    writer = Writer(draw(st.sampled_from("<>")))
    order, gap = writer.order, draw(st.binary(max_size=3))
    with_gps, turned = draw(st.booleans()), draw(st.booleans())
    main = draw(tags)
    note = (7, b"Maker" + struct.pack(f"{order}I", len(writer.data)) + draw(plain))
    details = {**draw(tags), 0x927C: note}
    details[0xA005] = writer.pointer(writer.directory({1: (2, b"R98\0")}))
    strip = len(writer.data)
    writer.data += b"a raw thumbnail"
    thumbnail = len(writer.data)
    writer.data += THUMBNAIL
    second = {
        259: (3, struct.pack(f"{order}H", 6)),
        273: (4, struct.pack(f"{order}I", strip)),
        279: (4, struct.pack(f"{order}I", 15)),
        513: (4, struct.pack(f"{order}I", thumbnail)),
        514: (4, struct.pack(f"{order}I", len(THUMBNAIL))),
        270: (2, b"described twice\0"),
    }
    following = writer.directory(second)
    main[0x8769] = writer.pointer(writer.directory(details, gap=gap))
    if with_gps:
        main[0x8825] = writer.pointer(writer.directory({1: (2, b"N\0"), 2: (5, b"secretpl" * 3)}))
    if turned:
        main[0x112] = (3, struct.pack(f"{order}H", 6))
    return writer.block(writer.directory(main, following, gap=gap)), with_gps, turned


@settings(max_examples=150, deadline=None)
@given(blocks(), st.booleans())
def test_every_value_but_those_to_be_edited_stays_in_place(drawn: tuple[bytes, bool, bool], prefixed: bool):
    block, with_gps, turned = drawn
    done, warnings = exif.cleaned((exif.PREFIX if prefixed else b"") + block)
    assert warnings == ()
    assert len(done) == len(block)
    before, after = read(block), read(done)
    details = below(block, before, 0x8769), below(done, after, 0x8769)
    assert details[0] == details[1]
    assert below(block, details[0], 0xA005) == below(done, details[1], 0xA005)
    if with_gps:
        assert below(block, before, 0x8825) == below(done, after, 0x8825)
    assert (after.following, b"thumbnail" in done, b"described twice" in done) == (0, False, False)
    assert b"a raw" not in done
    if turned:
        assert int.from_bytes(after.values[0x112][2], "little" if done[:2] == b"II" else "big") == 1
        del before.values[0x112], after.values[0x112]
    assert (before.values, before.positions) == (after.values, after.positions)

    elsewhere = exif.without_gps(done)
    assert b"secretpl" not in elsewhere
    left = read(elsewhere)
    assert (left.values.pop(0x8825, None), after.values.pop(0x8825, None) is not None) == (None, with_gps)
    assert left.values.keys() - {0x112} == after.values.keys() - {0x112}
    assert all(left.values[tag] == after.values[tag] for tag in after.values)
    assert below(elsewhere, left, 0x8769) == details[0]


@settings(max_examples=60, deadline=None)
@given(blocks(), st.binary(max_size=12).map(lambda text: text.replace(b"\0", b"")))
def test_a_value_is_added_and_the_rest_stays_in_place(drawn: tuple[bytes, bool, bool], text: bytes):
    block = drawn[0]
    done = exif.with_values(block, {exif.SOFTWARE: Value(ASCII, len(text) + 1, text + b"\0")})
    before, after = read(block), read(done)
    assert after.values.pop(exif.SOFTWARE) == (2, len(text) + 1, text + b"\0")
    before.values.pop(exif.SOFTWARE, None)
    assert after.values == before.values
    assert all(after.positions[tag] == before.positions[tag] for tag in before.values)
    assert below(done, after, 0x8769) == below(block, before, 0x8769)
    assert exif.software_of(done) == text.strip()
    assert exif.software_of(exif.with_values(block, {exif.SOFTWARE: Value(UTF8, 3, "é\0".encode())})) == "é".encode()
    assert exif.software_of(exif.with_values(b"", {exif.SOFTWARE: Value(ASCII, 2, b"a\0")})) == b"a"


@settings(max_examples=300, deadline=None)
@given(blocks(), st.data())
def test_a_damaged_block_is_edited_or_refused(drawn: tuple[bytes, bool, bool], data: st.DataObject):
    block = bytearray(drawn[0])
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(block[: data.draw(st.integers(0, len(block)))])
    try:
        done, _ = exif.cleaned(damaged)
    except ValueError:
        return
    assert len(done) == len(damaged)
    assert THUMBNAIL not in done
    exif.without_gps(done)
    exif.with_values(done, {exif.SOFTWARE: Value(ASCII, 2, b"a\0")})


def test_values_with_a_jpeg_file_are_removed_and_named():
    writer = Writer("<")
    details = writer.directory({0x9003: (2, b"2024:01:01 00:00:00\0"), 0x927C: (7, b"CANON" + THUMBNAIL)})
    block = writer.block(writer.directory({0x8769: writer.pointer(details), 0xC000: (7, b"    " + THUMBNAIL)}))
    done, warnings = exif.cleaned(block + b"between" + THUMBNAIL)
    assert b"thumbnail" not in done
    assert b"between" in done
    assert list(below(done, read(done), 0x8769).values) == [0x9003]
    assert [warning.split(" holds ")[0] for warning in warnings] == [
        "the file's EXIF tag 49152",
        "the file's maker note",
    ]


@pytest.mark.parametrize("kind", [1, 3, 4, 2])
def test_orientations_of_every_type_are_reset(kind: int):
    writer = Writer(">")
    data = {1: b"\6", 3: b"\0\6", 4: b"\0\0\0\6", 2: b"6\0"}[kind]
    done, _ = exif.cleaned(writer.block(writer.directory({0x112: (kind, data), 0x13B: (2, b"A. Person\0")})))
    left = read(done).values
    assert left.pop(0x13B) == (2, 10, b"A. Person\0")
    assert left == ({} if kind == 2 else {0x112: (kind, 1, data.replace(b"\6", b"\1"))})


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_page_gives_a_block_with_its_bytes(big: bool):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[0x13B], info[0x8298] = "José Müller".encode("latin-1"), "© 2024".encode()
    info[0x8769] = {0x9003: "2024:01:01 00:00:00", 0x927C: b"note" * 4, 0x9206: TiffImagePlugin.IFDRational(1, 0)}
    info[65000] = b"a private layer"
    file = io.BytesIO()
    smooth_picture(16, 12).save(file, "TIFF", tiffinfo=info, big_tiff=big)
    block = exif_of_tiff(file.getvalue(), 0)
    assert block[:4] == b"II\x2a\0"
    with Image.open(io.BytesIO(file.getvalue())) as image:
        offset = image.tag_v2._offset if not big else None
    found = read(block)
    assert found.values[0x13B] == (2, 12, "José Müller\0".encode("latin-1"))
    assert not {256, 273, 65000} & found.values.keys()
    details = below(block, found, 0x8769)
    assert details.values[0x927C][2] == b"note" * 4
    assert struct.unpack("<II", details.values[0x9206][2]) == (1, 0)
    if offset is not None:
        written = read(file.getvalue(), offset)
        assert all(found.values[tag] == written.values[tag] for tag in found.values if tag != 0x8769)
