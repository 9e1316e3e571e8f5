"""Modes: one registry entry is all that it takes, also for a mode of one's own; former names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from torch import Tensor

from pca_protect import PosteriorCollapse, ProtectConfig, Record, Surrogate, UsageError, protect, register_mode
from pca_protect.attack.posterior import Posterior
from pca_protect.batch.output_options import OutputOptions
from pca_protect.modes import MODES


def distance(now: Posterior, clean: Posterior) -> Tensor:
    """0.01 at the clean picture, so that its logarithm exists."""
    moved: Tensor = (now.mean - clean.mean).square().flatten(1).mean(1)
    return moved + 0.01


def test_a_mode_of_ones_own_has_windows_scales_masks_batches_and_several_encoders(tiny: Surrogate, pocket: Surrogate):
    register_mode("far", lambda now, clean: distance(now, clean) + 0.1 * now.mean.square().flatten(1).mean(1))
    picture, mask = np.asarray(smooth_picture(200, 150)), np.zeros((150, 200), dtype=bool)
    mask[20:120, 30:160] = True
    config = ProtectConfig(
        mode="far", preset="fast", steps=2, tile_px=128, scales=(96, "native"), max_visibility=4.0, vae=("a", "b")
    )
    done = protect(picture, config, surrogate=[tiny, pocket], mask=mask)
    changed = (done.picture.rgb != picture).any(axis=2)
    assert changed.any()
    assert not changed[~mask].any()
    assert done.record.config["loss"] == "<lambda>"
    assert done.record.protected.loss > done.record.loss_clean


def test_a_descended_loss_goes_down_and_the_tensor_call_knows_the_mode(tiny: Surrogate):
    register_mode("near", lambda now, _: now.mean.square().flatten(1).sum(1), direction="down", logarithmic=False)
    images = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    changed = PosteriorCollapse(tiny, mode="near", steps=4)(images)
    before, after = (tiny.posterior(pixels).mean.square().sum() for pixels in (images, changed))
    assert after < before
    with pytest.raises(UsageError, match="mode near"):
        ProtectConfig(mode="near", max_visibility=1.0)
    with pytest.raises(UsageError, match="mode near"):
        ProtectConfig(mode="near", target_variance=2.0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("diffusion", {}),
        ("strong", {}),
        ("", {}),
        ("mine", {"direction": "sideways"}),
        ("mine", {"logarithmic": False, "visibility_weight": 1.0}),
        ("mine", {"visibility_weight": -1.0}),
    ],
)
def test_what_cannot_be_registered(name: str, settings: dict[str, object]):
    with pytest.raises(UsageError):
        register_mode(name, distance, **settings)
    assert "mine" not in MODES


@pytest.mark.parametrize(("field", "old", "new"), [("mode", "strong", "subtle"), ("preset", "strong", "thorough")])
def test_former_names_work_with_one_warning(field: str, old: str, new: str):
    with pytest.warns(FutureWarning, match=new) as caught:
        config = ProtectConfig(**{field: old})
    assert len(caught) == 1
    assert getattr(config, field) == new
    assert config.digest() == ProtectConfig(**{field: new}).digest()


def test_the_command_line_warns_of_a_former_name_once(tmp_path: Path):
    command = [sys.executable, "-m", "pca_protect", "run", "nothing.png", "--mode", "strong"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("warning: mode strong was renamed to subtle; use that name\n") == 1


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        ({}, "23aa6dbc5ef299bcc0d41d76d03f4d197299a929391b458a93e3e92fc8dba413"),
        (
            {"mode": "subtle", "preset": "thorough", "survive": "social"},
            "210da6fed6df293f80390376c1db843096ad7da5c220c099d39eea99469ad5ee",
        ),
        ({"preset": "instant"}, "11cae1e69c251365b6342c57583f0a82cccfdb2917c7b5597a5a9141ee3214a7"),
    ],
)
def test_digests_are_those_of_the_first_version(settings: dict[str, object], digest: str):
    """A journal written before fields and modes were renamed still says that its pictures are finished."""
    assert ProtectConfig(**settings).digest() == digest


def test_the_digest_of_a_journal_is_that_of_the_first_version():
    digest = OutputOptions(rights_notice="x").digest(ProtectConfig())
    assert digest == "5229e7b45285aad27dcfbd90c4b3e1a8b85c91d8c3f128d6433008306246d766"


def test_records_of_before_are_read(tiny: Surrogate):
    record = protect(smooth_picture(64, 64), ProtectConfig(preset="fast", steps=1), surrogate=tiny).record
    values = json.loads(record.as_json())
    del values["init"]
    assert Record.from_json(json.dumps({**values, "start": "none"})).as_json() == record.as_json()
