"""Files that other programs got wrong, made small: the right pixels, or a refusal that says why."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image, ImageCms, TiffImagePlugin

from pca_protect.errors import PictureError
from pca_protect.image.masks import as_mask, read_mask
from pca_protect.io.discover import discover
from pca_protect.io.header import read_header
from pca_protect.io.high_bit_depth import ROUNDED
from pca_protect.io.read import decode_picture, from_pil
from pca_protect.io.tiff_directory import LONG, SHORT, Layout, Value, append_directory
from pca_protect.io.write import encode_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NOTE = '{"version": "1", "budget_levels": 8}'


def saved(image: Image.Image, format_name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def tiff(pixels: bytes, tags: dict[int, tuple[int, ...]]) -> bytes:
    """A TIFF of one page."""
    data = bytearray(b"II*\0\0\0\0\0") + pixels
    layout = Layout("<")
    wide = {256, 257, 273, 279, 330}
    values = {
        tag: Value(LONG, len(numbers), layout.numbers("I", numbers))
        if tag in wide
        else Value(SHORT, len(numbers), layout.numbers("H", numbers))
        for tag, numbers in tags.items()
    }
    start, _ = append_directory(data, layout, values)
    struct.pack_into("<I", data, 4, start)
    return bytes(data)


def planes(samples: np.ndarray, **changed: tuple[int, ...]) -> bytes:
    height, width, channels = samples.shape
    data = b"".join(np.ascontiguousarray(samples[..., channel]).tobytes() for channel in range(channels))
    size = len(data) // channels
    starts = tuple(8 + size * channel for channel in range(channels))
    bits = (8 * samples.itemsize,) * channels
    tags = {256: (width,), 257: (height,), 258: bits, 259: (1,), 262: (2,), 273: starts, 277: (channels,)}
    return tiff(
        data,
        {**tags, 278: (height,), 279: (size,) * channels, 284: (2,), **{int(k[1:]): v for k, v in changed.items()}},
    )


def test_separate_planes_of_16_bits_are_refused_and_of_8_read():
    eight = np.asarray(smooth_picture(24, 16))
    assert np.array_equal(decode_picture(planes(eight), "x").rgb, eight)
    with pytest.raises(PictureError, match="x: stores 16-bit channels in separate uncompressed planes"):
        decode_picture(planes(eight.astype("<u2") * 257), "x")


def test_a_sparse_tiff_is_refused():
    with pytest.raises(PictureError, match="x: is a sparse TIFF"):
        decode_picture(planes(np.asarray(smooth_picture(24, 16)), t273=(8, 0, 8)), "x")


def test_white_of_a_16_bit_jpeg_2000_stays_white():
    samples = np.full((64, 96, 3), 65535, np.uint16)
    samples[:, :48] = np.linspace(0, 65535, 64 * 48 * 3).reshape(64, 48, 3)
    data = cv2.imencode(".jp2", samples[..., ::-1], [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes()
    picture = decode_picture(data, "x")
    assert picture.low is not None
    whole = picture.rgb.astype(np.int32) << 8 | picture.low
    assert np.abs(whole - samples).max() < 600
    assert (picture.rgb[:, 64:] >= 254).all()
    assert not picture.read_warnings


def test_a_palette_page_after_a_colour_page_is_read():
    pages = [smooth_picture(24, 16), smooth_picture(24, 16, seed=1).quantize(16), smooth_picture(20, 12).quantize(8)]
    for compression in (None, "tiff_lzw", "tiff_deflate", "packbits"):
        data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression=compression)
        picture = decode_picture(data, "x")
        for page, expected in zip((picture, *picture.following), pages, strict=True):
            assert np.array_equal(page.rgb, np.asarray(expected.convert("RGB")))


def test_a_profile_belongs_to_its_page_alone():
    gray = SRGB[:16] + b"GRAY" + SRGB[20:]
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file, True) as writer:
        for image, profile in ((smooth_picture(16, 12, channels=1), gray), (smooth_picture(16, 12), None)):
            image.save(writer, "TIFF", icc_profile=profile)
            writer.newFrame()
    picture = decode_picture(file.getvalue(), "x")
    assert (picture.icc_profile, picture.following[0].icc_profile) == (gray, b"")
    assert not picture.read_warnings


@pytest.mark.parametrize(("bits", "level"), [(1, 0), (1, 1), (2, 1), (2, 3), (4, 1), (4, 15), (8, 7)])
def test_a_transparent_level_below_8_bits_is_that_level(bits: int, level: int):
    levels = np.arange(16 * 24).reshape(16, 24) % 2**bits
    packed = np.packbits(
        np.unpackbits(levels.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :].reshape(16, -1), axis=1
    )
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 24, 16, bits, 0, 0, 0, 0), b"tRNS": struct.pack(">H", level)}
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in {**chunks, b"IDAT": zlib.compress(rows), b"IEND": b""}.items():
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    picture = decode_picture(data, "x")
    assert picture.gray
    assert np.array_equal(picture.rgb[..., 0], levels * (255 // (2**bits - 1)))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha == 0, levels == level)


def test_colours_coded_without_a_profile_are_named():
    data = saved(smooth_picture(32, 24), "AVIF")
    at = data.index(b"colrnclx") + 8
    picture = decode_picture(data[:at] + struct.pack(">HH", 9, 16) + data[at + 4 :], "x")
    assert "the colours are coded as BT.2020 PQ without a profile" in picture.read_warnings[0]


def test_ten_bits_of_heic_are_rounded_with_a_word():
    pillow_heif = pytest.importorskip("pillow_heif")
    samples = np.random.default_rng(0).integers(0, 65536, (48, 64, 3), dtype=np.uint16)
    file = io.BytesIO()
    pillow_heif.from_bytes(mode="RGB;16", size=(64, 48), data=samples.tobytes()).save(file, quality=90)
    assert ROUNDED in decode_picture(file.getvalue(), "x").read_warnings
    plain = io.BytesIO()
    pillow_heif.from_pillow(smooth_picture(64, 48)).save(plain)
    assert not decode_picture(plain.getvalue(), "x").read_warnings


def test_a_raw_photograph_is_not_its_preview():
    preview = np.asarray(smooth_picture(24, 16)).tobytes()
    tags = {254: (1,), 256: (24,), 257: (16,), 258: (8, 8, 8), 259: (1,), 262: (2,), 273: (8,), 277: (3,), 278: (16,)}
    data = tiff(preview, {**tags, 279: (len(preview),), 330: (8,)})
    with pytest.raises(PictureError, match="x: is a RAW photograph"):
        decode_picture(data, "x")
    decode_picture(tiff(preview, {**tags, 254: (0,), 279: (len(preview),)}), "x")


def test_a_colour_table_of_8_bit_values_is_scaled():
    image = smooth_picture(24, 16).quantize(16)
    data = saved(image, "TIFF")
    with Image.open(io.BytesIO(data)) as opened:
        table = opened.tag_v2[320]
    written = struct.pack(f"<{len(table)}H", *table)
    assert data.count(written) == 1
    small = data.replace(written, struct.pack(f"<{len(table)}H", *(value >> 8 for value in table)))
    for file in (data, small):
        assert np.array_equal(decode_picture(file, "x").rgb, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xff\x0a" + bytes(30), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30), "JPEG XL"),
        (b"II\xbc\x01" + bytes(30), "JPEG XR"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "Radiance HDR"),
        (b"v/1\x01" + bytes(30), "OpenEXR"),
        (b"\0\0\0\x18ftypcrx " + bytes(30), "a RAW photograph"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(30), "a RAW photograph"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(30), "a RAW photograph"),
        (b"MM\0\x2b\0\x08\0\0" + bytes(30), "big-endian BigTIFF"),
    ],
)
def test_pictures_that_cannot_be_read_fail_by_name_in_a_folder(tmp_path: Path, data: bytes, name: str):
    (tmp_path / "other").write_bytes(data)
    smooth_picture(16, 12).save(tmp_path / "photo.png")
    found = discover([str(tmp_path)])
    assert [Path(source.path).name for source in found.sources] == ["other", "photo.png"]
    with pytest.raises(PictureError, match=f"is {name}, which cannot be read here"):
        decode_picture(data, "x")


@pytest.mark.parametrize("name", ["a.jpg", "a.PNG", "a.heic"])
def test_an_empty_file_named_as_a_picture_fails_by_name_in_a_folder(tmp_path: Path, name: str):
    (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    found = discover([str(tmp_path)])
    assert [Path(source.path).name for source in found.sources] == [name]
    with pytest.raises(PictureError, match=r"is empty \(0 bytes\)"):
        read_header(tmp_path / name)
    assert read_header(tmp_path / "notes.txt") is None


def test_what_is_unsupported_is_not_called_damaged():
    data = saved(smooth_picture(24, 16), "TIFF")
    compression = struct.pack("<HHIHH", 259, 3, 1, 1, 0)
    assert data.count(compression) == 1
    with pytest.raises(PictureError, match=r"is of a kind that cannot be read here \(34887\)"):
        decode_picture(data.replace(compression, struct.pack("<HHIHH", 259, 3, 1, 34887, 0)), "x")
    twelve = bytearray(saved(smooth_picture(24, 16), "JPEG"))
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(PictureError, match="is of a kind that cannot be read here"):
        decode_picture(bytes(twelve), "x")
    signed = saved(Image.fromarray(np.full((16, 16), -5, np.int32)), "TIFF")
    with pytest.raises(PictureError, match="signed or 32-bit integer samples"):
        decode_picture(signed, "x")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("damage", ["zeros", "flipped"])
def test_damage_inside_a_jpeg_is_refused(damage: str, progressive: bool):
    data = bytearray(saved(smooth_picture(96, 64), "JPEG", quality=95, progressive=progressive))
    middle = len(data) // 2
    for at in range(middle, middle + 60):
        data[at] = 0 if damage == "zeros" else data[at] ^ 0x55
    with pytest.raises(PictureError, match="damaged"):
        decode_picture(bytes(data), "x")


@pytest.mark.skipif(sys.platform == "win32", reason="Pillow for Windows exports no functions of libtiff")
@pytest.mark.parametrize(("mode", "compression"), [("RGB", "tiff_lzw"), ("RGB", "tiff_adobe_deflate"), ("1", "group4")])
def test_damage_inside_a_tiff_is_one_sentence(mode: str, compression: str, capfd: pytest.CaptureFixture[str]):
    """Pillow decodes a damaged fax without an error; of the others, libtiff wrote the reason to stderr."""
    data = bytearray(saved(smooth_picture(96, 64).convert(mode), "TIFF", compression=compression))
    decode_picture(bytes(data), "x")
    for at in range(12, 60, 3):
        data[at] ^= 0x5A
    with pytest.raises(PictureError, match="x: is damaged") as raised:
        decode_picture(bytes(data), "x")
    assert "decoder error" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_padding_before_the_end_of_a_jpeg_is_no_damage(mode: str):
    data = saved(smooth_picture(48, 32).convert(mode), "JPEG", quality=95)
    padded = decode_picture(data[:-2] + bytes(6) + data[-2:], "x")
    assert np.array_equal(padded.rgb, decode_picture(data, "x").rgb)
    assert decode_picture(data + bytes(40), "x").read_warnings == decode_picture(data, "x").read_warnings


def test_a_marker_behind_the_pixels_is_found(tmp_path: Path):
    data = encode_picture(from_pil(smooth_picture(24, 16)), "PNG", marker=NOTE)
    start = data.index(b"iTXt") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    (tmp_path / "ours.png").write_bytes(moved)
    header = read_header(tmp_path / "ours.png")
    assert header is not None
    assert header.ours


def test_an_unused_fourth_byte_of_a_tga_is_no_transparency():
    image = smooth_picture(24, 16, channels=4)
    image.putalpha(0)
    picture = decode_picture(saved(image, "TGA"), "x")
    assert picture.alpha is None


@pytest.mark.parametrize("painted", [0, 255])
def test_alpha_of_a_mask_counts(tmp_path: Path, painted: int):
    array = np.full((16, 24, 4), painted, np.uint8)
    array[..., 3] = 0
    array[4:8, 4:12] = 255
    Image.fromarray(array).save(tmp_path / "mask.png")
    expected = np.zeros((16, 24), bool)
    expected[4:8, 4:12] = True
    assert np.array_equal(read_mask(tmp_path / "mask.png"), expected)
    assert np.array_equal(as_mask(Image.fromarray(array)), expected)


def test_a_profile_for_other_colours_is_named():
    other = SRGB[:16] + b"CMYK" + SRGB[20:]
    picture = decode_picture(saved(smooth_picture(24, 16), "PNG", icc_profile=other), "x")
    assert picture.icc_profile == b""
    assert picture.read_warnings == (
        "the colour profile is for CMYK colours, but the pixels are RGB; the profile was left out",
    )


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF", "WEBP", "PNG"])
def test_a_picture_with_a_large_profile_becomes_a_tiff(tmp_path: Path, format_name: str):
    profile = SRGB + bytes(1_500_000)
    path = tmp_path / "photo"
    if format_name == "PNG":
        name_and_data = b"iCCP" + b"x\0\0" + zlib.compress(profile)
        data = saved(smooth_picture(24, 16), "PNG")
        chunk = struct.pack(">I", len(name_and_data) - 4) + name_and_data + struct.pack(">I", zlib.crc32(name_and_data))
        path.write_bytes(data[:33] + chunk + data[33:])
    else:
        path.write_bytes(saved(smooth_picture(24, 16), format_name, icc_profile=profile))
    header = read_header(path)
    assert header is not None
    assert header.suffix == ".tiff"


def test_the_gain_map_of_a_jpeg_is_named_and_no_longer_announced():
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/></rdf:RDF></x:xmpmeta>'
    )
    data = saved(smooth_picture(24, 16), "JPEG", xmp=packet.encode())
    picture = decode_picture(data + saved(smooth_picture(12, 8), "JPEG"), "x")
    assert "trailer (data after the picture" in picture.read_warnings[0]
    assert b"hdrgm:Version" not in picture.xmp
