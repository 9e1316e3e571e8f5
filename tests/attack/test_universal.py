"""Trained starts, with the embedded encoders they were trained for."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, smooth_picture
from numpy.typing import NDArray
from PIL import Image

from pca_protect.attack.pgd import LinfBall, MomentumStep, constant, optimize
from pca_protect.attack.universal import UniversalPerturbation
from pca_protect.config import ProtectConfig
from pca_protect.engine import perturb
from pca_protect.errors import ModelError, UsageError
from pca_protect.image.batch import Batch
from pca_protect.initialisation import init_for
from pca_protect.io.picture import Picture
from pca_protect.io.read import from_pil
from pca_protect.modes import MODES
from pca_protect.presets import PRESETS
from pca_protect.protection import MIN_GAIN, protect
from pca_protect.surrogates.encoder import Surrogate, ensemble
from pca_protect.surrogates.load import load_surrogate
from pca_protect.universals.files import UNIT, read_universals
from pca_protect.universals.store import UNIVERSAL_FILE, find_universal

EMBEDDED = ("pocket", "pocket-b", "pocket-16", "pocket-tiny")
MIDDLE = 1.5
"""Times the effect of noise. Noise of the whole budget moves the least vulnerable loss nowhere, or the wrong way."""


@pytest.fixture(scope="module")
def encoders() -> dict[str, Surrogate]:
    return {name: load_surrogate(name, device="cpu") for name in EMBEDDED}


@pytest.fixture(scope="module")
def face() -> Picture:
    """96 px, as small as the encoders' figures mean anything."""
    path = ROOT / "examples" / "astronaut.png"
    return from_pil(Image.open(path).crop((170, 60, 266, 156)))


def made(
    picture: NDArray[np.uint8], config: ProtectConfig, surrogate: Surrogate, tile_px: int = 768
) -> NDArray[np.uint8]:
    return perturb(Batch([picture], [None], [False]), config, surrogate=surrogate, tile_px=tile_px).levels[0]


def test_every_embedded_encoder_has_a_start_for_every_mode(encoders: dict[str, Surrogate]):
    """Whoever trains an encoder anew has to train its starts anew."""
    found = read_universals(UNIVERSAL_FILE)
    assert {(*one.encoders.items(), one.mode) for one in found} == {
        ((surrogate.digest, name), mode) for name, surrogate in encoders.items() for mode in MODES
    }
    for one in found:
        assert one.tile.shape == (3, 64, 64)
        assert int(one.tile.abs().max()) <= UNIT
        assert one.beats_noise or one.mode == "concentration", "it takes two steps, see `Recipe.descent_steps`"
    assert UNIVERSAL_FILE.stat().st_size < 2_000_000


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", EMBEDDED)
def test_instant_beats_noise_within_the_budget(encoders: dict[str, Surrogate], face: Picture, name: str, mode: str):
    record = protect(face, ProtectConfig(mode=mode, preset="instant"), surrogate=encoders[name]).record
    assert (record.init, record.steps) == ("universal", 2 if mode == "concentration" else 0)
    assert record.max_change_levels <= 16
    assert record.gain_over_noise > (MIN_GAIN if mode == "concentration" else MIDDLE)


@pytest.mark.parametrize("budget", [1, 7, 16])
def test_a_start_fills_budgets_up_to_its_own_and_no_more(encoders: dict[str, Surrogate], face: Picture, budget: int):
    config = ProtectConfig(preset="instant", budget_levels=budget)
    protected = protect(face, config, surrogate=encoders["pocket"])
    assert protected.record.max_change_levels == budget
    change = protected.picture.rgb.astype(int) - face.rgb
    start = find_universal(encoders["pocket"], mode="diffusion", budget_levels=budget)
    assert start is not None
    tile = start.perturbation.tile
    expected = (face.rgb + (budget * tile.repeat(1, 2, 2)[:, :96, :96]).permute(1, 2, 0).numpy()).clip(
        0, 255
    ) - face.rgb
    assert np.abs(change - expected).max() <= 0.5 + 1e-4  # rounded to whole levels, in float32


