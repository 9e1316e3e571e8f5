"""Reading picture files of every kind: what becomes pixels, what is carried, what is refused and how."""

from __future__ import annotations

import io
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import smooth_picture
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin

from pca_protect.errors import PictureError, UsageError
from pca_protect.io import formats
from pca_protect.io.exif import value_of
from pca_protect.io.frames import alike
from pca_protect.io.limits import pillow_limited_to
from pca_protect.io.read import MAX_PIXELS, decode_picture, from_pil, read_picture

ORIENTATION, ARTIST = 0x0112, 0x013B
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def saved(image: Image.Image, format_name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def noise16(height: int, width: int, channels: int) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(3).integers(0, 65536, shape, dtype=np.uint16)


def profile_of(space: bytes) -> bytes:
    """Enough of one to tell its colour space; the rest belongs to sRGB."""
    return SRGB[:16] + space + SRGB[20:]


@pytest.mark.parametrize(
    ("format_name", "lossless"),
    [
        ("PNG", 1), ("BMP", 1), ("TIFF", 1), ("TGA", 1), ("PPM", 1), ("PCX", 1), ("SGI", 1), ("QOI", 1), ("GIF", 0),
        ("WEBP", 0), ("JPEG", 0), ("JPEG2000", 1), ("AVIF", 0),
    ],
)  # fmt: skip
def test_reads_every_format(tmp_path: Path, format_name: str, lossless: int):
    image = smooth_picture(31, 19)
    path = tmp_path / "picture.without-a-telling-name"
    path.write_bytes(saved(image, format_name))
    picture = read_picture(path)
    assert (picture.width, picture.height) == (31, 19)
    difference = np.abs(picture.rgb.astype(int) - np.asarray(image).astype(int)).mean()
    assert difference == 0 if lossless else difference < 12
    assert len(picture.digest) == 64
    assert not picture.read_warnings


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA"])
def test_eight_bit_modes(mode: str):
    image = smooth_picture(20, 12).convert("RGBA" if mode in ("LA", "PA", "RGBA") else "RGB").convert(mode)
    data = saved(image.convert("RGBA"), "TIFF") if mode == "PA" else saved(image, "PNG")
    picture = decode_picture(data, "x")
    assert (picture.alpha is not None) == (mode in ("LA", "PA", "RGBA"))
    assert picture.gray == (mode in ("1", "L", "LA"))
    assert np.array_equal(picture.rgb, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_palette_with_transparency():
    image = Image.fromarray(np.arange(16 * 16, dtype=np.uint8).reshape(16, 16) % 8, "P")
    image.putpalette([value for index in range(8) for value in (index * 30, 255 - index * 30, 7)])
    picture = decode_picture(saved(image, "PNG", transparency=bytes([0, 128, *[255] * 6])), "x")
    assert picture.alpha is not None
    assert picture.alpha[0, :3].tolist() == [0, 128, 255]
    assert picture.rgb[0, 0].tolist() == [0, 255, 7]  # the colour of what cannot be seen is kept


def test_one_grey_level_can_be_transparent():
    picture = decode_picture(saved(smooth_picture(16, 16, channels=1), "PNG", transparency=0), "x")
    assert picture.gray
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == 0
    assert picture.alpha[-1, -1] == 255


def test_one_level_of_sixteen_bits_can_be_transparent():
    samples = noise16(9, 11, 1)
    data = saved(Image.fromarray(samples), "PNG", transparency=int(samples[3, 4]))
    picture = decode_picture(data, "x")
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, np.where(samples == samples[3, 4], 0, 65535))


def test_a_palette_of_greys_is_grey_and_one_of_colours_is_not():
    gray = smooth_picture(16, 16, channels=1).convert("P")
    assert decode_picture(saved(gray, "PNG"), "x").gray
    assert not decode_picture(saved(gray, "PNG", icc_profile=SRGB), "x").gray  # a profile of colours belongs to colours
    assert not decode_picture(saved(smooth_picture(16, 16).convert("P"), "PNG"), "x").gray


def test_colour_under_full_transparency_is_kept():
    rgba = np.asarray(smooth_picture(21, 13, channels=4)).copy()
    rgba[:, :9, 3] = 0
    picture = decode_picture(saved(Image.fromarray(rgba), "PNG"), "x")
    assert np.array_equal(np.dstack([picture.rgb, picture.alpha]), rgba)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_read_whole(suffix: str, channels: int):
    samples = noise16(14, 23, channels)
    order = [2, 1, 0, 3][:channels]
    data = cv2.imencode(suffix, samples if channels == 1 else samples[..., order])[1].tobytes()
    picture = decode_picture(data, "x")
    assert picture.low is not None
    assert picture.gray == (channels == 1)
    whole = picture.rgb.astype(np.uint16) << 8 | picture.low
    assert np.array_equal(whole, np.repeat(samples[..., None], 3, axis=2) if channels == 1 else samples[..., :3])
    if channels == 4:
        assert picture.alpha is not None
        assert picture.alpha.dtype == np.uint16
        assert np.array_equal(picture.alpha, samples[..., 3])
    assert not picture.read_warnings


def test_sixteen_bits_that_two_decoders_read_differently_are_refused(monkeypatch: pytest.MonkeyPatch):
    samples = noise16(14, 23, 3)
    data = cv2.imencode(".png", samples)[1].tobytes()
    monkeypatch.setattr(cv2, "imdecode", lambda buffer, flags: samples[::-1])
    with pytest.raises(PictureError, match="x: two decoders read different pixels"):
        decode_picture(data, "x")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bits_are_turned_with_their_low_bytes(orientation: int):
    samples = noise16(14, 23, 3)
    plain = cv2.imencode(".png", samples[..., ::-1])[1].tobytes()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    block = exif.tobytes()[6:]
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    picture = decode_picture(plain[:33] + chunk + plain[33:], "x")
    assert picture.low is not None
    eight = decode_picture(saved(Image.fromarray((samples >> 8).astype(np.uint8)), "PNG", exif=exif), "x")
    low = decode_picture(saved(Image.fromarray((samples & 255).astype(np.uint8)), "PNG", exif=exif), "x")
    assert np.array_equal(picture.rgb, eight.rgb)
    assert np.array_equal(picture.low, low.rgb)


def test_cmyk_goes_through_its_profile_and_says_so(monkeypatch: pytest.MonkeyPatch):
    cmyk = smooth_picture(16, 16).convert("CMYK")
    plain = decode_picture(saved(cmyk, "JPEG", quality=95), "x")
    assert "CMYK to RGB without a usable colour profile" in plain.read_warnings[0]
    assert not plain.icc_profile
    broken = decode_picture(saved(cmyk, "JPEG", quality=95, icc_profile=profile_of(b"CMYK")), "x")
    assert np.array_equal(broken.rgb, plain.rgb)  # a profile that cannot be used is as good as none
    assert "CMYK to RGB without a usable colour profile" in broken.read_warnings[0]

    def to_black(image: Image.Image, *_: object, **options: object) -> Image.Image:
        return Image.new(str(options["outputMode"]), image.size)

    monkeypatch.setattr(ImageCms, "ImageCmsProfile", lambda file: file)
    monkeypatch.setattr(ImageCms, "profileToProfile", to_black)
    converted = decode_picture(saved(cmyk, "JPEG", quality=95, icc_profile=profile_of(b"CMYK")), "x")
    assert converted.rgb.max() == 0  # the profile's answer is what is used
    assert "CMYK to sRGB with its colour profile" in converted.read_warnings[0]
    assert not converted.icc_profile


def test_lab_becomes_srgb():
    colours = smooth_picture(16, 16)
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(colours, transform)
    assert lab is not None
    picture = decode_picture(saved(lab, "TIFF"), "x")
    assert "L*a*b*" in picture.read_warnings[0]
    assert np.abs(picture.rgb.astype(int) - np.asarray(colours).astype(int)).mean() < 3  # 8-bit Lab is coarse


def test_a_profile_is_kept_only_where_it_fits():
    gray, colour = smooth_picture(16, 16, channels=1), smooth_picture(16, 16)
    grays, wide = profile_of(b"GRAY"), SRGB + b"a wider gamut"
    assert decode_picture(saved(gray, "PNG", icc_profile=grays), "x").icc_profile == grays
    assert decode_picture(saved(gray, "PNG", icc_profile=SRGB), "x").icc_profile == b""
    picture = decode_picture(saved(colour, "PNG", icc_profile=wide), "x")
    assert picture.icc_profile == wide
    assert np.array_equal(picture.rgb, np.asarray(colour))  # code values as they are


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((16, 16), 300.0, np.float32), "float samples outside 0 to 1"),
        (np.full((16, 16), np.nan, np.float32), "float samples outside 0 to 1"),
        (np.full((16, 16), 70_000, np.int32), "32-bit integer samples"),
    ],
)
def test_numbers_without_a_scale_are_refused(array: np.ndarray, says: str):
    with pytest.raises(PictureError, match=says):
        decode_picture(saved(Image.fromarray(array), "TIFF"), "x")


