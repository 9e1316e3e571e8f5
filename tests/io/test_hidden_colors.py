"""Colours under full transparency: a warning, and their removal."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image

from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig
from pca_protect.io.hidden_colors import HIDDEN
from pca_protect.io.picture import Picture
from pca_protect.io.read import decode_picture
from pca_protect.io.write import encode_picture


def cut_out(*, hidden: bool, deep: bool = False) -> Picture:
    rgb = np.asarray(smooth_picture(20, 14)).copy()
    alpha = np.full((14, 20), 65535 if deep else 255, np.uint16 if deep else np.uint8)
    alpha[:, :8] = 0
    if not hidden:
        rgb[:, :8] = 255
    return Picture(rgb, alpha=alpha, low=rgb[::-1].copy() if deep else None)


@pytest.mark.parametrize("deep", [False, True])
def test_hidden_colours_are_warned_about_and_removed_on_request(deep: bool):
    picture = decode_picture(encode_picture(cut_out(hidden=True, deep=deep), "PNG"), "x")
    assert picture.read_warnings == (HIDDEN,)
    assert OutputOptions().prepared(picture).rgb is picture.rgb
    cleared = OutputOptions(clear_hidden=True).prepared(picture)
    assert cleared.read_warnings == ()
    assert (cleared.rgb[:, :8] == 0).all()
    assert np.array_equal(cleared.rgb[:, 8:], picture.rgb[:, 8:])
    assert np.array_equal(cleared.alpha, picture.alpha)
    if deep:
        assert (cleared.low[:, :8] == 0).all()


def test_one_colour_and_opaque_pictures_hide_nothing():
    assert decode_picture(encode_picture(cut_out(hidden=False), "PNG"), "x").read_warnings == ()
    opaque = replace(cut_out(hidden=True), alpha=np.full((14, 20), 255, np.uint8))
    assert decode_picture(encode_picture(opaque, "PNG"), "x").read_warnings == ()


def test_every_frame_is_cleared():
    frames = [Image.fromarray(cut_out(hidden=True).samples()), Image.fromarray(cut_out(hidden=True).samples()[::-1])]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=40)
    cleared = OutputOptions(clear_hidden=True).prepared(decode_picture(file.getvalue(), "x"))
    for frame in (cleared, *cleared.following):
        assert (frame.rgb[frame.alpha == 0] == 0).all()


def test_digests_of_earlier_requests_are_those_of_the_defaults():
    plain = OutputOptions().digest(ProtectConfig())
    assert OutputOptions(clear_hidden=True).digest(ProtectConfig()) != plain
    assert OutputOptions(marker=False).digest(ProtectConfig()) != plain
    assert plain == OutputOptions(clear_hidden=False, marker=True).digest(ProtectConfig())
