"""157 odd, broken and hostile files of other projects' test suites: each is protected or ends in one clear sentence.

The files are not part of the repository. PCA_PROTECT_ODD_FILES names the folder they are in.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from pca_protect.errors import PictureError
from pca_protect.io.frames import frames_of
from pca_protect.io.header import read_header
from pca_protect.io.read import decode_picture, read_picture
from pca_protect.io.write import encode_picture, largest_change_levels, output_format

FOLDER = Path(os.environ.get("PCA_PROTECT_ODD_FILES", ""))
pytestmark = pytest.mark.skipif(
    "PCA_PROTECT_ODD_FILES" not in os.environ, reason="PCA_PROTECT_ODD_FILES does not name the folder of odd files"
)
SECONDS = 20
"""Each takes less than one; this is for machines that are busy."""

ENDS: dict[str, str] = {
    "exif__Landscape_0.jpg": "protected",
    "exif__Landscape_2.jpg": "protected",
    "exif__Landscape_3.jpg": "protected",
    "exif__Landscape_4.jpg": "protected",
    "exif__Landscape_5.jpg": "protected",
    "exif__Landscape_6.jpg": "protected",
    "exif__Landscape_7.jpg": "protected",
    "exif__Landscape_8.jpg": "protected",
    "exif__Portrait_0.jpg": "protected",
    "exif__Portrait_2.jpg": "protected",
    "exif__Portrait_3.jpg": "protected",
    "exif__Portrait_4.jpg": "protected",
    "exif__Portrait_5.jpg": "protected",
    "exif__Portrait_6.jpg": "protected",
    "exif__Portrait_7.jpg": "protected",
    "exif__Portrait_8.jpg": "protected",
    "imagers__images__jpg__portrait_2.jpg": "protected",
    "imagers__images__jpg__progressive__cat.jpg": "protected",
    "imagers__images__png__16bpc__basi0g16.png": "protected",
    "imagers__images__png__16bpc__basn2c16.png": "protected",
    "imagers__images__png__16bpc__basn6a16.png": "protected",
    "imagers__images__tiff__testsuite__ycbcr_lzw_broken.tif": "protected",
    "imagers__images__webp__extended_images__anim.webp": "protected",
    "imagers__reference__png__16bpc__basn6a16.png.png": "protected",
    "imagers__regression__tga__slice-copy-length.tga": "is truncated",
    "immich__albums__nature__polemonium_reptans.jpg": "protected",
    "immich__metadata__faces__portrait-orientation-6.jpg": "protected",
    "immich__metadata__gps-position__thompson-springs.jpg": "protected",
    "pillow__00r0_gray_l.jp2": "is damaged, its pixels cannot be decoded",
    "pillow__00r1_graya_la.jp2": "is damaged, its pixels cannot be decoded",
    "pillow__10ct_32bit_128.tiff": "has float samples outside 0 to 1",
    "pillow__16_bit_noise.tif": "protected",
    "pillow__16bit.MM.deflate.tif": "protected",
    "pillow__16bit.cropped.jp2": "protected",
    "pillow__200x32_p_bl_raw_origin.tga": "protected",
    "pillow__anim_frame2.webp": "protected",
    "pillow__apng__chunk_no_fctl.png": "is damaged (APNG contains frame sequence errors)",
    "pillow__apng__mode_16bit.png": "protected",
    "pillow__apng__mode_grayscale_alpha.png": "protected",
    "pillow__apng__mode_palette.png": "protected",
    "pillow__apng__mode_palette_1bit_alpha.png": "protected",
    "pillow__apng__mode_palette_alpha.png": "protected",
    "pillow__apng__syntax_num_frames_zero.png": "is damaged (cannot load this image)",
    "pillow__avif__hopper.avif": "protected",
    "pillow__avif__rot0mir0.avif": "protected",
    "pillow__avif__rot0mir1.avif": "protected",
    "pillow__avif__rot1mir0.avif": "protected",
    "pillow__avif__rot1mir1.avif": "protected",
    "pillow__avif__rot2mir0.avif": "protected",
    "pillow__avif__rot2mir1.avif": "protected",
    "pillow__avif__rot3mir0.avif": "protected",
    "pillow__avif__rot3mir1.avif": "protected",
    "pillow__avif__transparency.avif": "protected",
    "pillow__avif__xmp_tags_orientation.avif": "protected",
    "pillow__bmp__b__badbitcount.bmp": "is damaged or uses an unsupported feature (Unsupported BMP pixel depth (30000))",
    "pillow__bmp__b__badbitssize.bmp": "protected",
    "pillow__bmp__b__badheadersize.bmp": "is damaged or uses an unsupported feature (Unsupported BMP header type (66))",
    "pillow__bmp__b__badpalettesize.bmp": "is damaged or uses an unsupported feature (Unsupported BMP Palette size (305402420))",
    "pillow__bmp__b__reallybig.bmp": "3000000x2000000 px is over the limit of 200 megapixels",
    "pillow__bmp__b__shortfile.bmp": "is truncated",
    "pillow__bmp__g__rgb16.bmp": "protected",
    "pillow__bmp__html__pal1.png": "protected",
    "pillow__bmp__q__pal1p1.bmp": "protected",
    "pillow__bmp__q__pal2.bmp": "is damaged or uses an unsupported feature (Unsupported BMP pixel depth (2))",
    "pillow__bmp__q__pal8os2v2-16.bmp": "is damaged or uses an unsupported feature (Unsupported BMP header type (16))",
    "pillow__bmp__q__pal8oversizepal.bmp": "is damaged (invalid palette size)",
    "pillow__bmp__q__rgb16-231.bmp": "is damaged or uses an unsupported feature (Unsupported BMP bitfields layout)",
    "pillow__bmp__q__rgb24jpeg.bmp": "is damaged or uses an unsupported feature (Unsupported BMP pixel depth (0))",
    "pillow__bmp__q__rgb24png.bmp": "is damaged or uses an unsupported feature (Unsupported BMP pixel depth (0))",
    "pillow__bmp__q__rgba16-4444.bmp": "is damaged or uses an unsupported feature (Unsupported BMP bitfields layout)",
    "pillow__bmp__q__rgba32abf.bmp": "is damaged or uses an unsupported feature (Unsupported BMP compression (6))",
    "pillow__bmp__q__rgba32h56.bmp": "protected",
    "pillow__broken_data_stream.png": "is damaged, its pixels cannot be decoded",
    "pillow__child_ifd.tiff": "protected",
    "pillow__crash-0da013a13571cc8eb457a39fee8db18f8a3c7127.tif": "protected",
    "pillow__crash-2020-10-test.tif": "is damaged (Missing dimensions)",
    "pillow__crash-63b1dffefc8c075ddc606c0a2f5fdc15ece78863.tif": "is damaged (Missing dimensions)",
    "pillow__crash-74d2a78403a5a59db1fb0a2b8735ac068a75f6e3.tif": "protected",
    "pillow__crash-86214e58da443d2b80820cff9677a38a33dcbbca.tif": "is damaged, its pixels cannot be decoded",
    "pillow__crash-f46f5b2f43c370fe65706c11449f567ecc345e74.tif": "is damaged, its pixels cannot be decoded",
    "pillow__cross_scan_line_truncated.tga": "is truncated",
    "pillow__decompression_bomb.gif": "has 4365 megapixels, which is over the limit of 200",
    "pillow__decompression_bomb_extents.gif": "has 4308 megapixels, which is over the limit of 200",
    "pillow__dispose_prev_first_frame_seeked.png": "protected",
    "pillow__empty_gps_ifd.jpg": "protected",
    "pillow__exif_imagemagick_orientation.png": "protected",
    "pillow__expected_to_read.jp2": "is damaged (Expected to read 8 bytes but only got 0.)",
    "pillow__frame_size.mpo": "protected",
    "pillow__g4-multi.tiff": "protected",
    "pillow__g4_orientation_2.tif": "protected",
    "pillow__g4_orientation_3.tif": "protected",
    "pillow__g4_orientation_4.tif": "protected",
    "pillow__g4_orientation_5.tif": "protected",
    "pillow__g4_orientation_6.tif": "protected",
    "pillow__g4_orientation_7.tif": "protected",
    "pillow__g4_orientation_8.tif": "protected",
    "pillow__hopper.Lab.tif": "protected",
    "pillow__hopper.png": "protected",
    "pillow__hopper_16bit_qtables.jpg": "protected",
    "pillow__hopper_8bit.ppm": "protected",
    "pillow__hopper_gray.jpg": "protected",
    "pillow__hopper_orientation_2.jpg": "protected",
    "pillow__hopper_orientation_2.webp": "protected",
    "pillow__hopper_orientation_3.jpg": "protected",
    "pillow__hopper_orientation_3.webp": "protected",
    "pillow__hopper_orientation_4.jpg": "protected",
    "pillow__hopper_orientation_4.webp": "protected",
    "pillow__hopper_orientation_5.jpg": "protected",
    "pillow__hopper_orientation_5.webp": "protected",
    "pillow__hopper_orientation_6.jpg": "protected",
    "pillow__hopper_orientation_6.webp": "protected",
    "pillow__hopper_orientation_7.jpg": "protected",
    "pillow__hopper_orientation_7.webp": "protected",
    "pillow__hopper_orientation_8.jpg": "protected",
    "pillow__hopper_orientation_8.webp": "protected",
    "pillow__i_trns.png": "protected",
    "pillow__icc_profile.png": "protected",
    "pillow__icc_profile_big.jpg": "protected",
    "pillow__ignore_frame_size.mpo": "protected",
    "pillow__imagedraw_outline_rectangle_L.png": "protected",
    "pillow__imagedraw_wide_line_dot.png": "protected",
    "pillow__iss634.webp": "protected",
    "pillow__l2rgb_read.bmp": "is truncated",
    "pillow__la.tga": "protected",
    "pillow__negative_size.ppm": "is not in a recognised image format",
    "pillow__orientation_rectangle.jpg": "2x1 px is too small",
    "pillow__p_8.tga": "is not in a recognised image format",
    "pillow__pil123rgba.png": "protected",
    "pillow__pil136.tiff": "protected",
    "pillow__pil_sample_cmyk.jpg": "protected",
    "pillow__png_decompression_dos.png": "1x1 px is too small",
    "pillow__pport_g4.tif": "protected",
    "pillow__rdf.tif": "protected",
    "pillow__rgb_trns_ycbc.jp2": "protected",
    "pillow__seek_too_large.tif": "is damaged (Unable to seek to frame)",
    "pillow__separate_planar_extra_samples.tiff": "protected",
    "pillow__sugarshack.mpo": "protected",
    "pillow__test-card-lossy-tiled.jp2": "protected",
    "pillow__test_extents.gif": "protected",
    "pillow__test_extents_transparency.gif": "protected",
    "pillow__tga__common__1x1_l_bl_raw.tga": "1x1 px is too small",
    "pillow__tga__common__1x1_l_bl_rle.tga": "1x1 px is too small",
    "pillow__tga__common__1x1_l_tl_raw.tga": "1x1 px is too small",
    "pillow__tga__common__1x1_l_tl_rle.tga": "1x1 px is too small",
    "pillow__tga__common__200x32_l_bl_rle.tga": "protected",
    "pillow__tga__common__200x32_rgb_bl_raw.tga": "protected",
    "pillow__tga__common__200x32_rgba_bl_raw.tga": "protected",
    "pillow__tiff_strip_cmyk_jpeg.tif": "protected",
    "pillow__total-pages-zero.tif": "protected",
    "pillow__transparent.webp": "protected",
    "pillow__truncated_end_chunk.png": "is truncated",
    "pillow__truncated_exif_dpi.jpg": "protected",
    "pillow__truncated_image.png": "is truncated",
    "pillow__truncated_jpeg.jpg": "is truncated",
    "pillow__ultrahdr.jpg": "is truncated",
    "pillow__xmp_tags_orientation.png": "protected",
    "pillow__xmp_tags_orientation_exiftool.png": "protected",
}
"""By file, "protected" or the words of its sentence."""


@pytest.mark.parametrize("name", ENDS)
def test_each_is_protected_or_says_why_not(name: str):
    path = FOLDER / name
    start = time.monotonic()
    if ENDS[name] != "protected":
        with pytest.raises(PictureError) as caught:
            read_picture(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert ENDS[name] in message
        assert "\n" not in message
        assert "Traceback" not in message
        return
    header = read_header(path)
    assert header is not None
    picture = read_picture(path)
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
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("name", ENDS)
def test_the_header_agrees(name: str):
    """It says None of what is no picture, and the same sentence where it can tell already."""
    path = FOLDER / name
    said = ""
    header = None
    try:
        header = read_header(path)
    except PictureError as error:
        said = str(error)
    if said:
        assert ENDS[name] in said
    else:
        assert (header is None) == (ENDS[name] == "is not in a recognised image format")


def test_the_folder_is_the_one_meant():
    assert {path.name for path in FOLDER.iterdir()} - {"inventory.csv"} == set(ENDS)


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
    command = [sys.executable, "-c", textwrap.dedent(code), *(str(FOLDER / name) for name in ENDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS * 20)
    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < 1.5e9
