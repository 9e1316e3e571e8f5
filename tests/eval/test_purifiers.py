from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image

from pca_protect.eval.purifiers.filters import FILTERS


def perturbed(levels: int = 16) -> tuple[np.ndarray, np.ndarray]:
    clean = np.asarray(smooth_picture(75, 53))
    signs = np.random.default_rng(0).choice([-levels, levels], clean.shape)
    return clean, (clean + signs).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("purifier", FILTERS.values(), ids=FILTERS)
def test_keeps_size_and_input_and_is_repeatable(purifier):
    _, attacked = perturbed()
    before = attacked.copy()
    purified = purifier(attacked)
    assert (purified.shape, purified.dtype) == (attacked.shape, np.uint8)
    assert not np.array_equal(purified, attacked)
    assert np.array_equal(attacked, before)
    assert np.array_equal(purifier(attacked), purified)
    assert np.array_equal(purifier(attacked, seed=1), purified) == ("noise" not in purifier.name)


@pytest.mark.parametrize(
    ("name", "levels"),
    [("jpeg-50", 16), ("half-size", 16), ("jpeg-75-half-size", 16), ("blur-1", 16), ("adverse-cleaner", 8)],
)
def test_removes_much_of_a_fine_perturbation(name: str, levels: int):
    clean, attacked = perturbed(levels)
    left = FILTERS[name](attacked).astype(float) - clean
    assert left.std() < 0.85 * (attacked.astype(float) - clean).std()


def test_stronger_compression_changes_more():
    _, attacked = perturbed()
    changes = [
        np.std(FILTERS[f"jpeg-{quality}"](attacked) - attacked.astype(float)) for quality in (95, 85, 75, 65, 50)
    ]
    assert changes == sorted(changes)


def test_jpeg_is_what_pillow_would_write():
    _, attacked = perturbed()
    file = io.BytesIO()
    Image.fromarray(attacked).save(file, "JPEG", quality=75, subsampling=2)
    assert np.array_equal(FILTERS["jpeg-75"](attacked), np.asarray(Image.open(file)))


def test_an_upload_scales_large_pictures_only():
    small = np.asarray(smooth_picture(60, 40))
    large = np.tile(np.indices((40, 2000)).sum(axis=0)[..., None] % 2 * 255, 3).astype(np.uint8)
    assert FILTERS["upload"](small).std() > 0.8 * small.std()
    assert FILTERS["upload"](large).std() < 0.7 * large.std(), "the finest pattern does not survive scaling"


def test_noise_has_the_strength_of_its_name():
    grey = np.full((64, 64, 3), 128, np.uint8)
    assert FILTERS["noise-0.05"](grey).std() / 255 == pytest.approx(0.05, rel=0.05)
    assert FILTERS["noise-0.1"](grey).std() / 255 == pytest.approx(0.1, rel=0.05)


def test_a_picture_of_one_pixel_passes():
    assert all(purifier(np.zeros((1, 1, 3), np.uint8)).shape == (1, 1, 3) for purifier in FILTERS.values())
