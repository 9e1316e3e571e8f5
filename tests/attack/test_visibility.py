"""How visible a change is: golden values, the three facts about the eye, and the limit on 8-bit levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from pca_protect.attack import visibility
from pca_protect.attack.visibility import (
    FLAT_THRESHOLD,
    Visibility,
    energy_of,
    in_levels,
    scale_to_visibility,
    visible_levels,
)
from pca_protect.image.tensors import to_tensor

Levels = NDArray[np.uint8]


def photo(width: int = 45, height: int = 37, seed: int = 0) -> Levels:
    return np.asarray(smooth_picture(width, height, seed=seed))


def noisy(levels: Levels, most: int, seed: int = 0) -> Levels:
    noise = np.random.default_rng(seed).integers(-most, most, levels.shape, endpoint=True)
    return (levels + noise).clip(0, 255).astype(np.uint8)


def grey(side: int = 40, level: float = 0.5) -> Tensor:
    return torch.full((1, 3, side, side), level, dtype=torch.float64)


def stripes(period_px: int, side: int = 40) -> Tensor:
    """Across, `(1, 1, side, side)` of -1 and 1."""
    signs = 1.0 - 2.0 * ((torch.arange(side) // (period_px // 2)) % 2)
    return signs.double().expand(1, 1, side, side)


def seen(clean: Tensor, change: Tensor) -> float:
    return in_levels(float(Visibility(clean).energy(clean + change)[0]))


def by_formula(clean: Levels, changed: Levels) -> float:
    """Independently, with scipy's filter."""
    to_ycc = np.array([(0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411)])

    def blurred(plane: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
        return gaussian_filter(plane, sigma, mode="nearest", radius=math.ceil(3 * sigma))

    before, after = (levels / 255.0 @ to_ycc.T for levels in (clean, changed))
    luma = before[..., 0]
    threshold = 0.03 + np.sqrt(blurred((luma - blurred(luma, 2.0)) ** 2, 2.0))
    y, cb, cr = (
        blurred(plane, sigma) / threshold
        for plane, sigma in zip(np.moveaxis(after - before, -1, 0), (0.7, 1.5, 1.5), strict=True)
    )
    return 7.65 * math.sqrt((y**2 + 0.5 * (cb**2 + cr**2)).mean())


def test_an_even_change_of_a_flat_patch_is_the_unit():
    flat = np.full((24, 31, 3), 90, np.uint8)
    assert visible_levels(flat, flat + np.uint8(5)) == pytest.approx(5, rel=1e-5), "float32"
    assert visible_levels(flat, flat - np.uint8(9)) == pytest.approx(9, rel=1e-5)
    assert energy_of(in_levels(0.7)) == pytest.approx(0.7)
    assert in_levels(1.0) == pytest.approx(FLAT_THRESHOLD * 255)


@pytest.mark.parametrize(("width", "height"), [(45, 37), (8, 8), (9, 61)])
def test_is_what_the_formula_says(width: int, height: int):
    clean = photo(width, height)
    changed = noisy(clean, 16)
    assert visible_levels(clean, changed) == pytest.approx(by_formula(clean, changed), rel=1e-4), "float32"


def test_no_change_is_invisible():
    clean = photo()
    assert visible_levels(clean, clean) == 0
    pixels = to_tensor([clean, photo(seed=1)]).requires_grad_()
    energy = Visibility(pixels.detach()).energy(pixels)
    (gradient,) = torch.autograd.grad(energy.sum(), pixels)
    assert torch.equal(energy, torch.zeros(2))
    assert torch.equal(gradient, torch.zeros_like(pixels)), "and not nan, as of a root at zero"


def test_grows_in_proportion_to_the_change():
    clean = to_tensor([photo()]).double()
    change = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 50
    one = seen(clean, change)
    assert seen(clean, 3 * change) == pytest.approx(3 * one, rel=1e-9)
    assert seen(clean, -change) == pytest.approx(one, rel=1e-9)


def test_busy_places_hide_more_than_flat_ones():
    change = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 50
    hidden = [seen(grey() + contrast * stripes(4), change) for contrast in (0.0, 0.1, 0.4)]
    assert hidden[0] > 2 * hidden[1] > 4 * hidden[2]
    half = torch.cat([torch.zeros(1, 1, 40, 20), 0.2 * stripes(4)[..., 20:]], dim=-1)
    energy = Visibility(grey() + half).energy_map(grey() + half + 0.02)
    assert float(energy[..., :10].min()) > 10 * float(energy[..., 30:].max())


def test_fine_changes_count_less_than_coarse_ones():
    shown = [seen(grey(), 0.02 * stripes(period)) for period in (2, 4, 8, 20)]
    assert shown == sorted(shown)
    assert shown[-1] > 4 * shown[0]


def test_changes_of_colour_count_less_than_changes_of_brightness():
    luma = torch.ones(3, dtype=torch.float64)
    for colour in ((1.0, 0.0, -0.299 / 0.114), (-0.587 / 0.299, 1.0, 0.0)):  # no brightness in either
        chroma = torch.tensor(colour, dtype=torch.float64)
        chroma *= luma.norm() / chroma.norm()
        for period, factor in ((40, 1.3), (4, 3.0)):
            pattern = 0.02 * stripes(period)
            as_luma, as_chroma = (seen(grey(), pattern * one.view(1, 3, 1, 1)) for one in (luma, chroma))
            assert as_luma > factor * as_chroma, "the finer, the more so"


@pytest.mark.parametrize("height", [511, 512, 513, 541, 1025, 1041])
def test_strips_are_the_whole_picture(height: int):
    """Whatever is seen, and whatever hides it, lies at a seam."""
    clean, rows = np.full((height, 19, 3), 90, np.uint8), slice(504, 512)
    clean[rows] = noisy(clean[rows], 60)
    for changed_rows in (slice(508, 511), slice(510, 520)):
        changed = clean.copy()
        changed[changed_rows] = noisy(changed[changed_rows], 12)
        whole = Visibility(to_tensor([clean])).energy(to_tensor([changed]))
        assert visible_levels(clean, changed) == pytest.approx(in_levels(float(whole[0])), rel=1e-5)


def test_pictures_of_a_batch_do_not_see_each_other():
    clean = to_tensor([photo(), photo(seed=1)])
    changed = to_tensor([noisy(photo(), 3), noisy(photo(seed=1), 30)])
    together = Visibility(clean).energy(changed)
    alone = torch.cat(
        [Visibility(clean[one : one + 1]).energy(changed[one : one + 1]) for one in range(2)],
    )
    assert torch.allclose(together, alone, rtol=1e-5)


def test_gradient():
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    changed = (clean + 0.05 * torch.randn(clean.shape, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(Visibility(clean).energy, changed)


@pytest.mark.parametrize("most", [0.05, 0.4, 2.0])
def test_fading_keeps_the_limit_on_whole_levels(most: float):
    clean = photo()
    changed = noisy(clean, 30)
    assert visible_levels(clean, changed) > 2.0
    shown = scale_to_visibility(clean, changed, most)
    assert shown.dtype == np.uint8
    assert 0.75 * most < visible_levels(clean, shown) <= most or most == 0.05, "whole levels make the last one coarse"
    assert (np.minimum(clean, changed) <= shown).all()
    assert (shown <= np.maximum(clean, changed)).all()
    assert not np.array_equal(shown, clean) or most == 0.05
    drift = [float((levels.astype(int) - clean).mean()) for levels in (shown, changed)]
    assert abs(drift[0]) < 0.1 + abs(drift[1]), "cutting off instead of rounding would darken by half a level"


def test_fading_leaves_alone_what_is_within_the_limit():
    clean = photo()
    changed = noisy(clean, 4)
    assert scale_to_visibility(clean, changed, visible_levels(clean, changed)) is changed
    assert np.array_equal(scale_to_visibility(clean, clean, 1e-6), clean)
    assert np.array_equal(scale_to_visibility(clean, changed, 1e-6), clean), "less than any change of a level"


def test_a_limit_holds_where_the_picture_may_change():
    """Averaged over the editable area: a small mask does not thin out what is seen inside it."""
    clean = photo(90, 80)
    mask = np.zeros((80, 90), dtype=bool)
    mask[10:40, 20:60] = True
    changed = np.where(mask[..., None], noisy(clean, 12), clean)
    inside = visible_levels(clean, changed, mask=mask)
    assert inside > 2 * visible_levels(clean, changed)
    shown = scale_to_visibility(clean, changed, 0.5, mask=mask)
    assert 0.35 < visible_levels(clean, shown, mask=mask) <= 0.5
    assert np.array_equal(shown[~mask], clean[~mask])


@pytest.mark.parametrize("most", [0.2, 0.7, 2.0])
def test_fading_evaluates_visibility_three_times_at_most(monkeypatch: pytest.MonkeyPatch, most: float):
    calls: list[float] = []
    real = visibility.visible_levels

    def counted(*arguments: object, **settings: object) -> float:
        calls.append(real(*arguments, **settings))
        return calls[-1]

    monkeypatch.setattr(visibility, "visible_levels", counted)
    for seed in range(5):
        calls.clear()
        clean = photo(seed=seed)
        scale_to_visibility(clean, noisy(clean, 16, seed=seed), most)
        assert 1 <= len(calls) <= (4 if most == 0.2 else 3), "at the lowest limit rounding decides"
