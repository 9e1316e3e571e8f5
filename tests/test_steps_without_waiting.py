"""A gradient step copies nothing between host and device, and on CUDA waits for nothing, in every mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from pretended_device import Machine, pretending
from tiny_vaes import TINY
from torch import Tensor

from pca_protect import ModelError, ProtectConfig, load_surrogate, protect
from pca_protect.attack.pgd import LinfBall, MomentumStep, constant, optimize
from pca_protect.attack.readback import Readback
from pca_protect.attack.stopping import Stop
from pca_protect.attack.transforms import gaussian_noise
from pca_protect.engine import perturb
from pca_protect.image.batch import Batch
from pca_protect.image.masks import editable_mask
from pca_protect.io.picture import Picture
from pca_protect.surrogates import self_test
from pca_protect.surrogates.encoder import AnySurrogate, ensemble


@pytest.fixture(scope="module", params=["cuda", "mps"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with pretending(request.param) as machine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(self_test, "LARGE_PX", 128)
        yield machine


@pytest.fixture(scope="module")
def encoders(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> dict[int, AnySurrogate]:
    """One encoder, and two."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vae")
    TINY["AutoencoderKL"]().save_pretrained(folder)
    members = [load_surrogate(name, device=machine.kind, precision="fp32") for name in (str(folder), "pocket")]
    return {1: members[0], 2: ensemble(members)}


PICTURE = Picture(np.asarray(smooth_picture(80, 68)))

REQUESTS: dict[str, tuple[int, dict[str, object]]] = {
    "paper": (1, {"preset": "paper"}),
    "balanced": (1, {}),
    "concentration": (1, {"mode": "concentration"}),
    "subtle": (1, {"mode": "subtle"}),
    "posterior variance": (1, {"target_variance": "posterior"}),
    "max visibility": (1, {"max_visibility": 2.0}),
    "jpeg": (1, {"survive": "jpeg"}),
    "social": (1, {"survive": "social"}),
    "scales": (1, {"scales": (64, "native")}),
    "region": (1, {"region": "center"}),
    "until": (1, {"until": 1000.0}),
    "several": (2, {}),
    "unknown encoders": (2, {"for_unknown": True}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_no_step_copies_or_waits(machine: Machine, encoders: dict[int, AnySurrogate], name: str):
    """The difference of two runs has nothing of what happens once per picture, or at the first draw of a transform."""
    members, settings = REQUESTS[name]
    counted: list[tuple[Counter[str], ...]] = []
    for steps in (6, 3, 6):
        machine.clear()
        config = ProtectConfig(**{**settings, "steps": steps})  # type: ignore[arg-type]
        batch = Batch([PICTURE.rgb], [editable_mask(PICTURE, config.region, None)], [False])
        perturb(batch, config, surrogate=encoders[members], tile_px=256, on_step=lambda done, of, loss: None)
        counted.append((machine.uploads.copy(), machine.downloads.copy(), machine.syncs.copy()))
    uploads, downloads, syncs = (more - less for less, more in zip(*counted[1:], strict=True))
    assert not uploads
    assert not downloads
    if machine.kind == "cuda":
        assert not syncs
    else:
        assert {line.split(":")[0] for line in syncs} <= {"pca_protect/attack/pgd.py", "pca_protect/engine.py"}


def test_every_step_is_reported_in_order_with_its_loss(machine: Machine, encoders: dict[int, AnySurrogate]):
    reports: list[tuple[int, int, float]] = []
    config = ProtectConfig(preset="paper", steps=5)
    protect(PICTURE, config, surrogate=encoders[1], on_step=lambda *report: reports.append(report))
    evaluation = [report for report in reports if np.isnan(report[2])]
    assert {report[:2] for report in evaluation} == {(5, 5)}
    assert len(reports) - len(evaluation) == 6
    assert all(np.isnan(report[2]) for report in reports[6:]), (
        "the evaluation reports after the last step, so that it can be cancelled"
    )
    reports = reports[:6]
    assert [report[:2] for report in reports] == [(done, 5) for done in range(6)]
    losses = [report[2] for report in reports]
    assert all(np.isfinite(losses))
    assert losses[:5] == sorted(losses[:5]), "the paper's loop ascends"


def test_copies_arrive_in_order_and_all_at_the_end(machine: Machine):
    readback = Readback()
    numbers = torch.arange(5).to(machine.kind)
    arrived = [readback.send(step, numbers[step], wait=step == 4) for step in range(5)]
    assert [step for copies in arrived for step, _ in copies] == list(range(5))
    assert all(step == int(number) for copies in arrived for step, number in copies)
    assert bool(arrived[0]) == (machine.kind != "cuda"), "the first copy is not waited for"


def loop(clean: Tensor, fails_at: int | None = None, *, stop: Stop | None = None) -> tuple[Tensor, Tensor]:
    """Nine steps of an objective that is not finite at one of them."""
    calls = 0

    def objective(pixels: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return pixels.square().sum(dim=(1, 2, 3)) * (float("nan") if calls - 1 == fails_at else 1.0)

    optimized = optimize(
        clean,
        objective,
        constraint=LinfBall(0.1),
        step_rule=MomentumStep(0.0),
        schedule=constant,
        step_size=0.01,
        steps=9,
        keep_best=False,
        stop=stop,
    )
    return optimized.pixels.cpu(), optimized.steps.cpu()


@pytest.mark.parametrize("step", [0, 4, 8])
def test_a_value_that_is_not_finite_is_reported_with_its_step(machine: Machine, step: int):
    with pytest.raises(ModelError, match=f"at step {step}"):
        loop(torch.rand(2, 3, 8, 8).to(machine.kind), fails_at=step)


def test_a_late_end_of_the_loop_changes_nothing(machine: Machine):
    """Images that are finished stay as they are until the device has said so."""
    clean = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) / 2 + 0.25

    def stop(pixels: Tensor) -> Tensor:
        return pixels.mean(dim=(1, 2, 3)) < clean.to(pixels.device).mean(dim=(1, 2, 3)) - 0.035

    expected, there = loop(clean, stop=stop), loop(clean.to(machine.kind), stop=stop)
    assert torch.equal(expected[0], there[0])
    assert torch.equal(expected[1], there[1])
    assert expected[1].tolist() == [4, 4]


def test_noise_is_drawn_on_the_device_from_the_seed(machine: Machine):
    pixels = torch.full((2, 3, 8, 8), 0.5).to(machine.kind)
    machine.clear()
    first, again, other = (gaussian_noise(0.1)(pixels, torch.Generator().manual_seed(seed)).cpu() for seed in (1, 1, 2))
    assert not machine.uploads
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first, other)


def test_algorithms_are_timed_from_the_second_batch_of_a_size_on(machine: Machine, encoders: dict[int, AnySurrogate]):
    shown, timed = Picture(np.asarray(smooth_picture(41, 43))), []
    for _ in range(3):
        protect(
            shown,
            ProtectConfig(steps=1),
            surrogate=encoders[1],
            evaluate=False,
            on_step=lambda done, of, loss: timed.append(torch.backends.cudnn.benchmark),
        )
    assert timed == [False, False, *[machine.kind == "cuda"] * 4]
    assert not torch.backends.cudnn.benchmark
