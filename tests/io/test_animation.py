"""Frames of GIF and APNG composed as browsers do: blending over half-transparent pixels, disposal, offsets."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image

from pca_protect.errors import PictureError
from pca_protect.io.animation import Piece, composed
from pca_protect.io.frames import frames_of
from pca_protect.io.picture import Picture
from pca_protect.io.read import decode_picture


def saved(frames: list[Image.Image], format_name: str, **options: object) -> bytes:
    file = io.BytesIO()
    frames[0].save(file, format_name, save_all=True, append_images=frames[1:], duration=40, **options)
    return file.getvalue()


def over(front: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Exact blending of one pixel, by fractions."""
    alpha_front, alpha_back = Fraction(int(front[3]), 255), Fraction(int(back[3]), 255)
    alpha = alpha_front + alpha_back * (1 - alpha_front)
    if alpha == 0:
        return back
    colours = [(alpha_front * int(front[c]) + alpha_back * (1 - alpha_front) * int(back[c])) / alpha for c in range(3)]
    return np.array([*(float(colour) for colour in colours), float(alpha * 255)])


def test_half_transparent_pixels_blend_over_half_transparent_ones():
    levels = (0, 1, 60, 128, 200, 254, 255)
    grid = np.array([[(10, 200, 90, a), (250, 0, 120, b)] for a in levels for b in levels], np.uint8)
    back, front = grid[None, :, 0], grid[None, :, 1]
    pieces = [Piece(back, 0, 0, 1, False, "keep"), Piece(front, 0, 0, 2, True, "keep")]
    _, (blended, _) = composed(pieces, grid.shape[0], 1)
    expected = np.array([over(pair[1], pair[0]) for pair in grid])
    assert np.abs(blended[0] - expected).max() <= 0.5 + 1e-9


def shown(pictures: Picture) -> list[np.ndarray]:
    frames = []
    for frame in frames_of(pictures):
        alpha = np.full(frame.rgb.shape[:2], 255, np.uint8) if frame.alpha is None else frame.alpha
        frames.append(np.dstack([frame.rgb, alpha]))
    return frames


def patch(left: int, alpha: int) -> Image.Image:
    array = np.zeros((16, 24, 4), np.uint8)
    array[4:10, left : left + 8] = (200, 30, 40, alpha)
    return Image.fromarray(array)


@pytest.mark.parametrize(
    ("disposal", "at_first", "at_second"),
    [(0, 128, 128), (1, 0, 128), (2, 0, 128)],
)
def test_apng_frames_are_blended_and_disposed_of(disposal: int, at_first: int, at_second: int):
    frames = [Image.new("RGBA", (24, 16)), patch(2, 128), patch(12, 128)]
    data = saved(frames, "PNG", blend=1, disposal=disposal)
    first, second, third = shown(decode_picture(data, "x"))
    assert not first.any()
    assert second[5, 4].tolist() == [200, 30, 40, 128]
    assert (third[5, 4, 3], third[5, 14].tolist()) == (at_first, [200, 30, 40, at_second])


def test_apng_over_an_opaque_picture_stays_opaque():
    background = smooth_picture(24, 16, channels=4)
    background.putalpha(255)
    data = saved([background, patch(2, 128)], "PNG", blend=1)
    _, second = shown(decode_picture(data, "x"))
    expected = over(np.array([200, 30, 40, 128]), np.asarray(background)[5, 4])
    assert np.abs(second[5, 4] - expected).max() <= 0.51
    assert (second[..., 3] == 255).all()


def palette_frames(count: int) -> list[Image.Image]:
    frames = []
    for number in range(count):
        frame = Image.new("P", (24, 16), 0)
        frame.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200])
        frame.paste(number + 1, (2 + 8 * number, 2, 8 + 8 * number, 8))
        frames.append(frame)
    return frames


def test_a_gif_frame_that_is_cleared_leaves_transparency():
    data = saved(palette_frames(2), "GIF", disposal=2, optimize=False, background=0)
    first, second = shown(decode_picture(data, "x"))
    assert (first[..., 3] == 255).all()
    assert second[4, 12].tolist() == [0, 200, 0, 255]
    assert second[4, 4, 3] == 0 or second[4, 4].tolist() == [10, 20, 30, 255]  # cleared, unless the frame covers it
    assert (decode_picture(data, "x").read_warnings) == ()


@pytest.mark.parametrize("count", [1, 2])
def test_a_first_gif_frame_with_an_offset_has_transparency_around_it(count: int):
    data = bytearray(saved(palette_frames(count), "GIF", optimize=False))
    data[6:10] = (30).to_bytes(2, "little") + (20).to_bytes(2, "little")  # a larger canvas
    place = data.index(b"\x2c\0\0\0\0\x18\0\x10\0")
    data[place + 1], data[place + 3] = 5, 3
    first = shown(decode_picture(bytes(data), "x"))[0]
    assert first.shape == (20, 30, 4)
    assert (first[:3, ..., 3] == 0).all()
    assert (first[:, :5, 3] == 0).all()
    assert first[3 + 4, 5 + 4].tolist() == [200, 0, 0, 255]


def test_gif_palettes_and_interlacing_are_read():
    frames = palette_frames(3)
    frames[1].putpalette([9, 9, 9, 1, 2, 3, 70, 80, 90, 5, 6, 7])  # a local one
    data = saved(frames, "GIF", optimize=False, interlace=1, loop=0)
    picture = decode_picture(data, "x")
    for frame, expected in zip(shown(picture), frames, strict=True):
        assert np.array_equal(frame[..., :3], np.asarray(expected.convert("RGB")))
    assert picture.loop == 0


@pytest.mark.parametrize("format_name", ["PNG", "GIF"])
def test_truncated_animations_are_refused(format_name: str):
    noisy = [smooth_picture(40, 30, seed=seed).quantize(64) for seed in range(4)]
    data = saved(noisy, format_name)
    for share in (0.35, 0.6, 0.9):
        with pytest.raises(PictureError, match=r"truncated|damaged"):
            decode_picture(data[: round(len(data) * share)], "x")
