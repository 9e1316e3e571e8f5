from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import ASTRONAUT, tiny_kl
from PIL import Image

from pca_protect import UsageError
from pca_protect.eval.reconstruction import reconstruct
from pca_protect.eval.testbed import TARGETS, measure_testbed
from pca_protect.eval.vulnerability import measure_vulnerability
from pca_protect.surrogates.adapter import Surrogate


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number, left in enumerate((150, 190)):
        Image.open(ASTRONAUT).crop((left, 60, left + 75, 125)).save(folder / f"{number}.png")
    return folder


def test_reconstruction_of_a_picture_by_an_identity_is_perfect():
    """A VAE whose decoder returns what the encoder was given, but for rounding."""
    vae = tiny_kl().eval()
    pixels = torch.rand(1, 3, 16, 24)
    vae.decode = lambda latent: type("Out", (), {"sample": pixels * 2 - 1})  # type: ignore[method-assign]
    assert 50 < reconstruct(vae, pixels).psnr_db < 70, "only the rounding to 8 bits is left"


def test_vulnerability_grows_with_the_budget(tiny: Surrogate, astronaut_crop: torch.Tensor):
    small = measure_vulnerability(tiny, astronaut_crop, budget_levels=2, steps=5)
    large = measure_vulnerability(tiny, astronaut_crop, budget_levels=16, steps=5)
    assert float(small.noise) < float(large.noise) < float(large.diffusion)
    assert float(small.diffusion) < float(large.diffusion)
    assert float(large.concentration) < float(small.concentration) < 1.01


def test_rows_and_resumption(tmp_path: Path, photographs: Path):
    first = measure_testbed(photographs, tmp_path / "out", quick=True, device="cpu")
    assert {row["metric"] for row in first.rows} == set(TARGETS)
    assert all(row["n"] == 2 and row["min"] <= row["mean"] <= row["max"] for row in first.rows)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["command"] == "bench testbed"
    assert summary["tables"]["testbed"] == first.rows
    log = (tmp_path / "out" / "results.jsonl").read_bytes()
    again = measure_testbed(photographs, tmp_path / "out", quick=True, device="cpu")
    assert again.rows == first.rows
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == log, "nothing was measured twice"
    with pytest.raises(UsageError, match="other settings"):
        measure_testbed(photographs, tmp_path / "out", quick=False, device="cpu")