def test_fractions_from_0_to_1_are_grey():
    array = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    picture = decode_picture(saved(Image.fromarray(array), "TIFF"), "x")
    assert picture.gray
    assert picture.low is not None
    assert picture.rgb[0, 0, 0] == 0
    assert picture.rgb[15, 15, 0] == picture.low[15, 15, 0] == 255
    assert "rounded to 16 bits" in picture.read_warnings[0]


def test_sixteen_bit_pgm_is_read_whole():
    samples = noise16(9, 11, 1)
    picture = decode_picture(b"P5 11 9 65535\n" + samples.astype(">u2").tobytes(), "x")
    assert picture.low is not None
    assert np.array_equal(picture.rgb[..., 0].astype(np.uint16) << 8 | picture.low[..., 0], samples)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("place", ["exif", "xmp"])
@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_orientation_is_applied_once_and_reset(orientation: int, place: str, format_name: str):
    upright = smooth_picture(24, 16)
    stored = upright.transpose(BACK[orientation]) if orientation in BACK else upright
    exif = Image.Exif()
    exif[ARTIST] = "A. Person"
    options: dict[str, object] = {"exif": exif}
    packet = f'<a xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><tiff:Orientation>{orientation}</tiff:Orientation></a>'
    if place == "exif":
        exif[ORIENTATION] = orientation
    elif format_name == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet)  # type: ignore[attr-defined]
    else:
        options["tiffinfo"] = TiffImagePlugin.ImageFileDirectory_v2()
        options["tiffinfo"][700] = packet.encode()  # type: ignore[index]
        options["tiffinfo"][ARTIST] = "A. Person"  # type: ignore[index]
        del options["exif"]
    picture = decode_picture(saved(stored, format_name, **options), "x")
    assert np.array_equal(picture.rgb, np.asarray(upright))
    carried = Image.Exif()
    carried.load(picture.exif)
    assert carried.get(ORIENTATION, 1) == 1
    assert carried[ARTIST] == "A. Person"
    if place == "xmp":
        assert b">1</tiff:Orientation>" in picture.xmp or b"Orientation" not in picture.xmp


