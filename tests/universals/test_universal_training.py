"""Training of universal perturbations: what they gain, resumption, and the pictures that they are trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, smooth_picture
from PIL import Image
from torch import Tensor

from pca_protect.attack.ensemble import equal_gains
from pca_protect.attack.universal import TileTraining, train_step
from pca_protect.errors import Cancelled, ModelError, UsageError
from pca_protect.image.tensors import Uint8Image
from pca_protect.surrogates.encoder import Surrogate, ensemble
from pca_protect.universal_training.crops import Crops, crops_of, crops_of_files
from pca_protect.universal_training.measure import START_CROPS, measure_start, measure_tile
from pca_protect.universal_training.train import TrainingSettings, encoded_pixels, tile_side, train_universal
from pca_protect.universals.files import stored
from pca_protect.universals.store import embedded_universals


@pytest.fixture(scope="module")
def photographs() -> list[Uint8Image]:
    """Nine squares of one photograph."""
    picture = np.asarray(Image.open(ROOT / "examples" / "astronaut.png").convert("RGB"))
    side = min(picture.shape[:2]) // 3
    return [
        np.ascontiguousarray(picture[y * side : (y + 1) * side, x * side : (x + 1) * side])
        for y in range(3)
        for x in range(3)
    ]


@pytest.fixture(scope="module")
def crops(photographs: list[Uint8Image]) -> Crops:
    all_crops = crops_of(photographs, 128, seed=0)
    return Crops(all_crops.training[:8], all_crops.held_out[:2], all_crops.pictures)


def quadratic(target: Tensor):
    return lambda _: lambda pixels: (pixels - target).square().sum(dim=(1, 2, 3))


def stepped(training: TileTraining, crop: Tensor, goals: list, **values: int) -> TileTraining:
    settings = {"steps": 10, "batch": 1, "grid_px": 4, "seed": 0, **values}
    return train_step(training, [crop], goals, radius=0.1, **settings)  # type: ignore[arg-type]


def test_a_step_follows_the_summed_gradient_of_the_repeated_tile():
    """A tile of one grid cell: no shift moves it. The gradient of a repeated pixel is the sum over its places."""
    crop = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25
    target = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(2))
    before = TileTraining.begin(4, seed=0)
    after = stepped(before, crop, [quadratic(target)])
    over = crop + 0.1 * before.tile.repeat(1, 2, 3)
    gradient = (0.2 * (over - target))[0].view(3, 2, 4, 3, 4).sum(dim=(1, 3))
    assert after.momentum.numpy() == pytest.approx((gradient / gradient.abs().mean()).numpy(), abs=1e-5)
    assert torch.equal(after.tile, (before.tile - 0.5 * gradient.sign()).clamp(-1, 1))
    assert after.step == 1


def test_several_encoders_gain_equally():
    crop = torch.full((1, 3, 4, 4), 0.5)
    targets = [torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    before = TileTraining.begin(4, seed=0)
    one, other = (stepped(before, crop, [quadratic(target)]).momentum[None] for target in targets)
    together = stepped(before, crop, [quadratic(target) for target in targets]).momentum
    expected = equal_gains([one, other])[0]
    assert (
        together.sign().eq(expected.sign()).float().mean() > 0.95
    )  # the weights also depend on the gradients' lengths


def test_a_step_depends_on_seed_and_number_only():
    crop, goals = torch.rand(1, 3, 8, 8), [quadratic(torch.rand(1, 3, 8, 8))]
    before = TileTraining.begin(8, seed=0)
    assert torch.equal(stepped(before, crop, goals).tile, stepped(before, crop, goals).tile)
    seen = {float(stepped(before, crop, goals, seed=seed).momentum.sum()) for seed in range(4)}
    assert len(seen) > 1, "the shift on the grid is drawn"


def test_a_gradient_that_is_not_finite_is_reported():
    with pytest.raises(ModelError, match="training step 0"):
        stepped(
            TileTraining.begin(4, seed=0), torch.rand(1, 3, 4, 4), [lambda _: lambda x: (x.sum() * torch.nan)[None]]
        )


def test_training_beats_noise_on_pictures_that_it_did_not_see(pocket: Surrogate, crops: Crops):
    trained = train_universal(pocket, crops, TrainingSettings("diffusion", steps=8, batch=2))
    assert trained.beats_noise
    (member,) = trained.members
    assert member.tile > 2 * member.noise
    assert (trained.encoders, trained.grid_px, trained.held_out) == ({pocket.digest: "pocket"}, 8, 2)
    assert int(trained.tile.abs().max()) <= 127


def test_one_tile_is_trained_for_two_encoders(pocket: Surrogate, tiny: Surrogate, crops: Crops):
    both = ensemble([pocket, tiny])
    trained = train_universal(both, crops, TrainingSettings("subtle", steps=2, batch=1))
    assert list(trained.encoders) == [pocket.digest, tiny.digest]
    assert [one.name for one in trained.members] == [pocket.name, tiny.name]


def test_a_stopped_training_resumes_to_the_same_tile(tiny: Surrogate, crops: Crops, tmp_path: Path):
    settings, checkpoint = TrainingSettings("diffusion", steps=22, batch=1), tmp_path / "tile.training"
    whole = train_universal(tiny, crops, settings)

    def stop(done: int, steps: int) -> None:
        if done == 13:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        train_universal(tiny, crops, settings, checkpoint=checkpoint, on_step=stop)
    seen: list[int] = []
    resumed = train_universal(
        tiny, crops, settings, checkpoint=checkpoint, on_step=lambda done, steps: seen.append(done)
    )
    assert seen[0] == 11
    assert torch.equal(resumed.tile, whole.tile)
    assert not list(tmp_path.iterdir())
    with pytest.raises(Cancelled):
        train_universal(tiny, crops, settings, checkpoint=checkpoint, on_step=stop)
    seen.clear()
    other = TrainingSettings("diffusion", steps=22, batch=1, seed=1)
    train_universal(tiny, crops, other, checkpoint=checkpoint, on_step=lambda done, steps: seen.append(done))
    assert seen[0] == 1, "another training does not go on from it"


def test_noise_is_measured_at_the_budget_and_no_more_visible_than_the_tile(pocket: Surrogate, crops: Crops):
    noise = stored(torch.empty(3, 64, 64).uniform_(-1, 1, generator=torch.Generator().manual_seed(5)))
    _, (member,) = measure_tile(pocket, noise, crops.held_out, budget_levels=16)
    assert member.tile == pytest.approx(member.noise, rel=0.15)
    assert member.visible_noise == pytest.approx(member.noise, rel=0.15)
    visible, (faint,) = measure_tile(pocket, noise // 4, crops.held_out, budget_levels=16)
    assert 0 < visible < 1
    assert faint.noise == member.noise
    assert faint.visible_noise < 0.6 * faint.noise
    smooth = noise[:, :1, :1].expand(3, 64, 64)
    _, (coarse,) = measure_tile(pocket, smooth, crops.held_out, budget_levels=16)
    assert coarse.visible_noise == coarse.noise, "noise beyond the budget is no control"


def test_a_tile_is_measured_as_a_start_of_steps(pocket: Surrogate, crops: Crops):
    """A tile of zeros is the clean picture; a trained one goes further, and the least helped encoder counts."""
    trained = next(one for one in embedded_universals() if one.mode == "diffusion" and pocket.digest in one.encoders)
    zeros = replace(trained, tile=torch.zeros_like(trained.tile))
    assert measure_start(pocket, zeros, crops.held_out) == pytest.approx(1, abs=0.01)
    assert measure_start(pocket, trained, crops.held_out) > 1.02


def test_a_tile_is_a_multiple_of_every_grid(tiny: Surrogate, pocket: Surrogate):
    assert tile_side(tiny) == 64
    assert tile_side(ensemble([tiny, replace(pocket, multiple=24)])) == 72
    assert encoded_pixels(tiny, steps=3, batch=2) == (6 + 2 * 8 * START_CROPS) * 128**2


def test_held_out_pictures_are_not_trained_on(photographs: list[Uint8Image]):
    flat = [np.full((70, 90, 3), 10 * number, np.uint8) for number in range(1, 21)]
    crops = crops_of(flat, 64, seed=0)
    trained, held_out = ({round(float(one.mean()) * 25.5) for one in some} for some in (crops.training, crops.held_out))
    assert trained | held_out == set(range(1, 21))
    assert not trained & held_out
    assert (len(trained), crops.pictures) == (17, 17)
    assert {one.shape for one in crops.training} == {(1, 3, 64, 64)}
    assert len(crops.training) >= 96


def test_few_or_unreadable_pictures_are_refused(tmp_path: Path):
    for number in range(8):
        smooth_picture(70, 80, seed=number).save(tmp_path / f"{number}.png")
    (tmp_path / "8.png").write_bytes(b"no picture")
    paths = sorted(tmp_path.iterdir())
    assert crops_of_files(paths, 64, seed=0).pictures == 6
    (tmp_path / "0.png").unlink()
    with pytest.raises(UsageError, match=r"7 pictures .* too few"):
        crops_of_files(sorted(tmp_path.iterdir()), 64, seed=0)


@pytest.mark.parametrize("values", [{"mode": "loud"}, {"budget_levels": 0}, {"steps": 0}])
def test_settings_are_checked(values: dict):
    with pytest.raises(UsageError):
        TrainingSettings(**{"mode": "diffusion", **values})
