"""What holds for every picture, size, budget and region, tried on examples that hypothesis draws."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pca_protect import PictureError, ProtectConfig, Surrogate, protect
from pca_protect.attack.ensemble import fill_budget
from pca_protect.image.lanczos import shrinking
from pca_protect.image.masks import editable_mask
from pca_protect.image.tiling import smallest_tile, spans, window_grid
from pca_protect.io.read import MIN_SIDE, decode_picture, from_pil
from pca_protect.modes import MODES

settings.register_profile("here", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("here")

SIDES = st.integers(MIN_SIDE, 40)


@st.composite
def pictures(draw: st.DrawFn) -> Image.Image:
    """Of every kind that PNG holds: grey or colour, 8 or 16 bits, with or without alpha."""
    width, height, seed = draw(SIDES), draw(SIDES), draw(st.integers(0, 99))
    kind = draw(st.sampled_from(("RGB", "L", "RGBA", "LA", "I;16")))
    photo = smooth_picture(width, height, seed=seed)
    levels = np.random.default_rng(seed)
    if kind == "I;16":
        return Image.fromarray(levels.integers(0, 65536, (height, width), dtype=np.uint16))
    photo = photo.convert(kind[:-1] if kind.endswith("A") else kind)
    if kind.endswith("A"):
        photo.putalpha(Image.fromarray(levels.choice(np.array([0, 90, 255], np.uint8), (height, width))))
    return photo


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> tuple[int, int, int, int]:
    """x, y, width, height of a rectangle that lies in a picture."""
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y))


@settings(max_examples=40)
@given(data=st.data(), image=pictures(), budget=st.integers(1, 40), mode=st.sampled_from(sorted(MODES)))
def test_the_saved_file_keeps_to_the_budget_the_region_and_the_alpha(
    tiny: Surrogate, data: st.DataObject, image: Image.Image, budget: int, mode: str
):
    x, y, width, height = data.draw(boxes(*image.size))
    config = ProtectConfig(
        mode=mode, preset="balanced", steps=3, budget_levels=budget, region=f"{x},{y},{width},{height}"
    )
    before = from_pil(image)
    try:
        protected = protect(image, config, surrogate=tiny, evaluate=False)
    except PictureError:
        region = before.alpha[y : y + height, x : x + width] if before.alpha is not None else np.ones(1)
        assert not region.any(), "only what is fully transparent cannot be protected"
        return
    written, record = protected.encoded("PNG")
    after = decode_picture(written, "again")
    change = np.abs(after.rgb.astype(int) - before.rgb)
    assert change.max() == record.max_change_levels <= budget
    change[y : y + height, x : x + width] = 0
    assert not change.any(), "outside the region"
    raw_before, raw_after = (np.asarray(each) for each in (image, Image.open(io.BytesIO(written))))
    if image.mode.endswith("A"):
        assert np.array_equal(raw_before[..., -1], raw_after[..., -1])
        transparent = raw_before[..., -1] == 0
        assert np.array_equal(before.rgb[transparent], after.rgb[transparent])
    if image.mode == "I;16":
        assert np.array_equal(raw_before & 255, raw_after.astype(np.uint16) & 255)


@given(length=st.integers(1, 5000), grid_px=st.sampled_from((16, 32, 48, 64, 128)), further_px=st.integers(0, 1000))
def test_windows_cover_every_pixel_exactly_once(length: int, grid_px: int, further_px: int):
    tile_px = smallest_tile(grid_px) + further_px
    found = spans(length, tile_px=tile_px, grid_px=grid_px)
    assert (found[0].first, found[-1].last) == (0, length)
    assert all(left.last == right.first for left, right in pairwise(found))
    for span in found:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= length
        assert span.stop - span.start <= tile_px
        assert span.start % grid_px == span.first % grid_px == 0


@given(st.lists(st.integers(1, 64), max_size=4))
def test_the_grid_suits_every_encoder(multiples: list[int]):
    assert all(window_grid(multiples) % multiple == 0 for multiple in (16, *multiples))


@given(length=st.integers(2, 300), data=st.data())
def test_resizing_weights_add_up_to_one_and_parts_to_the_whole(length: int, data: st.DataObject):
    smaller = data.draw(st.integers(1, length))
    first, whole = shrinking(length, smaller, 0, length)
    assert (first, whole.shape) == (0, (smaller, length))
    assert whole.sum(axis=1) == pytest.approx(1, abs=1e-5)
    cut = data.draw(st.integers(1, length - 1))
    together = np.zeros_like(whole)
    for start, stop in ((0, cut), (cut, length)):
        first, part = shrinking(length, smaller, start, stop)
        together[first : first + len(part), start:stop] = part
    assert np.array_equal(together, whole)


@given(image=pictures(), data=st.data())
def test_free_pixels_are_those_of_the_region_the_mask_and_the_alpha(image: Image.Image, data: st.DataObject):
    picture = from_pil(image)
    x, y, width, height = data.draw(boxes(*image.size))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random((picture.height, picture.width)) < 0.8
    rows, columns = np.indices(mask.shape)
    expected = mask & (rows >= y) & (rows < y + height) & (columns >= x) & (columns < x + width)
    if picture.alpha is not None:
        expected &= picture.alpha > 0
    if expected.any():
        found = editable_mask(picture, f"{x},{y},{width},{height}", mask)
        assert np.array_equal(np.ones_like(mask) if found is None else found, expected)
    else:
        with pytest.raises(PictureError):
            editable_mask(picture, f"{x},{y},{width},{height}", mask)


@given(seed=st.integers(0, 999), levels=st.integers(1, 64))
def test_filling_the_budget_stays_in_it_and_in_the_range_of_pixels(seed: int, levels: int):
    generator = torch.Generator().manual_seed(seed)
    radius = levels / 255
    clean = torch.rand(2, 3, 5, 7, generator=generator).round(decimals=1)
    change = (torch.rand(clean.shape, generator=generator) * 2 - 1) * radius
    change[:, :, 0] = 0.1 / 255
    filled = fill_budget(clean + change, clean, radius=radius)
    assert float(filled.min()) >= 0
    assert float(filled.max()) <= 1
    reached = (filled - clean).abs()
    assert float(reached.max()) <= radius + 1e-6
    assert not reached[:, :, 0].any()
    inside = (clean > radius) & (clean < 1 - radius) & (change.abs() > 1 / 255)
    assert torch.allclose(reached[inside], torch.tensor(radius))
