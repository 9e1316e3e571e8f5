"""Perturbations that are kept from being seen: what is asked for is what the saved file has."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT
from PIL import Image
from torch import Tensor

from pca_protect import PictureError, ProtectConfig, Surrogate, protect
from pca_protect.attack.visibility import Visibility, VisibilityPenalty, energy_of, visible_levels
from pca_protect.io.picture import Picture
from pca_protect.modes import MODES
from pca_protect.protection import protect_batch
from pca_protect.record import Record


def nothing(pixels: Tensor) -> Tensor:
    return 0.0 * pixels.flatten(start_dim=1).sum(dim=1)


def prices(discreet: VisibilityPenalty, clean: Tensor, pixels: Tensor) -> list[float]:
    return (discreet(pixels) / Visibility(clean).energy(pixels)).tolist()


def test_the_price_rises_above_the_limit_and_falls_back_below_it_for_each_image():
    clean = torch.full((2, 3, 24, 16), 0.5)
    shown = clean + torch.tensor([0.1, 0.001]).view(2, 1, 1, 1)  # 25.5 and 0.26 levels of an even change
    discreet = VisibilityPenalty(nothing, clean, weight=2.0, most_levels=1.0)
    found = [prices(discreet, clean, shown) for _ in range(3)]
    assert [first for first, _ in found] == pytest.approx([2.0 * 1.4, 2.0 * 1.4**2, 2.0 * 1.4**3], rel=1e-4)
    assert [second for _, second in found] == pytest.approx([2.0] * 3, rel=1e-4), "no lower than the mode's own"
    with torch.no_grad():
        assert prices(discreet, clean, shown) == pytest.approx(found[-1], rel=1e-4), "only where a step follows"
    turned = [prices(discreet, clean, shown.flip(0)) for _ in range(4)]
    assert [first for first, _ in turned] == pytest.approx([2.0 * 1.4**2, 2.0 * 1.4, 2.0, 2.0], rel=1e-4)
    assert [second for _, second in turned] == pytest.approx([2.0 * 1.4**n for n in (1, 2, 3, 4)], rel=1e-4)


def test_near_the_limit_the_price_moves_with_the_violation():
    clean = torch.full((1, 3, 24, 16), 0.5)
    discreet = VisibilityPenalty(nothing, clean, weight=0.0, most_levels=5.1)
    shown = clean + 1.1 * 5.1 / 255
    assert prices(discreet, clean, shown) == pytest.approx([1.1], rel=1e-4), "begins at 1 without a price of its own"
    assert prices(discreet, clean, clean + 5.1 / 255) == pytest.approx([1.1], rel=1e-4)
    assert prices(discreet, clean, clean + 0.9 * 5.1 / 255) == pytest.approx([0.99], rel=1e-4)


def test_without_a_limit_the_price_stays():
    clean = torch.full((1, 3, 24, 16), 0.5)
    discreet = VisibilityPenalty(lambda pixels: nothing(pixels) + 7.0, clean, weight=15.0)
    shown = clean + 0.1
    for _ in range(2):
        assert discreet(shown).tolist() == pytest.approx([7.0 + 15.0 * energy_of(25.5)], rel=1e-4)


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("face") / "face.png"
    Image.open(ASTRONAUT).crop((170, 60, 277, 163)).save(path)
    return path


@pytest.fixture(scope="module")
def without_limit(face: Path, pocket: Surrogate):
    return cache(lambda mode: protect(face, ProtectConfig(mode=mode, steps=20), surrogate=pocket).record)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [0.3, 1.0])
def test_the_saved_file_keeps_the_limit_and_uses_it(
    tmp_path: Path, face: Path, pocket: Surrogate, without_limit, mode: str, limit: float
):
    free: Record = without_limit(mode)
    config = ProtectConfig(mode=mode, max_visibility=limit, steps=20)
    record = protect(face, config, surrogate=pocket).save(tmp_path / "out.png")
    before, after = (np.asarray(Image.open(path)) for path in (face, tmp_path / "out.png"))
    shown = visible_levels(before, after)
    assert 0 < shown <= limit
    assert record.visible_levels == shown
    assert np.abs(after.astype(int) - before).max() <= 16
    moves = {"diffusion": record.protected.norm > 1.1, "subtle": record.gain_over_noise > 1.8}
    assert moves.get(mode, record.protected.norm < 0.93 * record.noise.norm)
    if free.visible_levels > limit:
        assert shown > 0.8 * limit
        assert record.protected.latent < free.protected.latent, "nothing is for nothing"
    else:
        assert (mode, limit) == ("subtle", 1.0)
        assert shown > 0.8 * free.visible_levels


def test_mode_strong_is_seen_less_for_no_less(without_limit):
    subtle, diffusion = without_limit("subtle"), without_limit("diffusion")
    assert subtle.visible_levels < 0.5 * diffusion.visible_levels
    assert subtle.protected.latent >= diffusion.protected.latent
    assert subtle.loss_clean == pytest.approx(1.0, abs=1e-6)
    assert subtle.protected.loss > 2


def test_a_limit_that_leaves_nothing_is_refused(tiny: Surrogate, photo: Path):
    with pytest.raises(PictureError, match=r"photo.png: max visibility 0\.001 .*; raise"):
        protect(photo, ProtectConfig(steps=2, max_visibility=0.001), surrogate=tiny)


@pytest.mark.parametrize("settings", [{"mode": "subtle"}, {"max_visibility": 0.5}, {"survive": "social"}])
def test_bytes_do_not_depend_on_the_batch(face: Path, pocket: Surrogate, settings: dict[str, object]):
    levels = np.asarray(Image.open(face))
    pictures = [Picture(levels, source="a"), Picture(levels[::-1].copy(), source="b")]
    together = protect_batch(pictures, ProtectConfig(steps=4, batch=2, **settings), surrogate=pocket)
    for picture, found in zip(pictures, together, strict=True):
        alone = protect(picture, ProtectConfig(steps=4, batch=1, **settings), surrogate=pocket)
        assert np.array_equal(found.picture.rgb, alone.picture.rgb)


def test_a_grey_picture_stays_grey(tmp_path: Path, tiny: Surrogate):
    source = tmp_path / "grey.png"
    Image.open(ASTRONAUT).crop((170, 60, 227, 113)).convert("L").save(source)
    record = protect(source, ProtectConfig(mode="subtle", max_visibility=0.5, steps=6), surrogate=tiny).save(
        tmp_path / "out.png"
    )
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == "L"
    assert 0 < record.visible_levels <= 0.5


@pytest.mark.parametrize("mode", ["diffusion", "subtle"])
def test_the_limit_holds_inside_the_region(pocket: Surrogate, mode: str):
    image = Image.open(ASTRONAUT).crop((170, 60, 298, 188))
    config = ProtectConfig(mode=mode, preset="fast", steps=6, max_visibility=0.5, region="40,40,48,48")
    result = protect(image, config, surrogate=pocket)
    mask = np.zeros((128, 128), dtype=bool)
    mask[40:88, 40:88] = True
    shown = visible_levels(result.original.rgb, result.picture.rgb, mask=mask)
    assert 0.25 < shown <= 0.5
    assert result.record.visible_levels == shown


def test_the_violation_is_measured_where_the_picture_may_change():
    """A change of 5.1 levels in a quarter of the picture is below the limit on average, and above it in that quarter."""
    clean = torch.full((1, 3, 40, 40), 0.5)
    editable = torch.zeros(1, 1, 40, 40)
    editable[..., :20, :20] = 1.0
    shown = clean + editable * 5.1 / 255
    found = [
        prices(VisibilityPenalty(nothing, clean, weight=2.0, most_levels=4.0, editable=where), clean, shown)[0]
        for where in (None, editable)
    ]
    assert found[0] == pytest.approx(2.0, rel=1e-4)
    assert found[1] > 2.1