def test_thumbnails_of_the_unprotected_picture_are_left_out():
    thumbnail = saved(smooth_picture(16, 12), "JPEG")
    main = struct.pack("<HHHI4sI", 1, ARTIST, 2, 4, b"Ann\0", 26)
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 56, 514, 4, 1, len(thumbnail), 0)
    block = b"Exif\0\0II\x2a\0\x08\0\0\0" + main + second + thumbnail
    data = saved(smooth_picture(24, 16), "JPEG", exif=block)
    with Image.open(io.BytesIO(data)) as image:
        assert 513 in image.getexif().get_ifd(ExifTags.IFD.IFD1)  # the test file is what it should be
    picture = decode_picture(data, "x")
    assert b"\xff\xd8" not in picture.exif
    exif = Image.Exif()
    exif.load(picture.exif)
    assert exif[ARTIST] == "Ann"
    assert not exif.get_ifd(ExifTags.IFD.IFD1)


@pytest.mark.parametrize("kind", ["maker note", "xmp"])
def test_other_previews_are_left_out(kind: str):
    if kind == "xmp":
        packet = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"><xmp:Thumbnails>/9j/4AAQ'
            "</xmp:Thumbnails></rdf:Description></rdf:RDF></x:xmpmeta>"
        )
        picture = decode_picture(saved(smooth_picture(16, 16), "JPEG", xmp=packet.encode()), "x")
        assert b"/9j/" not in picture.xmp
        assert b'xmp:Rating="4"' in picture.xmp
        return
    exif = Image.Exif()
    exif[ARTIST] = "A. Person"
    exif.get_ifd(0x8769).update(
        {0x927C: b"CANON" + saved(smooth_picture(16, 16), "JPEG"), 0x9003: "2024:01:01 00:00:00"}
    )
    picture = decode_picture(saved(smooth_picture(16, 16), "JPEG", exif=exif), "x")
    assert b"CANON" not in picture.exif
    assert b"2024:01:01" in picture.exif
    assert "preview of the unprotected picture" in picture.read_warnings[0]


