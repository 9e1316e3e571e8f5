"""Writing: what comes back from an encoded file, what a format refuses, and files that are whole or not there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image, ImageCms
from small_disk import small_disk

from pca_protect.errors import PictureError, UsageError
from pca_protect.io.frames import changed_box
from pca_protect.io.picture import Picture, Text
from pca_protect.io.proof import largest_change_levels
from pca_protect.io.read import decode_picture, from_pil, read_picture
from pca_protect.io.write import encode_picture, output_format, write_bytes

ARTIST, SOFTWARE = 0x013B, 0x0131
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
IPTC = b"\x1c\x02\x05\x00\x04Wood\x1c\x02\x5a\x00\x05Leeds"
NOTE = '{"version": "1", "budget_levels": 8}'


def picture_of(kind: str, *, width: int = 23, height: int = 14, seed: int = 0) -> Picture:
    """`gray` or `colour`, with `+alpha` and `16` as wanted."""
    generator = np.random.default_rng(seed)
    deep, gray = "16" in kind, "gray" in kind
    rgb = np.asarray(smooth_picture(width, height, channels=1 if gray else 3, seed=seed))
    rgb = np.repeat(rgb[..., None], 3, axis=2) if gray else rgb.copy()
    low = generator.integers(0, 256, (height, width, 1 if gray else 3), dtype=np.uint8) if deep else None
    if low is not None and gray:
        low = np.repeat(low, 3, axis=2)
    alpha = None
    if "alpha" in kind:
        alpha = generator.integers(0, 65536 if deep else 256, (height, width)).astype(np.uint16 if deep else np.uint8)
        alpha[:, :5] = 0
    return Picture(rgb, alpha=alpha, low=low, gray=gray)


def assert_same(one: Picture, other: Picture) -> None:
    for before, after in zip((one, *one.following), (other, *other.following), strict=True):
        assert np.array_equal(before.rgb, after.rgb)
        assert before.gray == after.gray
        assert before.duration_ms == after.duration_ms
        for name in ("alpha", "low"):
            first, second = getattr(before, name), getattr(after, name)
            assert (first is None) == (second is None)
            if first is not None:
                assert first.dtype == second.dtype
                assert np.array_equal(first, second)
    assert one.loop == other.loop


EIGHT = ["colour", "colour+alpha", "gray", "gray+alpha"]
SIXTEEN = ["colour16", "colour16+alpha", "gray16"]


@pytest.mark.parametrize(
    ("format_name", "kind"),
    [(name, kind) for name in ("PNG", "WEBP", "TIFF") for kind in EIGHT]
    + [(name, kind) for name in ("PNG", "TIFF") for kind in SIXTEEN]
    + [("PNG", "gray16+alpha")],
)
def test_lossless_formats_are_exact(format_name: str, kind: str):
    picture = picture_of(kind)
    assert_same(picture, decode_picture(encode_picture(picture, format_name, marker=NOTE), "x"))


@pytest.mark.parametrize("kind", SIXTEEN)
@pytest.mark.parametrize("suffix", ["PNG", "TIFF"])
def test_another_program_reads_the_same_sixteen_bits(kind: str, suffix: str):
    picture = picture_of(kind, width=41, height=90)
    array = cv2.imdecode(np.frombuffer(encode_picture(picture, suffix), np.uint8), cv2.IMREAD_UNCHANGED)
    assert array is not None
    expected = picture.samples()
    if expected.shape[2] > 1:
        expected = expected[..., [2, 1, 0, 3][: expected.shape[2]]]
    assert np.array_equal(array.reshape(expected.shape), expected)


@pytest.mark.parametrize("kind", EIGHT)
@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_animations_are_exact(format_name: str, kind: str):
    first, second, third = (picture_of(kind, seed=seed) for seed in range(3))
    moved = second.rgb.copy()
    moved[5:9, 7:12] = 200
    frames = [second, replace(second, rgb=moved), replace(second, rgb=moved), third]  # one of them the same as before
    timed = [
        replace(frame, duration_ms=duration) for frame, duration in zip(frames, (40, 290, 70_010, 33), strict=True)
    ]
    picture = replace(first, duration_ms=20, loop=5, following=tuple(timed))
    assert_same(picture, decode_picture(encode_picture(picture, format_name, marker=NOTE), "x"))


def test_what_a_viewer_sees_of_an_animation_is_what_was_written():
    pictures = [picture_of("colour+alpha", seed=seed) for seed in range(3)]
    picture = replace(
        pictures[0], duration_ms=20, following=tuple(replace(one, duration_ms=30) for one in pictures[1:])
    )
    with Image.open(io.BytesIO(encode_picture(picture, "PNG"))) as image:
        assert image.n_frames == 3
        for number, frame in enumerate(pictures):
            image.seek(number)
            assert np.array_equal(np.asarray(image), frame.samples())


def test_only_what_changed_is_stored_of_a_frame():
    before = picture_of("colour").samples()
    after = before.copy()
    after[5, 7] ^= 1
    after[8, 10] ^= 1
    assert changed_box(before, after) == (7, 5, 11, 9)
    assert changed_box(before, after, step=2) == (6, 4, 11, 9)
    assert changed_box(before, before) == (0, 0, 1, 1)


def test_tiff_pages_of_all_kinds_and_sizes_are_exact():
    pages = [picture_of(kind, width=9 + number, seed=number) for number, kind in enumerate(EIGHT + SIXTEEN)]
    pages[2] = replace(pages[2], icc_profile=SRGB[:16] + b"GRAY" + SRGB[20:])
    picture = replace(pages[0], following=tuple(pages[1:]))
    again = decode_picture(encode_picture(picture, "TIFF", marker=NOTE), "x")
    assert_same(picture, again)
    assert again.following[1].icc_profile == pages[2].icc_profile


def test_a_tiff_of_many_strips_is_exact():
    picture = picture_of("colour", width=900, height=1000)
    assert_same(picture, decode_picture(encode_picture(picture, "TIFF"), "x"))


@pytest.mark.parametrize(
    ("picture", "format_name", "says"),
    [
        (picture_of("colour16"), "WEBP", "16 bits per channel, and WebP holds 8"),
        (picture_of("gray16+alpha"), "TIFF", "write it to a .png file"),
        (replace(picture_of("colour"), following=(picture_of("colour", width=30),)), "PNG", "page 2 has 30x14 px"),
        (replace(picture_of("colour"), following=(picture_of("colour", width=30),)), "WEBP", "page 2 has 30x14 px"),
        (replace(picture_of("gray16"), following=(picture_of("gray16"),)), "PNG", "several 16-bit pages"),
        (picture_of("colour", width=16_384, height=8), "WEBP", "limit of 16383 px"),
        (replace(picture_of("colour"), following=(picture_of("colour"),)), "JPEG", "has 2 frames"),
        (picture_of("colour+alpha"), "JPEG", "JPEG has no transparency"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_a_remedy(picture: Picture, format_name: str, says: str):
    with pytest.raises(PictureError, match=rf"^photo: .*{says}") as caught:
        encode_picture(replace(picture, source="photo"), format_name)
    assert "write it to a ." in str(caught.value)


def with_everything() -> Picture:
    exif = Image.Exif()
    exif[ARTIST] = "A. Person"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    text = (Text("Title", "Grüße"), Text("Long", "x" * 5000))
    return replace(picture_of("colour"), exif=exif.tobytes()[6:], xmp=XMP, iptc=IPTC, icc_profile=SRGB, text=text)


@pytest.mark.parametrize("kind", ["colour", "colour16"])
@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_metadata_survives(format_name: str, kind: str):
    if (format_name, kind) == ("WEBP", "colour16"):
        pytest.skip("WebP holds 8 bits")
    pixels = picture_of(kind)
    picture = replace(with_everything(), rgb=pixels.rgb, low=pixels.low)
    again = decode_picture(encode_picture(picture, format_name), "x")
    assert again.icc_profile == SRGB
    assert again.xmp == XMP
    assert again.iptc == (b"" if format_name == "WEBP" else IPTC)
    exif = Image.Exif()
    exif.load(again.exif)
    assert exif[ARTIST] == "A. Person"
    assert exif.get_ifd(0x8769)[0x9003] == "2024:01:01 00:00:00"
    assert exif.get_ifd(0x8825)[1] == "N"
    if format_name == "PNG":
        assert again.text == picture.text


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_metadata_of_an_animation_survives(format_name: str):
    picture = replace(with_everything(), following=(picture_of("colour", seed=1),))
    again = decode_picture(encode_picture(picture, format_name, marker=NOTE), "x")
    assert (again.icc_profile, again.xmp) == (SRGB, XMP)
    assert b"A. Person" in again.exif
    assert again.following[0].icc_profile == b""


@pytest.mark.parametrize("kind", ["gray", "colour16", "colour+alpha"])
@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_the_note_is_in_the_file(format_name: str, kind: str):
    data = encode_picture(picture_of(kind), format_name, marker=NOTE)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.text["pca_protect"] if format_name == "PNG" else image.getexif()[SOFTWARE]) == NOTE


@pytest.mark.parametrize("format_name", ["WEBP", "JPEG"])
def test_the_note_is_the_software_tag(format_name: str):
    before = Image.Exif()
    before[SOFTWARE] = "A camera"
    data = encode_picture(replace(picture_of("colour"), exif=before.tobytes()[6:]), format_name, marker=NOTE)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[SOFTWARE] == f"A camera {NOTE}"


def test_an_earlier_note_is_not_kept():
    picture = replace(picture_of("colour"), text=(Text("pca_protect", "earlier"),))
    assert decode_picture(encode_picture(picture, "PNG"), "x").text == ()


def test_grey_stays_grey_in_a_jpeg():
    with Image.open(io.BytesIO(encode_picture(picture_of("gray"), "JPEG"))) as image:
        assert image.mode == "L"


@pytest.mark.parametrize("format_name", ["TIFF", "WEBP"])
def test_a_colour_profile_of_several_megabytes_goes_where_readers_take_it(format_name: str):
    profile = SRGB + bytes(3_000_000)
    picture = replace(picture_of("colour"), icc_profile=profile)
    data = encode_picture(picture, format_name)
    with Image.open(io.BytesIO(data)) as image:  # as any other program: without the limits lifted
        assert image.info["icc_profile"] == profile
    with pytest.raises(PictureError, match=r"profile of 30\d+ bytes, over the limit of 1048576 .* \.tiff or \.webp"):
        encode_picture(picture, "PNG")


def test_lossy_needs_permission():
    with pytest.raises(UsageError, match="`allow_lossy`"):
        output_format(Path("x.jpg"), allow_lossy=False)
    assert output_format(Path("x.JPG"), allow_lossy=True) == "JPEG"
    assert output_format(Path("x.tif"), allow_lossy=False) == "TIFF"
    with pytest.raises(UsageError, match=r"cannot write \.gif"):
        output_format(Path("x.gif"), allow_lossy=True)


def test_the_largest_change_is_over_all_frames_and_rows():
    first, second = picture_of("colour", height=600), picture_of("colour", height=600, seed=1)
    changed = second.rgb.copy()
    changed[599, 3, 1] = min(255, int(changed[599, 3, 1]) + 7) if changed[599, 3, 1] < 249 else changed[599, 3, 1] - 7
    picture = replace(first, following=(second,))
    assert largest_change_levels(picture, picture) == 0
    assert largest_change_levels(picture, replace(first, following=(replace(second, rgb=changed),))) == 7
    with pytest.raises(PictureError, match="in size or number of frames"):
        largest_change_levels(picture, first)


def test_never_replaces_a_file_that_came_into_being_meanwhile(tmp_path: Path, photo: Path):
    target = tmp_path / "out.png"
    target.write_bytes(b"someone else's")
    data = encode_picture(read_picture(photo), "PNG")
    with pytest.raises(PictureError, match="exists already"):
        write_bytes(data, target)
    assert target.read_bytes() == b"someone else's"
    write_bytes(data, target, overwrite=True)
    assert largest_change_levels(read_picture(photo), read_picture(target)) == 0
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(params=["unnamed", "renamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The two ways to write; systems other than Linux have the second only."""
    if request.param == "renamed":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no unnamed files")
    return str(request.param)


