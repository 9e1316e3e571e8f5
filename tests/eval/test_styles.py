"""Rendered styles: deterministic, of the same size, and what their names say."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import smooth_picture
from numpy.typing import NDArray

from pca_protect import UsageError
from pca_protect.eval.styles import STYLES


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return np.asarray(smooth_picture(75, 53))


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_a_rendering_is_a_picture_of_the_same_size_and_leaves_the_original_alone(style, picture):
    before = picture.copy()
    rendered = style.render(picture)
    assert rendered.shape == picture.shape
    assert rendered.dtype == np.uint8
    assert np.array_equal(picture, before)
    assert np.array_equal(rendered, picture) == (style.prompt == "")


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_the_same_picture_and_seed_give_the_same_rendering(style, picture):
    assert np.array_equal(style.render(picture), style.render(np.asfortranarray(picture)))


def test_another_seed_moves_the_snow(picture):
    assert not np.array_equal(STYLES["snow"].render(picture, seed=0), STYLES["snow"].render(picture, seed=1))


def colour(rendered: NDArray[np.uint8]) -> NDArray[np.floating]:
    return rendered.reshape(-1, 3).mean(axis=0)


def test_night_is_dark_and_blue_and_sunset_is_warm(picture):
    night, sunset = colour(STYLES["night"].render(picture)), colour(STYLES["sunset"].render(picture))
    assert night.mean() < 0.5 * colour(picture).mean()
    assert night[2] > night[0] * 1.3
    assert sunset[0] > sunset[2] * 1.4


def test_a_sketch_is_nearly_grey_on_light_paper(picture):
    sketch = STYLES["sketch"].render(picture).astype(int)
    assert np.abs(sketch[..., 0] - sketch[..., 2]).max() <= 12
    assert sketch.mean() > 140


def test_snow_is_brighter_and_paler(picture):
    snow = STYLES["snow"].render(picture).astype(int)
    assert snow.mean() > picture.mean() + 20
    assert np.ptp(snow, axis=2).mean() < np.ptp(picture.astype(int), axis=2).mean()


def test_watercolor_has_a_paper_border_and_flat_washes(picture):
    painted = STYLES["watercolor"].render(picture).astype(int)
    assert painted[0].mean() > 200
    noisy = np.clip(picture.astype(int) + np.random.default_rng(0).integers(-30, 31, picture.shape), 0, 255)
    inner = np.s_[15:-15, 20:-20]
    flattened = STYLES["watercolor"].render(noisy.astype(np.uint8)).astype(int)
    assert np.abs(np.diff(flattened[inner], axis=1)).mean() < 0.5 * np.abs(np.diff(noisy[inner], axis=1)).mean()


@pytest.mark.parametrize("array", [np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3))])
def test_what_is_no_rgb_picture_is_refused(array):
    with pytest.raises(UsageError, match=r"cannot be styled; give uint8 \(H, W, 3\)"):
        STYLES["night"].render(array)
