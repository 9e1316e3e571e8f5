"""Reading, planning and writing picture files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image, ImageCms, PngImagePlugin

from pca_protect.errors import PictureError, UsageError
from pca_protect.io.picture import Picture
from pca_protect.io.plan import plan
from pca_protect.io.read import MAX_PIXELS, read_picture
from pca_protect.io.write import largest_change_levels, output_format, write_picture

ORIENTATION, ARTIST, SOFTWARE = 0x0112, 0x013B, 0x0131
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(("suffix", "lossless"), [("png", 1), ("bmp", 1), ("tiff", 1), ("webp", 0), ("jpg", 0)])
def test_reads_every_format(tmp_path: Path, suffix: str, lossless: int):
    image = smooth_picture(31, 19)
    path = tmp_path / f"picture.{suffix}"
    image.save(path)
    picture = read_picture(path)
    assert (picture.width, picture.height) == (31, 19)
    difference = np.abs(picture.rgb.astype(int) - np.asarray(image).astype(int)).mean()
    assert difference == 0 if lossless else difference < 12
    assert len(picture.digest) == 64


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA"])
def test_eight_bit_modes_become_colour_with_or_without_alpha(tmp_path: Path, mode: str):
    image = smooth_picture(20, 12).convert("RGBA" if mode in ("LA", "PA", "RGBA") else "RGB").convert(mode)
    path = tmp_path / ("picture.tiff" if mode == "PA" else "picture.png")
    if mode == "PA":
        image = image.convert("RGBA")
    image.save(path)
    picture = read_picture(path)
    assert picture.rgb.shape == (12, 20, 3)
    assert (picture.alpha is not None) == (mode in ("LA", "PA", "RGBA"))
    assert np.array_equal(picture.rgb, np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_reset(tmp_path: Path, orientation: int):
    upright = smooth_picture(24, 16)
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    exif = Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = orientation, "A. Person"
    stored.save(tmp_path / "turned.png", exif=exif)

    picture = read_picture(tmp_path / "turned.png")
    assert np.array_equal(picture.rgb, np.asarray(upright))
    write_picture(picture, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as saved:
        assert saved.getexif().get(ORIENTATION, 1) == 1
        assert saved.getexif()[ARTIST] == "A. Person"
        assert np.array_equal(np.asarray(saved), np.asarray(upright))


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_alpha_profile_exif_xmp_and_text_survive(tmp_path: Path, suffix: str):
    rgba = np.asarray(smooth_picture(21, 13, channels=4)).copy()
    rgba[:5, :, 3] = 0  # colour under full transparency counts too
    exif = Image.Exif()
    exif[ARTIST] = "A. Person"
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("Title", "Grüße")
    chunks.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    Image.fromarray(rgba).save(tmp_path / "in.png", exif=exif, icc_profile=SRGB, pnginfo=chunks)

    path = tmp_path / f"out.{suffix}"
    write_picture(read_picture(tmp_path / "in.png"), path, note="what was done")
    with Image.open(path) as saved:
        assert np.array_equal(np.asarray(saved), rgba)
        assert saved.info["icc_profile"] == SRGB
        assert saved.getexif()[ARTIST] == "A. Person"
        xmp = saved.info["xmp"]
        assert (xmp if isinstance(xmp, bytes) else xmp.encode()) == b"<x:xmpmeta/>"
        if suffix == "png":
            assert saved.text["Title"] == "Grüße"
            assert saved.text["pca_protect"] == "what was done"
        else:
            assert saved.getexif()[SOFTWARE] == "what was done"


def test_grey_profile_is_not_put_on_the_colour_picture(tmp_path: Path):
    profile = bytearray(SRGB)
    profile[16:20] = b"GRAY"
    smooth_picture(16, 16, channels=1).save(tmp_path / "grey.png", icc_profile=bytes(profile))
    assert read_picture(tmp_path / "grey.png").icc_profile == b""


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "bad.png"
    whole = tmp_path / "whole.png"
    smooth_picture(64, 64).save(whole)
    if kind == "text":
        path.write_text("this is no picture")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(whole.read_bytes()[:2000])
    elif kind == "1x1":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "bomb":
        data = bytearray(whole.read_bytes())
        data[16:24] = (60_000).to_bytes(4, "big") + (60_000).to_bytes(4, "big")
        crc = __import__("zlib").crc32(bytes(data[12:29]))
        data[29:33] = crc.to_bytes(4, "big")
        path.write_bytes(bytes(data))
    elif kind == "sixteen":
        Image.fromarray(np.zeros((16, 16), np.uint16)).save(path)
    elif kind == "cmyk":
        path = tmp_path / "bad.jpg"
        smooth_picture(16, 16).convert("CMYK").save(path)
    elif kind == "animated":
        path = tmp_path / "bad.webp"
        frames = [smooth_picture(16, 16, seed=seed) for seed in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    elif kind == "hollow tiff":
        path = tmp_path / "bad.tiff"
        smooth_picture(16, 16).save(path)
        data = path.read_bytes()
        directory = int.from_bytes(data[4:8], "little")
        entries = int.from_bytes(data[directory : directory + 2], "little")
        end = directory + 2 + 12 * entries
        path.write_bytes(
            data[:end] + len(data).to_bytes(4, "little") + data[end + 4 :] + bytes(6)
        )  # an empty second page
    elif kind == "pages":
        path = tmp_path / "bad.tiff"
        smooth_picture(16, 16).save(path, save_all=True, append_images=[smooth_picture(16, 16, seed=1)])
    elif kind == "unreadable":
        path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("text", "not a picture"),
        ("empty", "0 bytes"),
        ("truncated", "damaged"),
        ("1x1", "1x1 px is too small"),
        ("bomb", "over the limit of 89 megapixels"),
        ("sixteen", "more than 8 bits"),
        ("cmyk", "CMYK"),
        ("animated", "3 frames"),
        ("pages", "2 frames or pages"),
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


def test_the_limit_is_what_the_message_says():
    assert MAX_PIXELS == 89_000_000


def test_a_folder_is_a_clear_error(tmp_path: Path):
    with pytest.raises(UsageError, match="folders are not supported yet"):
        read_picture(tmp_path)
    with pytest.raises(UsageError, match="folders are not supported yet"):
        plan([tmp_path], None)


def test_default_output_is_the_sibling(tmp_path: Path, photo: Path):
    (job,) = plan([photo], None)
    assert job.target == tmp_path / "photo.protected.png"


def test_outputs_in_a_folder(tmp_path: Path, photo: Path):
    folder = tmp_path / "out"
    folder.mkdir()
    other = tmp_path / "other.jpg"
    smooth_picture(16, 16).save(other)
    assert [job.target.name for job in plan([photo, other], folder)] == ["photo.protected.png", "other.protected.png"]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("photo.png", "is one of the pictures"),
        ("link.png", "is one of the pictures"),
        ("there.png", "exists already"),
        ("missing/out.png", "no such folder"),
        ("missing", "no such folder"),
        ("out.jpg", "eats the perturbation"),
        ("out.gif", "cannot write .gif"),
    ],
)
def test_refuses_outputs_before_any_work(tmp_path: Path, photo: Path, output: str, says: str):
    (tmp_path / "there.png").write_bytes(b"someone's")
    (tmp_path / "link.png").symlink_to(photo)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UsageError, match=says):
        plan([photo], tmp_path / output)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_refuses_two_pictures_with_one_output(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    pictures = [tmp_path / "a" / "same.png", tmp_path / "b" / "same.jpg"]
    for path in pictures:
        smooth_picture(16, 16).save(path)
    with pytest.raises(UsageError, match="would both be written"):
        plan(pictures, tmp_path)
    assert len(plan(pictures, None)) == 2
    with pytest.raises(UsageError, match="has to be a folder"):
        plan(pictures, tmp_path / "out.png")


def test_existing_outputs_can_be_skipped_or_replaced(tmp_path: Path, photo: Path):
    target = tmp_path / "photo.protected.png"
    target.write_bytes(b"earlier")
    assert plan([photo], None, existing="skip")[0].skip
    assert not plan([photo], None, existing="overwrite")[0].skip


def test_originals_are_never_replaced_even_with_overwrite(photo: Path):
    with pytest.raises(UsageError, match="originals are never replaced"):
        plan([photo], photo, existing="overwrite")


def test_lossy_needs_permission():
    with pytest.raises(UsageError, match="--allow-lossy"):
        output_format(Path("x.jpg"), allow_lossy=False)
    assert output_format(Path("x.JPG"), allow_lossy=True) == "JPEG"


def test_never_replaces_a_file_that_came_into_being_meanwhile(tmp_path: Path, photo: Path):
    target = tmp_path / "out.png"
    target.write_bytes(b"someone else's")
    with pytest.raises(PictureError, match="exists already"):
        write_picture(read_picture(photo), target)
    assert target.read_bytes() == b"someone else's"
    write_picture(read_picture(photo), target, overwrite=True)
    assert largest_change_levels(read_picture(photo), target) == 0
    assert not list(tmp_path.glob(".*"))


def test_a_missing_folder_is_said_and_nothing_is_left(tmp_path: Path, photo: Path):
    with pytest.raises(PictureError, match="does not exist"):
        write_picture(read_picture(photo), tmp_path / "gone" / "out.png")


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX thing")
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path):
    """A limit on file size makes a real write fail after some bytes, as a full disk does."""
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    code = f"""
        import resource
        from pathlib import Path
        from pca_protect.io.read import read_picture
        from pca_protect.io.write import write_picture
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        write_picture(read_picture(Path({str(tmp_path / "noise.png")!r})), Path({str(tmp_path / "out.png")!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert "PictureError" in done.stderr
    assert "nothing was written" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.png"]


@contextmanager
def small_disk(tmp_path: Path, options: str = "") -> Iterator[Path]:
    """A disk of 64 KiB."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size=64k{options}", "tmpfs", disk]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path):
    with small_disk(tmp_path) as disk:
        generator = np.random.default_rng(0)
        picture = Picture(generator.integers(0, 256, (300, 300, 3), dtype=np.uint8))
        with pytest.raises(PictureError, match="disk is full"):
            write_picture(picture, disk / "out.png")
        assert list(disk.iterdir()) == []


def test_a_read_only_disk_is_refused_before_any_work(tmp_path: Path, photo: Path):
    with small_disk(tmp_path, ",ro") as disk, pytest.raises(UsageError, match="cannot be written to"):
        plan([photo], disk)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path, photo: Path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(UsageError, match="cannot be written to"):
        plan([photo], folder)
