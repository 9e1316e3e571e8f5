"""Protecting a part: outside it the saved bytes are the input's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ASTRONAUT, smooth_picture
from PIL import Image

from pca_protect import PictureError, ProtectConfig, UsageError, protect
from pca_protect.image.masks import editable_mask, read_mask
from pca_protect.io.picture import Picture
from pca_protect.io.read import from_pil
from pca_protect.surrogates.encoder import Surrogate


def picture(width: int = 60, height: int = 40, channels: int = 3) -> Picture:
    return from_pil(smooth_picture(width, height, channels=channels))


def test_everything_is_free_unless_told_otherwise():
    assert editable_mask(picture(), None, None) is None
    assert editable_mask(picture(), None, np.ones((40, 60), dtype=bool)) is None


def test_boxes_count_from_the_upper_left_and_are_cut_at_the_edge():
    free = editable_mask(picture(), "50,30,100,100", None)
    assert free is not None
    assert free.sum() == 10 * 10
    assert free[30:, 50:].all()


def test_the_center_is_the_middle_half_of_each_side():
    free = editable_mask(picture(), "center", None)
    assert free is not None
    assert free[10:30, 15:45].all()
    assert free.sum() == 20 * 30


def test_region_mask_and_transparency_all_have_to_agree():
    rgba = picture(channels=4)
    alpha = np.full((40, 60), 255, dtype=np.uint8)
    alpha[:, :20] = 0
    mask = np.zeros((40, 60), dtype=bool)
    mask[:25] = True
    free = editable_mask(Picture(rgba.rgb, alpha), "10,10,30,30", mask)
    assert free is not None
    rows, columns = np.nonzero(free)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 24, 20, 39)


@pytest.mark.parametrize(
    ("region", "says"),
    [("200,0,10,10", "lies outside its 60x40 px"), ("face", "no face found")],
)
def test_a_region_without_a_pixel_is_one_sentence(region: str, says: str):
    with pytest.raises(PictureError, match=says):
        editable_mask(picture(), region, None)


@pytest.mark.parametrize("region", ["middle", "1,2,3", "1,2,3,x", "-1,0,5,5", "0,0,0,5", ""])
def test_what_is_no_region_is_refused_before_any_work(region: str):
    with pytest.raises(UsageError, match="region"):
        ProtectConfig(region=region)


def test_masks_of_another_size_dark_masks_and_transparent_pictures_are_refused(tmp_path: Path):
    with pytest.raises(PictureError, match="60x40 px and its mask 40x60"):
        editable_mask(picture(), None, np.ones((60, 40), dtype=bool))
    Image.new("L", (20, 20), 90).save(tmp_path / "dark.png")
    with pytest.raises(PictureError, match="dark or transparent everywhere"):
        read_mask(tmp_path / "dark.png")
    with pytest.raises(PictureError, match="fully transparent"):
        editable_mask(Picture(picture().rgb, np.zeros((40, 60), dtype=np.uint8)), None, None)


def test_a_face_is_found_and_little_else():
    pytest.importorskip("skimage")
    free = editable_mask(from_pil(Image.open(ASTRONAUT).convert("RGB")), "face", None)
    assert free is not None
    assert free[90:140, 200:250].all(), "eyes, nose and mouth"
    assert free.mean() < 0.4


@pytest.mark.parametrize("mode", ["diffusion", "concentration"])
def test_saved_bytes_outside_are_the_inputs(tmp_path: Path, tiny: Surrogate, mode: str):
    source = tmp_path / "in.png"
    smooth_picture(200, 140).save(source)
    mask = np.zeros((140, 200), dtype=bool)
    mask[20:100, 30:170] = True
    config = ProtectConfig(mode=mode, steps=3, tile_px=128, region="center")
    record = protect(source, config, surrogate=tiny, mask=mask).save(tmp_path / "out.png")
    before, after = (np.asarray(Image.open(path)) for path in (source, tmp_path / "out.png"))
    inside = np.zeros_like(mask)
    inside[35:100, 50:150] = True
    assert np.array_equal(before[~inside], after[~inside])
    assert (before[inside] != after[inside]).mean() > 0.7
    assert record.gain_over_noise > 1, "the noise control stays inside as well"


def test_colour_under_full_transparency_stays(tmp_path: Path, tiny: Surrogate):
    rgba = np.asarray(smooth_picture(48, 40, channels=4)).copy()
    rgba[..., 3] = 255
    rgba[:, :24, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "in.png")
    protect(tmp_path / "in.png", ProtectConfig(steps=3), surrogate=tiny).save(tmp_path / "out.png")
    after = np.asarray(Image.open(tmp_path / "out.png"))
    assert np.array_equal(after[:, :24], rgba[:, :24])
    assert (after[:, 24:, :3] != rgba[:, 24:, :3]).mean() > 0.7