def test_where_there_are_no_hard_links_nothing_is_replaced_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_bytes(b"new", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    with pytest.raises(PictureError, match="exists already"):
        write_bytes(b"newer", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_long_name_works_and_one_that_is_too_long_is_said(tmp_path: Path):
    long = tmp_path / f"{'n' * 248}.png"
    write_bytes(b"data", long)
    assert long.read_bytes() == b"data"
    with pytest.raises(PictureError, match="too long"):
        write_bytes(b"data", tmp_path / f"{'n' * 300}.png")
    assert [path.name for path in tmp_path.iterdir()] == [long.name]


def test_the_temporary_file_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    seen = []
    link = os.link
    monkeypatch.setattr(os, "link", lambda source, target: (seen.append(Path(source).parent), link(source, target)))
    write_bytes(b"data", tmp_path / "out.png", folder=folder)
    assert seen == [folder]
    assert (tmp_path / "out.png").read_bytes() == b"data"
    assert not list(folder.iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_target_below_a_bind_mount_is_written(tmp_path: Path, way: str, overwrite: bool):
    """Both folders are on one device, and a link or a rename from one to the other is refused."""
    for name in ("work", "volume", "out"):
        (tmp_path / name).mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    command = ["mount", "--bind", tmp_path / "volume", tmp_path / "out"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let us mount")
    try:
        assert (tmp_path / "work").stat().st_dev == (tmp_path / "out").stat().st_dev
        write_bytes(b"data", tmp_path / "out" / "out.png", folder=tmp_path / "work", overwrite=overwrite)
    finally:
        subprocess.run(["umount", tmp_path / "out"], check=True)
    assert (tmp_path / "volume" / "out.png").read_bytes() == b"data"
    assert not list((tmp_path / "work").iterdir())


def test_a_folder_on_another_disk_does_not_matter(tmp_path: Path):
    with small_disk(tmp_path) as disk:
        write_bytes(b"data", tmp_path / "out.png", folder=disk)
    assert (tmp_path / "out.png").read_bytes() == b"data"


def test_a_missing_folder_is_said_and_nothing_is_left(tmp_path: Path):
    with pytest.raises(PictureError, match="does not exist"):
        write_bytes(b"data", tmp_path / "gone" / "out.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are a POSIX thing")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_file_has_the_usual_mode_and_the_mask_of_the_process_stays(tmp_path: Path, way: str, mask: int):
    before = os.umask(mask)
    try:
        (tmp_path / "usual").touch()
        with_mask_set = os.umask
        os.umask = None  # type: ignore[assignment]
        try:
            write_bytes(b"data", tmp_path / "out.png")
        finally:
            os.umask = with_mask_set
    finally:
        os.umask(before)
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are a POSIX thing")
def test_a_replacement_has_the_mode_of_the_file_it_replaces(tmp_path: Path, way: str):
    target = tmp_path / "out.png"
    target.touch(mode=0o600)
    write_bytes(b"data", target, overwrite=True)
    assert (target.stat().st_mode & 0o777, target.read_bytes()) == (0o600, b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no unnamed files")
def test_a_killed_writer_leaves_nothing(tmp_path: Path):
    code = f"""
        import os, signal
        from pathlib import Path
        from pca_protect.io.write import write_bytes
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        write_bytes(bytes(50_000), Path({str(tmp_path / "out.png")!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False)
    assert done.returncode == -9
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX thing")
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path):
    """A limit on file size makes a real write fail after some bytes, as a full disk does."""
    code = f"""
        import resource
        from pathlib import Path
        from pca_protect.io.write import write_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        write_bytes(bytes(50_000), Path({str(tmp_path / "out.png")!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert "PictureError" in done.stderr
    assert "nothing was written" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path):
    with small_disk(tmp_path) as disk:
        with pytest.raises(PictureError, match="disk is full"):
            write_bytes(bytes(200_000), disk / "out.png")
        assert list(disk.iterdir()) == []


def test_a_read_only_disk_is_said(tmp_path: Path):
    with small_disk(tmp_path, ",ro") as disk, pytest.raises(PictureError, match="read-only disk"):
        write_bytes(b"data", disk / "out.png")


def test_samples_are_what_a_file_stores():
    picture = from_pil(smooth_picture(16, 12, channels=1))
    assert picture.samples().shape == (12, 16, 1)
    deep = replace(picture, low=picture.rgb)
    assert deep.samples().dtype == np.uint16
    assert int(deep.samples()[-1, -1, 0]) == 65535
