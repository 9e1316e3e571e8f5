"""What a protection is averaged over: it holds where it was asked to, and nothing else is random."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT
from numpy.typing import NDArray
from PIL import Image

from pca_protect import ProtectConfig, Surrogate, protect
from pca_protect.attack.transforms import EOT_PRESETS, eot_transform
from pca_protect.engine import seen_sizes
from pca_protect.image.tensors import to_tensor
from pca_protect.presets import SURVIVE

Levels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def face() -> Levels:
    return np.asarray(Image.open(ASTRONAUT).crop((170, 60, 277, 163)))


@pytest.fixture(scope="module")
def protected(face: Levels, pocket: Surrogate):
    def make(survive: str | None, *, seed: int = 0, steps: int = 40) -> Levels:
        config = ProtectConfig(mode="subtle", survive=survive, seed=seed, steps=steps)
        return protect(Image.fromarray(face), config, surrogate=pocket).picture.rgb

    return cache(make)


def as_jpeg(levels: Levels) -> Levels:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def halved(levels: Levels) -> Levels:
    height, width = levels.shape[:2]
    small = Image.fromarray(levels).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    return np.asarray(small.resize((width, height), Image.Resampling.LANCZOS))


def moved(surrogate: Surrogate, clean: Levels, changed: Levels) -> float:
    """In norms of the clean latent."""
    with torch.no_grad():
        one, other = (surrogate.posterior(to_tensor([levels])).mean for levels in (clean, changed))
    return float((other - one).norm() / one.norm())


def uploaded(levels: Levels) -> Levels:
    return halved(as_jpeg(levels))


@pytest.mark.parametrize(
    ("survive", "published", "times"), [("jpeg", as_jpeg, 1.03), ("social", halved, 3), ("social", uploaded, 3)]
)
def test_more_is_left_of_what_was_made_to_last(
    face: Levels, protected, pocket: Surrogate, survive: str, published, times: float
):
    made = [protected(None), protected(survive)]
    at_first = [moved(pocket, face, levels) for levels in made]
    plain, lasting = (moved(pocket, published(face), published(levels)) for levels in made)
    assert lasting > times * plain, "JPEG leaves most of it anyway, half the size hardly any"
    assert lasting / at_first[1] > 1.1 * plain / at_first[0]
    assert np.abs(made[1].astype(int) - face).max() <= 16


def test_what_is_posted_smaller_is_protected_at_that_size(pocket: Surrogate):
    with Image.open(ASTRONAUT) as image:
        wide = image.crop((0, 90, 512, 141)).resize((1400, 140), Image.Resampling.LANCZOS)
    posted = (1080, 108)

    def stored(levels: Levels) -> Levels:
        return as_jpeg(np.asarray(Image.fromarray(levels).resize(posted, Image.Resampling.LANCZOS)))

    clean, left = np.asarray(wide), {}
    for survive in ("jpeg", "social"):
        config = ProtectConfig(mode="diffusion", survive=survive, steps=10)
        protected = protect(wide, config, surrogate=pocket)
        left[survive] = moved(pocket, stored(clean), stored(protected.picture.rgb))
        assert protected.record.max_change_levels <= 16
    assert seen_sizes(140, 1400, ProtectConfig(survive="social")) == [(108, 1080)]
    assert left["social"] > 1.08 * left["jpeg"]


def test_the_seed_decides_all_that_is_drawn(face: Levels, protected, pocket: Surrogate):
    config = ProtectConfig(mode="subtle", survive="jpeg", steps=3)
    torch.manual_seed(99)  # nobody's business
    again = protect(Image.fromarray(face), config, surrogate=pocket).picture.rgb
    assert np.array_equal(protected("jpeg", steps=3), again)
    assert not np.array_equal(again, protected("jpeg", seed=1, steps=3))


def test_what_can_be_asked_for_is_what_there_is():
    assert EOT_PRESETS.keys() == SURVIVE.keys()
    assert eot_transform(None, for_unknown=False) is None
    assert eot_transform(None, for_unknown=True) is not None


@pytest.mark.parametrize("survive", [None, *SURVIVE])
def test_pictures_keep_their_size_and_are_differentiable(survive: str | None):
    transform = eot_transform(survive, for_unknown=True)
    assert transform is not None
    pixels = torch.rand(2, 3, 9, 21, generator=torch.Generator().manual_seed(0)).requires_grad_()
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):  # every one of them comes up
        shown = transform(pixels, generator)
        assert shown.shape == pixels.shape
        assert 0 <= float(shown.detach().min()) <= float(shown.detach().max()) <= 1
        (gradient,) = torch.autograd.grad(shown.sum(), pixels)
        assert float(gradient.abs().max()) > 0
