from __future__ import annotations

from dataclasses import replace

import pytest

from pca_protect import ProtectConfig, UsageError
from pca_protect.modes import MODES, PUBLISHED_MODES
from pca_protect.presets import PRESETS


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("mode", "destroy", "unknown mode 'destroy'; choose diffusion, concentration or subtle"),
        ("preset", "slow", "unknown preset 'slow'"),
        ("device", "gpu", "unknown device 'gpu'"),
        ("precision", "int8", "unknown precision 'int8'"),
        ("direction", "left", "choose up or down"),
        ("budget_levels", 0, "budget 0 is not a whole number from 1 to 255"),
        ("budget_levels", -1, "budget -1"),
        ("budget_levels", 300, "budget 300"),
        ("budget_levels", 7.65, "budget 7.65"),
        ("budget_levels", True, "budget True"),
        ("steps", 0, "steps 0"),
        ("seed", -1, "seed -1"),
        ("target_variance", 0.0, "target variance 0.0"),
        ("target_variance", float("nan"), "target variance nan"),
        ("target_variance", "prior", "unknown target variance 'prior'; choose posterior"),
    ],
)
def test_refuses_what_cannot_be_meant(field: str, value: object, says: str):
    with pytest.raises(UsageError, match=says) as caught:
        ProtectConfig(**{field: value})
    assert caught.value.exit_code == 2


def test_published_settings():
    """Guo et al., arXiv 2408.10901: 16/255, 40 steps of 2/255."""
    paper = ProtectConfig(preset="paper")
    assert paper.budget_levels == 16
    assert paper.recipe.steps == 40
    assert paper.recipe.rel_stepsize * paper.budget_levels == 2
    assert (paper.recipe.momentum, paper.recipe.schedule, paper.recipe.keep_best) == (0.0, "constant", False)
    assert paper.as_dict()["step_rule"] == "sign"
    assert ProtectConfig(mode="diffusion").objective == (1.0, "up")
    assert ProtectConfig(mode="concentration").objective == (1e-8, "down")


@pytest.mark.parametrize("preset", PRESETS)
def test_explicit_steps_override_the_preset(preset: str):
    assert ProtectConfig(preset=preset, steps=3).recipe.steps == 3


@pytest.mark.parametrize("mode", PUBLISHED_MODES)
def test_overrides_make_a_mode_custom(mode: str):
    assert ProtectConfig(mode=mode).mode_label == mode
    assert ProtectConfig(mode=mode, target_variance=0.5).mode_label == "custom"
    assert ProtectConfig(mode=mode, target_variance="posterior").objective[0] == "posterior"
    assert ProtectConfig(mode=mode, direction=MODES[mode].direction).mode_label == mode


def test_digest_is_equal_for_equal_requests_only():
    assert ProtectConfig().digest() == ProtectConfig(preset="balanced", steps=40).digest()
    assert ProtectConfig(vae=("pocket",)).digest() == ProtectConfig(vae="pocket").digest()
    assert ProtectConfig().digest() != ProtectConfig(budget_levels=15).digest()
    several = ProtectConfig(vae=("pocket", "pocket-16"))
    assert several.digest() != replace(several, for_unknown=True).digest()
    assert ProtectConfig(mode="diffusion", target_variance=1e-8, direction="down").digest() != ProtectConfig().digest()