def frames(mode: str = "RGB", count: int = 3) -> list[Image.Image]:
    return [smooth_picture(20, 14, channels=4 if mode == "RGBA" else 3, seed=seed) for seed in range(count)]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_animations_are_read_frame_by_frame(format_name: str, mode: str):
    first, *rest = frames(mode)
    options = {"lossless": True, "exact": True} if format_name == "WEBP" else {}
    data = saved(first, format_name, save_all=True, append_images=rest, duration=[40, 50, 60], loop=3, **options)
    picture = decode_picture(data, "x")
    whole = (picture, *picture.following)
    assert [frame.duration_ms for frame in whole] == [40, 50, 60]
    assert picture.loop == 3
    with Image.open(io.BytesIO(data)) as image:
        for number, frame in enumerate(whole):
            image.seek(number)
            assert np.array_equal(frame.rgb, np.asarray(image)[..., :3])
            assert frame.alpha is not None or image.mode == "RGB"
    assert not np.array_equal(whole[0].rgb, whole[1].rgb)


@pytest.mark.parametrize(("written", "plays"), [({}, 1), ({"loop": 0}, 0), ({"loop": 2}, 3)])
def test_gif_frames_timing_and_repetitions(written: dict[str, int], plays: int):
    first, *rest = [image.quantize(32) for image in frames()]
    picture = decode_picture(
        saved(first, "GIF", save_all=True, append_images=rest, duration=[40, 50, 60], **written), "x"
    )
    assert [frame.duration_ms for frame in (picture, *picture.following)] == [40, 50, 60]
    assert picture.loop == plays
    assert np.array_equal(picture.following[1].rgb, np.asarray(rest[1].convert("RGB")))


def test_gif_disposal_is_carried_out():
    """A frame that is taken away again is not in the next one."""
    blank, small = Image.new("RGBA", (20, 14)), Image.new("RGBA", (20, 14))
    small.paste((200, 10, 10, 255), (2, 2, 8, 8))
    last = Image.new("RGBA", (20, 14))
    last.paste((10, 10, 200, 255), (12, 2, 18, 8))
    picture = decode_picture(
        saved(blank, "GIF", save_all=True, append_images=[small, last], disposal=2, duration=50), "x"
    )
    second, third = picture.following
    assert second.alpha is not None
    assert third.alpha is not None
    assert second.alpha[4, 4] == 255
    assert third.alpha[4, 4] == 0
    assert third.alpha[4, 14] == 255


def test_a_gif_frame_that_reaches_over_the_canvas_is_cut_there():
    data = bytearray(saved(frames()[0], "GIF", save_all=True, append_images=[frames()[1]], duration=40))
    second = data.rindex(b"\x2c\0\0\0\0\x14\0\x0e\0")  # its place, 0 0, and its size, 20x14
    data[second + 1] = 10
    picture = decode_picture(bytes(data), "x")
    assert [frame.rgb.shape for frame in (picture, *picture.following)] == [(14, 20, 3)] * 2
    assert not np.array_equal(picture.rgb[:, 10:], picture.following[0].rgb[:, 10:])


def test_frames_of_one_animation_have_the_same_channels():
    gray, colour = (from_pil(smooth_picture(16, 16, channels=channels)) for channels in (1, 4))
    first, second = alike((gray, colour))
    assert not first.gray
    assert first.alpha is not None
    assert (first.alpha == 255).all()
    assert np.array_equal(second.rgb, colour.rgb)
    assert alike((gray, gray))[1].gray


