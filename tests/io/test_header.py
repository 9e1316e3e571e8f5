"""What a file is, told without decoding it."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import smooth_picture
from PIL import Image

from pca_protect.errors import PictureError
from pca_protect.io.header import read_header
from pca_protect.io.read import from_pil
from pca_protect.io.write import encode_picture

NOTE = '{"version": "1", "budget_levels": 8}'


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "TGA", "JPEG2000", "AVIF", "PPM"])
def test_format_and_size_by_content(tmp_path: Path, format_name: str):
    path = tmp_path / "picture.txt"
    smooth_picture(31, 19).save(path, format_name)
    header = read_header(path)
    assert header is not None
    assert (header.format, header.width, header.height, header.frames) == (format_name, 31, 19, 1)
    assert header.suffix == ".png"
    assert not header.ours


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"lossless": True, "exif": Image.Exif()}])
def test_every_kind_of_webp(tmp_path: Path, options: dict[str, object]):
    path = tmp_path / "picture.webp"
    smooth_picture(301, 190, channels=4).save(path, **options)
    header = read_header(path)
    assert header is not None
    assert (header.width, header.height) == (301, 190)


@pytest.mark.parametrize(
    ("format_name", "suffix"), [("PNG", ".png"), ("WEBP", ".png"), ("GIF", ".png"), ("TIFF", ".tiff"), ("MPO", ".png")]
)
def test_more_than_one_frame(tmp_path: Path, format_name: str, suffix: str):
    path = tmp_path / "picture"
    rest = [smooth_picture(31, 19, seed=seed) for seed in (1, 2)]
    smooth_picture(31, 19).save(path, format_name, save_all=True, append_images=rest)
    header = read_header(path)
    assert header is not None
    assert header.frames == (1 if format_name == "MPO" else 2)  # of an MPO only the first picture is read
    assert header.suffix == suffix


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_outputs_are_known_again(tmp_path: Path, format_name: str, several: bool):
    if several and format_name == "JPEG":
        pytest.skip("a JPEG holds one picture")
    picture = from_pil(smooth_picture(16, 12))
    if several:
        picture = replace(picture, following=(picture,))
    path = tmp_path / "picture"
    for marker, ours in ((NOTE, True), ("", False)):
        path.write_bytes(encode_picture(picture, format_name, marker=marker))
        header = read_header(path)
        assert header is not None
        assert header.ours == ours


def test_someone_elses_software_is_not_ours(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0131] = 'A camera that talks about "budget_levels"'
    smooth_picture(16, 12).save(tmp_path / "photo.jpg", exif=exif)
    header = read_header(tmp_path / "photo.jpg")
    assert header is not None
    assert not header.ours


@pytest.mark.parametrize(
    "data",
    [
        b"a", b"plain text\n", b"BMW is a maker of cars", b"P1 is the first floor", b"Python", b"\n\x05\x01",
        b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.4\n", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" + bytes(100), bytes(1000),
        b"RIFF\x24\0\0\0WAVEfmt ", b"\0\0\0\x18ftypmp42\0\0\0\0isommp42",
    ],
)  # fmt: skip
def test_what_is_no_picture_is_none_unless_its_name_is_one(tmp_path: Path, data: bytes):
    (tmp_path / "file").write_bytes(data)
    assert read_header(tmp_path / "file") is None
    (tmp_path / "photo.JPG").write_bytes(data)
    with pytest.raises(PictureError, match=r"photo\.JPG: is not in a recognised image format"):
        read_header(tmp_path / "photo.JPG")


def test_damaged_too_large_and_unreadable_are_said(tmp_path: Path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(PictureError, match=r"photo\.png: is damaged"):
        read_header(path)
    path.write_bytes(b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff\xff\xfe" * 2 + bytes(8))
    with pytest.raises(PictureError, match="over the limit of 200 megapixels"):
        read_header(path)
    path.write_bytes(b"RIFF\x1e\0\0\0WEBP")
    with pytest.raises(PictureError, match="is truncated"):
        read_header(path)
    smooth_picture(16, 12).save(path)
    with pytest.raises(PictureError, match=r"16x12 px is over the limit of 0\.0001 megapixels"):
        read_header(path, max_pixels=100)
    with pytest.raises(PictureError, match="cannot be read"):
        read_header(tmp_path / "gone.png")


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_it_is_fast(tmp_path: Path, format_name: str):
    """Half a millisecond each on a quiet machine; decoding would take a hundred times that."""
    path = tmp_path / "picture"
    file = io.BytesIO()
    smooth_picture(3000, 2000).save(file, format_name)
    path.write_bytes(file.getvalue())
    read_header(path)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        read_header(path)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.003