def test_an_encoder_that_returns_nan_is_noticed_without_steps(encoders: dict[str, Surrogate], face: Picture):
    """No gradient is looked at; what is measured afterwards tells."""
    encoder = copy.deepcopy(encoders["pocket"].encoder)
    encoder.encoder.conv_out.bias.data.fill_(torch.nan)  # type: ignore[union-attr,operator]
    broken = replace(encoders["pocket"], encoder=encoder)  # the start is found by the digest, which stays
    with pytest.raises(
        ModelError, match=r"not finite for the finished picture; .* try `precision=fp32`, or other weights"
    ):
        protect(face, ProtectConfig(preset="instant"), surrogate=broken)


@pytest.mark.parametrize("preset", ["instant", "fast"])
def test_pictures_of_a_batch_never_influence_one_another(encoders: dict[str, Surrogate], preset: str):
    config = ProtectConfig(preset=preset, steps=0 if preset == "instant" else 2)
    some = [np.asarray(smooth_picture(45, 37, seed=seed)) for seed in range(3)]
    gray = [False, True, False]
    some[1] = np.repeat(some[1][..., :1], 3, axis=2)
    together = perturb(Batch(some, [None] * 3, gray), config, surrogate=encoders["pocket"], tile_px=768).levels
    for one, grey, found in zip(some, gray, together, strict=True):
        (alone,) = perturb(Batch([one], [None], [grey]), config, surrogate=encoders["pocket"], tile_px=768).levels
        assert np.array_equal(found, alone)
    assert not np.array_equal(together[1], some[1])
    assert (together[1] == together[1][..., :1]).all(), "a grey picture has become coloured"


def test_windows_agree_with_the_whole_picture(encoders: dict[str, Surrogate]):
    picture = np.asarray(smooth_picture(301, 205))
    config = ProtectConfig(preset="instant")
    whole = made(picture, config, encoders["pocket"])
    assert np.array_equal(made(picture, config, encoders["pocket"], tile_px=128), whole)


def test_nothing_changes_outside_a_mask(encoders: dict[str, Surrogate], face: Picture):
    free = np.zeros((96, 96), bool)
    free[20:50, 33:70] = True
    changed = protect(face, ProtectConfig(preset="instant"), surrogate=encoders["pocket"], mask=free).picture.rgb
    assert ((changed != face.rgb).any(axis=2) <= free).all()
    assert (changed != face.rgb)[free].mean() > 0.8


def test_a_limit_of_visibility_holds_without_steps(encoders: dict[str, Surrogate], face: Picture):
    config = ProtectConfig(preset="instant", max_visibility=0.5)
    record = protect(face, config, surrogate=encoders["pocket"]).record
    assert 0 < record.visible_levels <= 0.5


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"target_variance": 0.5}, "another target variance"),
        ({"direction": "down"}, "another target variance or direction"),
        ({"scales": (64,)}, "the picture's own size"),
        ({"survive": "jpeg"}, "`survive=jpeg`"),
        ({"steps": 3, "survive": "jpeg"}, "`survive=jpeg`"),
    ],
)
def test_instant_refuses_what_no_start_was_trained_for(encoders: dict[str, Surrogate], request_: dict, says: str):
    config = ProtectConfig(preset="instant", **request_)
    with pytest.raises(UsageError, match=says) as caught:
        init_for(encoders["pocket"], config)
    assert "`preset=fast`" in str(caught.value)
    assert init_for(encoders["pocket"], replace(config, preset="fast", steps=1)) is None


def test_instant_refuses_other_encoders_and_says_what_to_do(
    tiny: Surrogate, encoders: dict[str, Surrogate], face: Picture
):
    with pytest.raises(UsageError, match=r"none is trained for .*universal train.*`preset=fast`"):
        protect(face, ProtectConfig(preset="instant"), surrogate=tiny)
    with pytest.raises(UsageError, match="none is trained for pocket \\+ pocket-b"):
        protect(face, ProtectConfig(preset="instant"), surrogate=ensemble(list(encoders.values())[:2]))


