"""Methods from the literature in `pca-protect bench cost`: what they run, what they load, what they are held against."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from pca_protect.eval import pictures
from pca_protect.eval.arms.denoiser import denoiser_of, denoising_error
from pca_protect.eval.arms.perturb import Target, perturb
from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.benches.cost.arms import EDITOR, Arm, Measured, groups_of
from pca_protect.eval.benches.cost.config import FULL, METHODS, QUICK, CostConfig
from pca_protect.eval.benches.cost.programs import method
from pca_protect.eval.benches.cost.random_models import RANDOM_VAE, RandomUnet, architecture, random_denoiser
from pca_protect.eval.benches.cost.table import arm_rows
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.pictures import with_pixels
from pca_protect.surrogates.encoder import Surrogate


def test_full_compares_all_methods_and_quick_leaves_the_large_unet_out():
    assert METHODS == FULL.methods == QUICK.methods
    assert (
        *("photoguard", "latent-distance", "pid", "mist", "advdm", "sds-plus", "sds-minus"),
        *("pca-diffusion", "pca-concentration"),
    ) == METHODS
    whole, published, *small, large = groups_of(FULL, torch.device("cpu"))
    assert {arm.picture.width for arm in [*whole, *published, *large]} == {512}
    assert [{arm.picture.width for arm in group} for group in small] == [{256}, {512}]
    assert all([arm.name for arm in group] == list(METHODS) for group in small)
    assert [(arm.name, arm.unet) for arm in large] == [
        ("advdm", RandomUnet((320, 640, 1280, 1280), 0)),
        ("sds-minus", RandomUnet((320, 640, 1280, 1280), 0)),
        ("pca-diffusion", None),
    ]
    assert {(arm.vae, arm.steps, arm.precision) for arm in large} == {(RANDOM_VAE, 1, "fp32")}
    quick = [arm for group in groups_of(QUICK, torch.device("cpu")) for arm in group]
    assert [arm.name for arm in quick] == [
        "bare",
        "paper",
        "balanced",
        "published",
        "ours",
        "ours-little-memory",
        *METHODS,
    ]
    assert {arm.picture.width for arm in quick} == {256}


def test_on_a_gpu_large_methods_run_alone_and_batches_stay_as_they_are():
    groups = groups_of(FULL, torch.device("cuda"))
    assert [[(arm.name, arm.batch) for arm in group] for group in groups[1:4]] == [
        [("published", 1), ("ours", 1), ("ours-little-memory", 1), ("ours", 1), ("ours-compiled", 1), ("ours-fast", 1)],
        [("ours", 4)],
        [("ours", 16)],
    ]
    large = groups[-3:]
    assert [[arm.name for arm in group] for group in large] == [["advdm"], ["sds-minus"], ["pca-diffusion"]]
    assert {(group[0].vae, group[0].steps, group[0].batch) for group in large} == {(RANDOM_VAE, 40, 1)}
    assert {arm.precision for group in groups[4:] for arm in group} == {"fp32"}


@pytest.fixture(scope="module")
def editor_target() -> Target:
    editor = load_editor(EDITOR, device="cpu")
    return Target(editor.surrogate, denoiser_of(editor))


def method_arm(name: str) -> Arm:
    """As the benchmark has it, on the embedded editor."""
    config = CostConfig(sizes_px=(64,), unet_block_out_channels=None)
    return next(arm for arm in groups_of(config, torch.device("cpu"))[-1] if arm.name == name)


@pytest.mark.parametrize("name", METHODS)
def test_methods_do_what_they_do_to_be_compared(name: str, editor_target: Target):
    arm = method_arm(name)
    run, vae, dtype = method(arm)
    turns: list[None] = []
    found = run(40, lambda: turns.append(None))
    expected = perturb(ARMS[name], arm.picture.rgb, editor_target, budget_levels=16, seed=0)
    assert np.array_equal(with_pixels(arm.picture, found.pixels).rgb, expected)  # type: ignore[attr-defined]
    assert not np.array_equal(expected, arm.picture.rgb)
    assert len(turns) >= 40
    assert (vae, dtype) == ("pocket", torch.float32)


def live_unets() -> int:
    gc.collect()
    return sum(type(thing) is UNet2DConditionModel for thing in gc.get_objects())


@pytest.mark.parametrize("name", METHODS)
def test_a_unet_is_in_memory_only_for_those_that_look_through_it(name: str):
    before = live_unets()
    prepared = method(method_arm(name))
    assert live_unets() - before == (name in ("advdm", "sds-plus", "sds-minus"))
    del prepared


def outcome(seconds: float | None, megabytes: float) -> Measured:
    return Measured("pocket", "float32", [] if seconds is None else [seconds] * 2, 100.0, megabytes)


CHEAP = {"pid": outcome(1.0, 300.0), "advdm": outcome(3.0, 500.0), "sds-plus": outcome(2.0, 400.0)}


@pytest.mark.parametrize(
    ("changed", "met"),
    [
        ({}, True),
        ({"pid": outcome(0.5, 200.0)}, True),  # needs no UNet: PCA need not beat it
        ({"sds-plus": outcome(0.9, 400.0)}, False),
        ({"advdm": outcome(3.0, 290.0)}, False),
        ({"advdm": outcome(3.0, 300.0)}, False),
        ({"advdm": outcome(None, 500.0)}, None),
        ({"pca-diffusion": outcome(None, 300.0)}, None),
    ],
)
def test_posterior_collapse_has_to_be_cheaper_than_every_method_with_a_unet(
    changed: dict[str, Measured], met: bool | None
):
    measured = {**CHEAP, "pca-diffusion": outcome(1.0, 300.0), **changed}
    rows = {row["arm"]: row for row in arm_rows([(method_arm(name), one) for name, one in measured.items()])}
    assert rows["pca-diffusion"]["target"] == "less time and memory than advdm, sds-plus"
    assert rows["pca-diffusion"]["met"] is met
    assert {rows[name]["target"] for name in CHEAP} == {None}
    assert all((rows[name]["ratio"] is None) == (met is None) for name in CHEAP if name in changed)


def test_methods_are_measured_against_posterior_collapse_in_the_same_place():
    small, large = method_arm("pca-diffusion"), replace(method_arm("pca-diffusion"), vae=RANDOM_VAE)
    slow = replace(method_arm("pca-concentration"), picture=pictures.made_picture(72, 0))
    rows = arm_rows(
        [
            (small, outcome(1.0, 300.0)),
            (method_arm("mist"), outcome(1.5, 300.0)),
            (large, outcome(100.0, 300.0)),
            (replace(method_arm("advdm"), vae=RANDOM_VAE), outcome(250.0, 900.0)),
            (replace(slow, name="pca-diffusion"), outcome(2.0, 300.0)),
            (slow, outcome(3.0, 300.0)),
        ]
    )
    assert [row["ratio"] for row in rows] == [None, 1.5, None, 2.5, None, 1.5]
    assert [row["target"] for row in rows] == [None, None, "less time and memory than advdm", None, None, None]
    assert [row["mode"] for row in rows] == ["diffusion", None, "diffusion", None, "diffusion", "concentration"]


def test_the_random_unet_is_that_of_stable_diffusion():
    with torch.device("meta"):
        unet = architecture((320, 640, 1280, 1280))
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964  # as published for SD 1.x


def test_a_random_unet_comes_from_its_seed_and_passes_gradients_on(tiny: Surrogate, astronaut_crop: torch.Tensor):
    state = torch.get_rng_state()
    pixels = astronaut_crop.clone().requires_grad_()
    losses, gradients = [], []
    for seed in (0, 0, 1):
        denoiser = random_denoiser(RandomUnet((8, 16, 16, 16), seed), tiny)
        loss = denoising_error(denoiser, [torch.Generator().manual_seed(0)])(pixels)
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss.sum(), pixels)[0])
    assert losses[0] == losses[1] != losses[2]
    assert all(bool(gradient.isfinite().all()) and float(gradient.abs().max()) > 0 for gradient in gradients)
    assert torch.equal(torch.get_rng_state(), state)
