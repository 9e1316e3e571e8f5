"""Local edits change one part of a picture and leave the rest as it was."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pca_protect.eval.local_edits import LOCAL_EDITS, background, sky


def landscape() -> NDArray[np.uint8]:
    """A pale blue sky over dark ground, 60x80, with a bright spot in the ground."""
    picture = np.full((60, 80, 3), (60, 70, 40), np.uint8)
    picture[:30] = (150, 180, 220)
    picture[45:50, 60:70] = (150, 180, 220)
    return picture


def test_sky_is_the_bright_area_that_reaches_down_from_the_upper_border():
    mask = sky(landscape() / np.float32(255))
    assert mask.shape == (60, 80)
    assert mask[:25].min() > 0.9
    assert mask[35:].max() < 0.1, "not the bright spot in the ground"
    warm = landscape()[..., ::-1]
    assert sky(warm / np.float32(255)).max() < 0.1


def test_background_is_what_surrounds_the_middle():
    mask = background(np.zeros((60, 80, 3), np.float32))
    assert mask[0].min() == mask[:, 0].min() == 1
    assert mask[25:36, 28:53].max() == 0


@pytest.mark.parametrize(
    ("name", "changed", "same"), [("red-sky", (5, 40), (55, 10)), ("grey-background", (3, 3), (30, 40))]
)
def test_only_its_part_changes(name: str, changed: tuple[int, int], same: tuple[int, int]):
    picture = landscape()
    rendered = LOCAL_EDITS[name].render(picture)
    assert rendered.shape == picture.shape
    assert np.array_equal(rendered[same], picture[same])
    red, green, blue = (int(value) for value in rendered[changed])
    if name == "red-sky":
        assert red > 2 * max(green, blue)
    else:
        assert max(red, green, blue) - min(red, green, blue) <= 1
        assert abs(red - float(picture[changed] @ (0.299, 0.587, 0.114))) < 1
