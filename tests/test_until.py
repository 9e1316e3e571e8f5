"""The least change for an effect: steps end when it is reached, and the change is scaled down to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, smooth_picture
from PIL import Image
from torch import Tensor

from pca_protect import PictureError, ProtectConfig, Record, Surrogate, UsageError, protect, protect_batch
from pca_protect.attack.pgd import LinfBall, MomentumStep, constant, optimize
from pca_protect.attack.stopping import LatentView, moved_enough, smallest_share
from pca_protect.io.read import from_pil


@pytest.fixture(scope="module")
def face() -> Image.Image:
    return Image.open(ASTRONAUT).convert("RGB").crop((170, 60, 298, 188))


def test_an_image_is_finished_where_every_view_is_far_enough():
    """Clean means are 0, noise is at distance 5 = |(3, 4)| in the first image and 1 in the second."""
    noisy = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    view = LatentView.beyond_noise(lambda pixels: pixels, torch.zeros(2, 2), noisy, 2.0)
    assert view.distance.tolist() == [10.0, 2.0]
    twice = LatentView(lambda pixels: 2 * pixels, torch.zeros(2, 2), torch.tensor([10.0, 10.0]))
    pixels = torch.tensor([[10.0, 0.0], [2.1, 0.0]])
    assert moved_enough([view])(pixels).tolist() == [True, True]
    assert moved_enough([view, twice])(pixels).tolist() == [True, False]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("wanted", [0.3, 3.0, 8.0, 10.0])
def test_the_smallest_share_is_found(power: float, wanted: float):
    asked = []

    def effect(share: float) -> float:
        asked.append(share)
        return float(10 * share**power)

    share = smallest_share(effect, 10.0, wanted)
    exact = (wanted / 10) ** (1 / power)
    assert exact <= share <= 1.1 * exact + 1e-9
    assert len(asked) <= 8


def test_a_finished_image_stays_and_the_others_go_on():
    pixels = torch.full((2, 3, 8, 8), 0.5)

    def stop(shown: Tensor) -> Tensor:
        return (shown - pixels).abs().amax(dim=(1, 2, 3)) > torch.tensor([0.035, 0.065])

    def run(some: slice) -> Any:
        chosen = torch.tensor([0.035, 0.065])[some]
        return optimize(
            pixels[some],
            lambda shown: -shown.flatten(1).sum(1),
            constraint=LinfBall(0.5),
            step_rule=MomentumStep(0.0),
            schedule=constant,
            step_size=0.01,
            steps=20,
            keep_best=False,
            stop=lambda shown: (shown - 0.5).abs().amax(dim=(1, 2, 3)) > chosen,
        )

    found = run(slice(None))
    assert found.steps.tolist() == [4, 8]  # asked before steps 0, 4, 8
    assert (found.pixels - pixels).amax(dim=(1, 2, 3)).tolist() == pytest.approx([0.04, 0.08], abs=1e-6)
    assert torch.equal(run(slice(1, 2)).pixels, found.pixels[1:])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mode": "concentration"},
        {"mode": "subtle"},
        {"scales": (64, "native"), "tile_px": 128},
        {"preset": "instant"},
        {"region": "center"},
    ],
)
def test_the_effect_is_reached_with_less_to_see(face: Image.Image, pocket: Surrogate, settings: dict[str, Any]):
    settings = {"preset": "balanced", **settings}
    wanted = 1.4 if settings.get("mode") == "concentration" else 2.0
    whole = protect(face, ProtectConfig(**settings), surrogate=pocket).record
    least = protect(face, ProtectConfig(**settings, until=wanted), surrogate=pocket).record
    assert wanted <= least.gain_over_noise <= 1.25 * wanted < whole.gain_over_noise, "rounding to levels is coarse"
    assert least.visible_levels < whole.visible_levels
    assert least.steps <= whole.steps
    if settings["preset"] == "balanced":
        assert 0 < least.steps < 40


def test_every_encoder_is_reached(face: Image.Image, pocket: Surrogate, tiny: Surrogate):
    config = ProtectConfig(preset="fast", until=1.15, vae=("pocket", "tiny"))
    picture = protect(face, config, surrogate=[pocket, tiny]).picture
    for member in (pocket, tiny):
        gain = _gain(from_pil(face).rgb, picture.rgb, member)
        assert gain > 1.1, "1.15 but for another draw of the noise"


def _gain(clean: np.ndarray, changed: np.ndarray, surrogate: Surrogate) -> float:
    noise = np.random.default_rng(7).integers(-16, 17, clean.shape)
    noisy = (clean + noise).clip(0, 255).astype(np.uint8)
    rest, moved, by_noise = (
        surrogate.posterior(torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].float() / 255).mean
        for levels in (clean, changed, noisy)
    )
    return float((moved - rest).norm() / (by_noise - rest).norm())


def test_the_effect_of_a_preset(face: Image.Image, pocket: Surrogate):
    fast = protect(face, ProtectConfig(preset="fast"), surrogate=pocket).record
    config = ProtectConfig(until="fast")
    record = protect(face, config, surrogate=pocket).record
    assert fast.gain_over_noise <= record.gain_over_noise <= 1.1 * fast.gain_over_noise
    assert record.config["until"] == "fast"
    assert record.bytes_added is None, "of a file alone"
    assert record.config_digest == config.digest() != ProtectConfig().digest()


def test_the_saved_file_says_what_it_adds(face: Image.Image, pocket: Surrogate, tmp_path: Path):
    done = protect(face, ProtectConfig(preset="fast", until=2.0), surrogate=pocket)
    record = done.save(tmp_path / "out.png")
    face.save(tmp_path / "in.png")
    assert record.bytes_added is not None
    assert 0 < record.bytes_added < (tmp_path / "out.png").stat().st_size
    assert Record.from_json(record.as_json()).bytes_added == record.bytes_added
    assert (
        protect(face, ProtectConfig(preset="fast", steps=1), surrogate=pocket).save(tmp_path / "b.png").bytes_added
        is None
    )


def test_a_picture_does_not_depend_on_its_batch(pocket: Surrogate, face: Image.Image):
    pictures = [from_pil(face), from_pil(smooth_picture(128, 128))]
    config = ProtectConfig(preset="fast", until=1.5, batch=2)
    together = protect_batch(pictures, config, surrogate=pocket)
    for picture, one in zip(pictures, together, strict=True):
        alone = protect(picture, config, surrogate=pocket)
        assert np.array_equal(alone.picture.rgb, one.picture.rgb)


def test_out_of_reach_names_the_nearest(face: Image.Image, pocket: Surrogate, tmp_path: Path):
    with pytest.raises(PictureError, match=r"not 900 times; use `until=[\d.]+`"):
        protect(face, ProtectConfig(preset="fast", steps=1, until=900.0), surrogate=pocket)
    with pytest.raises(PictureError, match=r"use `until=[\d.]+` or about `max_visibility=[\d.]+`"):
        protect(face, ProtectConfig(preset="fast", until=9.0, max_visibility=0.2), surrogate=pocket)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("until", [1.0, 0.0, -3.0, float("nan"), 1e9, "quick"])
def test_what_cannot_be_reached_is_refused(until: float | str):
    with pytest.raises(UsageError):
        ProtectConfig(until=until)


def test_without_evaluation_nothing_is_known_to_be_reached(face: Image.Image, pocket: Surrogate):
    with pytest.raises(UsageError, match="`evaluate=False`"):
        protect(face, ProtectConfig(until=2.0), surrogate=pocket, evaluate=False)