def test_tiff_pages_are_pictures_of_their_own():
    pages = [smooth_picture(20, 14), smooth_picture(11, 30, channels=1), smooth_picture(9, 9, channels=4)]
    picture = decode_picture(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]), "x")
    for page, image in zip((picture, *picture.following), pages, strict=True):
        assert (page.width, page.height) == image.size
        assert page.gray == (image.mode == "L")
        assert (page.alpha is not None) == (image.mode == "RGBA")
        assert page.duration_ms == 0


def test_reduced_copies_among_tiff_pages_are_passed_over():
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[254] = 1
    small = smooth_picture(10, 7)
    small.encoderinfo = {"tiffinfo": info}
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file, True) as writer:
        for image, tags in ((smooth_picture(20, 14), {}), (small, {"tiffinfo": info})):
            image.save(writer, "TIFF", **tags)
            writer.newFrame()
    assert decode_picture(file.getvalue(), "x").following == ()


def test_of_several_pictures_in_a_jpeg_the_first_is_taken_and_said():
    data = saved(
        smooth_picture(20, 14), "MPO", save_all=True, append_images=[smooth_picture(10, 10, seed=1)], quality=95
    )
    picture = decode_picture(data, "x")
    assert (picture.width, picture.height) == (20, 14)
    assert not picture.following
    assert "holds 2 pictures" in picture.read_warnings[0]


def test_heic_is_read_where_pillow_heif_is_installed():
    pillow_heif = pytest.importorskip("pillow_heif")
    image = smooth_picture(64, 48)
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95)
    picture = decode_picture(file.getvalue(), "x")
    assert np.abs(picture.rgb.astype(int) - np.asarray(image).astype(int)).mean() < 8


def test_heic_without_the_library_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic") + bytes(64)
    with pytest.raises(PictureError, match=r"x: is a HEIC file.*pip install 'pca-protect\[heif\]'"):
        decode_picture(data, "x")


