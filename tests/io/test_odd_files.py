"""Odd, broken and hostile files: each is protected or ends in one clear sentence.

`make odd` puts them into build/odd. PCA_PROTECT_ODD_FILES may name another folder, whose files may be any.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from pca_protect.errors import PictureError
from pca_protect.io.frames import frames_of
from pca_protect.io.header import read_header
from pca_protect.io.proof import largest_change_levels
from pca_protect.io.read import decode_picture, read_picture
from pca_protect.io.write import encode_picture, output_format

FOLDER = Path(os.environ.get("PCA_PROTECT_ODD_FILES", ROOT / "build" / "odd"))
FILES = sorted(path for path in FOLDER.glob("*") if path.suffix != ".csv")
pytestmark = pytest.mark.skipif(not FILES, reason=f"{FOLDER.name} has no odd files; `make odd` collects them")
SECONDS = 400
"""A deadline for a child process on a busy machine; it takes ten."""

KINDS = {
    "damaged": "is damaged",
    "cut": "is truncated",
    "format": "is not in a recognised",
    "limit": "over the limit",
    "range": "outside 0 to 1",
    "small": "is too small",
}
"""What tells the kinds of refusals apart."""

REFUSED = {
    "damaged": (
        "made__cut.jpg",
        "made__header_only.tga",
        "made__lzw_broken.tif",
        "made__lzw_cut.tif",
        "made__no_directory.tif",
        "made__no_size.tif",
        "pillow__bmp__b__badbitcount.bmp",
        "pillow__00r0_gray_l.jp2",
        "pillow__00r1_graya_la.jp2",
        "pillow__apng__chunk_no_fctl.png",
        "pillow__apng__syntax_num_frames_zero.png",
        "pillow__bmp__b__badheadersize.bmp",
        "pillow__bmp__b__badpalettesize.bmp",
        "pillow__bmp__b__shortfile.bmp",
        "pillow__bmp__q__pal2.bmp",
        "pillow__bmp__q__pal8os2v2-16.bmp",
        "pillow__bmp__q__pal8oversizepal.bmp",
        "pillow__bmp__q__rgb16-231.bmp",
        "pillow__bmp__q__rgb24jpeg.bmp",
        "pillow__bmp__q__rgb24png.bmp",
        "pillow__bmp__q__rgba16-4444.bmp",
        "pillow__bmp__q__rgba32abf.bmp",
        "pillow__broken_data_stream.png",
        "pillow__cross_scan_line_truncated.tga",
        "pillow__expected_to_read.jp2",
        "pillow__l2rgb_read.bmp",
        "pillow__seek_too_large.tif",
        "pillow__truncated_end_chunk.png",
        "pillow__truncated_image.png",
        "pillow__truncated_jpeg.jpg",
        "pillow__ultrahdr.jpg",
    ),
    "format": (
        "made__signature_only.png",
        "made__words.png",
        "pillow__negative_size.ppm",
        "pillow__p_8.tga",
    ),
    "limit": (
        "made__bomb.png",
        "pillow__bmp__b__reallybig.bmp",
        "pillow__decompression_bomb.gif",
    ),
    "range": ("pillow__10ct_32bit_128.tiff",),
    "small": (
        "pillow__orientation_rectangle.jpg",
        "pillow__png_decompression_dos.png",
        "pillow__tga__common__1x1_l_bl_raw.tga",
        "pillow__tga__common__1x1_l_bl_rle.tga",
        "pillow__tga__common__1x1_l_tl_raw.tga",
        "pillow__tga__common__1x1_l_tl_rle.tga",
    ),
}
"""By kind, the files of `make odd` that cannot be protected."""

KIND_OF = {name: kind for kind, names in REFUSED.items() for name in names}
TAKEN = {f"pillow__{name.replace('/', '__')}" for name in (ROOT / "tools" / "odd_files.txt").read_text().split()}


def kinds_of(message: str) -> list[str]:
    return ["damaged" if kind == "cut" else kind for kind, part in KINDS.items() if part in message]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_is_protected_or_says_why_not(path: Path):
    expected = KIND_OF.get(path.name)
    try:
        picture = read_picture(path)
    except PictureError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert kinds_of(message) == [expected or "damaged"]
        assert expected or not is_of_make_odd(path), message
        return
    assert expected is None
    header = read_header(path)
    assert header is not None
    data = encode_picture(picture, output_format(Path(f"x{header.suffix}"), allow_lossy=False), marker="{}")
    again = decode_picture(data, "again")
    assert largest_change_levels(picture, again) == 0
    for before, after in zip(frames_of(picture), frames_of(again), strict=True):
        assert before.gray == after.gray
        assert before.icc_profile == after.icc_profile
        assert before.duration_ms == after.duration_ms
        for first, second in ((before.alpha, after.alpha), (before.low, after.low)):
            assert (first is None) == (second is None)
            assert first is None or np.array_equal(first, second)
    assert (picture.exif, picture.xmp, picture.iptc) == (again.exif, again.xmp, again.iptc) or header.suffix == ".tiff"


def is_of_make_odd(path: Path) -> bool:
    return path.name in TAKEN or path.name.startswith("made__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_header_agrees(path: Path):
    """It is None where the content is no picture, and raises an error of the same kind where the header shows the reason."""
    kind = KIND_OF.get(path.name)
    try:
        found = [] if read_header(path) else ["format"]
    except PictureError as error:
        found = kinds_of(str(error))
    assert found in ([], [kind or "damaged"])
    assert ("format" in found) == (kind == "format")


def test_every_file_of_the_table_is_there():
    if FOLDER == ROOT / "build" / "odd":
        assert {path.name for path in FILES} >= KIND_OF.keys()


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is asked of POSIX")
def test_none_takes_much_memory():
    code = """
        import resource, sys
        from pathlib import Path
        from pca_protect.errors import PictureError
        from pca_protect.io.read import read_picture
        for name in sys.argv[1:]:
            try:
                read_picture(Path(name))
            except PictureError:
                pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < 1.5e9