def test_fast_says_what_it_set_out_from(tiny: Surrogate, encoders: dict[str, Surrogate], face: Picture):
    config = ProtectConfig(preset="fast", steps=1)
    assert protect(face, config, surrogate=encoders["pocket"]).record.init == "universal"
    assert protect(face, config, surrogate=tiny).record.init == "zero"
    paper = ProtectConfig(preset="paper", steps=1)
    assert protect(face, paper, surrogate=encoders["pocket"]).record.init == "zero"


def test_native_scale_is_the_own_size(encoders: dict[str, Surrogate]):
    assert init_for(encoders["pocket"], ProtectConfig(preset="instant", scales=("native",))) is not None


def test_only_instant_does_without_steps():
    assert ProtectConfig(preset="instant").recipe.steps == ProtectConfig(preset="instant", steps=0).recipe.steps == 0
    with pytest.raises(UsageError, match="steps 0"):
        ProtectConfig(preset="fast", steps=0)
    assert ProtectConfig(preset="instant", mode="concentration", steps=0).recipe.steps == 0
    assert ProtectConfig(preset="instant").digest() != ProtectConfig(preset="fast").digest()


def test_steps_fit_where_the_best_perturbation_lies():
    """Finer where the loss goes down, or what shows has a price; and two, not none, where no one perturbation will do."""
    corners = ProtectConfig(preset="fast").recipe
    for inside in ({"mode": "concentration"}, {"direction": "down"}, {"mode": "subtle"}, {"max_visibility": 2.0}):
        recipe = ProtectConfig(preset="fast", **inside).recipe
        assert recipe.rel_stepsize == pytest.approx(corners.rel_stepsize / 3)
        assert recipe.steps == corners.steps
    assert ProtectConfig(preset="fast", mode="concentration", direction="up").recipe == corners
    assert ProtectConfig(preset="instant", direction="down").recipe.steps == 2
    assert ProtectConfig(preset="paper", mode="concentration").recipe == ProtectConfig(preset="paper").recipe


def test_a_start_is_part_of_what_a_digest_covers(monkeypatch: pytest.MonkeyPatch):
    before = ProtectConfig(preset="fast").digest()
    for recipe in (
        replace(PRESETS["fast"], init="zero"),
        replace(PRESETS["fast"], init_scale=0.5),
    ):
        monkeypatch.setitem(PRESETS, "fast", recipe)
        assert ProtectConfig(preset="fast").digest() != before
        monkeypatch.undo()
    assert ProtectConfig(preset="fast").digest() == before


def test_tiles_are_counted_from_the_corner_of_the_picture():
    start = UniversalPerturbation(torch.arange(3 * 64).float().view(3, 1, 64).expand(3, 64, 64) / 192)
    part = start.over(slice(5, 9), slice(60, 70), radius=2.0, gray=[False, True])
    assert part.shape == (2, 3, 4, 10)
    assert part[0, 1, 0].tolist() == pytest.approx([2 * (64 + column % 64) / 192 for column in range(60, 70)])
    assert torch.equal(part[1, 0], part[1, 2])
    assert part[1, 0].numpy() == pytest.approx(part[0].mean(dim=0).numpy())


@pytest.mark.parametrize("keep_best", [True, False])
def test_without_steps_the_start_comes_out_inside_the_constraint(keep_best: bool):
    x, start = torch.full((2, 3, 8, 8), 0.5), torch.linspace(-0.2, 0.2, 384).view(2, 3, 8, 8)
    called = []
    found = optimize(
        x,
        lambda pixels: pixels.flatten(1).sum(1),
        constraint=LinfBall(0.1),
        step_rule=MomentumStep(0.0),
        schedule=constant,
        step_size=1.0,
        steps=0,
        keep_best=keep_best,
        init=start,
        on_step=lambda *step: called.append(step),
    )
    assert torch.equal(found.pixels, x + start.clamp(-0.1, 0.1))
    assert (found.values is not None) is keep_best
    assert not called