def test_from_pil_reads_frames_and_keeps_the_image_open():
    first, *rest = frames()
    with Image.open(io.BytesIO(saved(first, "PNG", save_all=True, append_images=rest, duration=40))) as image:
        assert len(from_pil(image).following) == 2
        image.seek(0)
        assert np.array_equal(np.asarray(image), np.asarray(first))


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_from_pil_takes_exif_with_its_letters(format_name: str):
    info = Image.Exif()
    info[ARTIST] = "José Müller".encode("latin-1")
    with Image.open(io.BytesIO(saved(smooth_picture(20, 14), format_name, exif=info))) as image:
        block = from_pil(image).exif
    assert b"Jos\xe9 M\xfcller\0" in block
    assert value_of(block, 256) is None


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "bad.png"
    whole = saved(smooth_picture(64, 64), "PNG")
    if kind == "text":
        path.write_text("this is no picture")
    elif kind == "postscript":
        path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n%%EOF\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(whole[:2000])
    elif kind == "truncated jpeg":
        path.write_bytes(saved(smooth_picture(64, 64), "JPEG")[:-300])
    elif kind == "1x1":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "bomb":
        data = bytearray(whole)
        data[16:24] = (60_000).to_bytes(4, "big") + (60_000).to_bytes(4, "big")
        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
        path.write_bytes(bytes(data))
    elif kind == "webp bomb":
        path.write_bytes(b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff\xff\xfe" * 2 + bytes(8))
    elif kind == "tiny page":
        smooth_picture(16, 16).save(path, "TIFF", save_all=True, append_images=[smooth_picture(16, 3)])
    elif kind == "hollow tiff":
        data = saved(smooth_picture(16, 16), "TIFF")
        directory = int.from_bytes(data[4:8], "little")
        entries = int.from_bytes(data[directory : directory + 2], "little")
        end = directory + 2 + 12 * entries
        path.write_bytes(data[:end] + len(data).to_bytes(4, "little") + data[end + 4 :] + bytes(6))
    elif kind == "unreadable":
        path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("text", "not in a recognised image format"),
        ("postscript", "not in a recognised image format"),
        ("empty", "0 bytes"),
        ("truncated", "is truncated"),
        ("truncated jpeg", "is truncated"),
        ("1x1", "1x1 px is too small"),
        ("bomb", "60000x60000 px is over the limit of 200 megapixels; raise it with `max_pixels`"),
        ("webp bomb", "over the limit of 200 megapixels|damaged"),  # Pillow before 13 only says the latter
        ("tiny page", "frame 2: 16x3 px is too small"),
        ("hollow tiff", "damaged"),
        ("unreadable", "cannot be read"),
    ],
)
def test_bad_files_end_in_one_sentence(tmp_path: Path, kind: str, says: str):
    path = broken(tmp_path, kind)
    with pytest.raises(PictureError, match=says) as caught:
        read_picture(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_the_limit_counts_all_frames_together():
    assert MAX_PIXELS == 200_000_000
    first, *rest = frames()
    data = saved(first, "PNG", save_all=True, append_images=rest, duration=40)
    pixels = 20 * 14
    assert len(decode_picture(data, "x", max_pixels=3 * pixels).following) == 2
    with pytest.raises(PictureError, match=r"first 3 frames .* over the limit .* `max_pixels`"):
        decode_picture(data, "x", max_pixels=3 * pixels - 1)
    with pytest.raises(PictureError, match="20x14 px is over the limit"):
        decode_picture(data, "x", max_pixels=pixels - 1)


def test_pillows_own_limit_is_lifted_while_reading_and_put_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    data = saved(smooth_picture(20, 14), "PNG")
    assert decode_picture(data, "x").width == 20  # Pillow would refuse more than 100 px
    assert Image.MAX_IMAGE_PIXELS == 50
    before = list(warnings.filters)
    inside, outside = threading.Event(), threading.Event()

    def hold() -> None:
        with pillow_limited_to(1000):
            inside.set()
            outside.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    with pillow_limited_to(4000):
        assert Image.MAX_IMAGE_PIXELS == 2000
    assert Image.MAX_IMAGE_PIXELS == 500  # the other thread is still reading
    outside.set()
    thread.join()
    assert Image.MAX_IMAGE_PIXELS == 50
    assert list(warnings.filters) == before


def test_only_raster_formats_are_opened():
    Image.init()
    assert not {"EPS", "PDF", "WMF", "HDF5", "GRIB", "BUFR", "MPEG"} & set(formats.FORMATS)
    assert set(formats.FORMATS) - {"HEIF"} <= set(Image.OPEN)


def test_a_folder_is_a_clear_error(tmp_path: Path):
    with pytest.raises(UsageError, match="add -o FOLDER"):
        read_picture(tmp_path)


def gray_tiff(samples: np.ndarray, *, bits: int, photometric: int) -> bytes:
    """A TIFF of one strip by hand: Pillow writes neither 12 bits nor white as zero with 16."""
    height, width = samples.shape
    if bits == 12:
        packed = np.stack(
            [samples[:, 0::2] >> 4, (samples[:, 0::2] & 15) << 4 | samples[:, 1::2] >> 8, samples[:, 1::2] & 255]
        )
        data = np.moveaxis(packed, 0, -1).astype(np.uint8).tobytes()
    else:
        data = samples.astype("<u2").tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in tags.items()
    )
    directory = len(tags).to_bytes(2, "little") + entries + bytes(4)
    return b"II*\0" + (8 + len(data)).to_bytes(4, "little") + data + directory


@pytest.mark.parametrize(("bits", "photometric"), [(16, 1), (16, 0), (12, 1)])
def test_gray_of_more_bits_is_read_on_its_own_scale(bits: int, photometric: int):
    levels = np.linspace(0, 2**bits - 1, 32 * 16).round().astype(np.uint16).reshape(16, 32)
    picture = decode_picture(gray_tiff(levels, bits=bits, photometric=photometric), "x.tif")
    assert picture.gray
    assert picture.low is not None
    first, last = (
        (picture.rgb[0, 0, 0], picture.rgb[-1, -1, 0])
        if photometric
        else (picture.rgb[-1, -1, 0], picture.rgb[0, 0, 0])
    )
    assert (first, last) == (0, 255)
    assert abs(int(picture.rgb[8, 0, 0]) - 128) < 3
