from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from published_loop import pictures, published_loop
from torch import Tensor

from pca_protect.attack.objectives import CollapseObjective
from pca_protect.attack.pgd import SCHEDULES, LinfBall, MomentumStep, Optimized, constant, optimize
from pca_protect.config import ProtectConfig
from pca_protect.engine import run_recipe
from pca_protect.errors import Cancelled, ModelError
from pca_protect.modes import PUBLISHED_MODES
from pca_protect.presets import PRESETS
from pca_protect.surrogates.encoder import Surrogate


@pytest.mark.parametrize("mode", PUBLISHED_MODES)
def test_preset_paper_is_the_published_algorithm_step_for_step(tiny: Surrogate, mode: str):
    x = pictures(1)
    config = ProtectConfig(mode=mode, preset="paper")
    found = run_recipe(x, CollapseObjective(tiny.posterior, *config.objective, x), config).pixels
    expected = published_loop(tiny, x, mode)
    assert torch.equal(found, expected)
    change = found - x
    assert float(change.abs().max()) == pytest.approx(16 / 255), "the budget's clamp was never reached"
    assert bool((found == 1).any()), "the pixel range's clamp was never reached"


def run(x: Tensor, objective, **overrides) -> Optimized:
    settings = {
        "constraint": LinfBall(16 / 255),
        "step_rule": MomentumStep(0.0),
        "schedule": constant,
        "step_size": 4 / 255,
        "steps": 5,
    }
    return optimize(x, objective, **{**settings, **overrides})


@pytest.mark.parametrize("rule", [lambda: MomentumStep(0.0), lambda: MomentumStep(0.7)], ids=["sign", "momentum"])
@pytest.mark.parametrize("mode", PUBLISHED_MODES)
def test_images_of_a_batch_never_influence_one_another(tiny: Surrogate, rule, mode: str):
    x = pictures(3)

    def perturbed(pixels: Tensor) -> Tensor:
        objective = CollapseObjective(tiny.posterior, *ProtectConfig(mode=mode).objective, pixels)
        return run(pixels, objective, step_rule=rule()).pixels

    together = perturbed(x)
    alone = torch.cat([perturbed(x[i : i + 1]) for i in range(3)])
    assert torch.equal(together, alone)


def test_keeps_the_best_iterate_of_each_image():
    """A parabola per image, with steps far too long: the iterates jump about the minimum."""
    goals = torch.tensor([0.30, 0.52]).view(2, 1, 1, 1)
    x = torch.full((2, 3, 8, 8), 0.4)

    def objective(pixels: Tensor) -> Tensor:
        return (pixels - goals).square().flatten(1).sum(1)

    seen: list[Tensor] = []
    way = {"constraint": LinfBall(1.0), "step_size": 0.09, "steps": 6, "on_step": lambda *step: seen.append(step[-1])}
    found = run(x, objective, **way)
    assert len(seen) == 7
    assert torch.equal(found.values, torch.stack(seen).min(dim=0).values)
    assert torch.equal(objective(found.pixels), found.values)
    last = run(x, objective, **way, keep_best=False)
    assert bool((objective(last.pixels) > found.values).any())
    assert torch.equal(torch.stack(seen[7:-1]), torch.stack(seen[:6])), "the same walk"


def test_the_walk_starts_at_the_clean_pictures(tiny: Surrogate):
    x = pictures(2)
    objective = CollapseObjective(tiny.posterior, 1.0, "up", x)
    seen: list[Tensor] = []
    run(x, objective, on_step=lambda *step: seen.append(step[-1]))
    assert torch.equal(seen[0], objective(x).detach())


def test_callback_counts_and_cancels(tiny: Surrogate):
    x = pictures(1)
    objective = CollapseObjective(tiny.posterior, 1.0, "up", x)
    calls = []
    run(x, objective, on_step=lambda done, steps, values: calls.append((done, steps, values.shape)))
    assert calls == [(done, 5, (1,)) for done in range(6)]

    def stop(done: int, steps: int, values: Tensor) -> None:
        if done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        run(x, objective, on_step=stop)


def test_says_when_the_encoder_returns_nonsense():
    with pytest.raises(ModelError, match="not finite at step 0"):
        run(pictures(1), lambda pixels: (pixels / 0 * 0).flatten(1).sum(1))


def test_momentum_sums_raw_gradients_scaled_per_image():
    rule = MomentumStep(0.5)
    first = torch.zeros(2, 3, 1, 1)
    first[:, 0], first[:, 1] = 4.0, -1.0
    assert torch.equal(rule.direction(first), first.sign())
    second = torch.zeros(2, 3, 1, 1)
    second[0, 1], second[1, 1] = 3e6, 3e-6  # the same direction at very different scale
    # 0.5 * (4, -1, 0) / (5/3) + (0, 3, 0) / 1: both images turn in the second channel, neither in the first.
    assert rule.direction(second).flatten(1).tolist() == [[1, 1, 0], [1, 1, 0]]


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_start_at_one_and_stay_positive(name: str):
    factors = [SCHEDULES[name](step, 12) for step in range(12)]
    assert factors[0] == 1
    assert all(0 < later <= earlier for earlier, later in pairwise(factors))


@pytest.mark.parametrize("radius", [1 / 255, 16 / 255])
def test_linf_ball_projects_to_the_nearest_point(radius: float):
    x = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0)) * 0.05
    projected = LinfBall(radius).project(x)
    assert projected.abs().max() == torch.tensor(radius)  # in float32, as the projection computes
    inside = x.abs() <= radius
    assert torch.equal(projected[inside], x[inside])
    assert torch.equal(projected[~inside], radius * x[~inside].sign())


@pytest.mark.parametrize("mode", PUBLISHED_MODES)
def test_balanced_goes_at_least_as_far_as_paper(pocket: Surrogate, astronaut_crop: Tensor, mode: str):
    reached = {}
    for preset in ("paper", "balanced"):
        config = ProtectConfig(mode=mode, preset=preset)
        objective = CollapseObjective(pocket.posterior, *config.objective, astronaut_crop)
        reached[preset] = float(objective(run_recipe(astronaut_crop, objective, config).pixels).detach())
    assert reached["balanced"] <= reached["paper"]


def test_presets_differ_as_described():
    assert PRESETS["paper"].steps == PRESETS["balanced"].steps == 40
    assert PRESETS["fast"].steps * 3 <= 40 < PRESETS["thorough"].steps
    assert PRESETS["instant"].steps == 0
    assert {name for name, recipe in PRESETS.items() if recipe.keep_best} == {"balanced", "thorough"}
