from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, smooth_picture, tiny_kl
from PIL import Image

from pca_protect import UsageError
from pca_protect.eval.benches import testbed
from pca_protect.eval.benches.goals import at_least, at_most, goal_row
from pca_protect.eval.benches.testbed_edits import EditsOfPicture, edit_rows, judge
from pca_protect.eval.editors.registry import EMBEDDED
from pca_protect.eval.known_edits import reach
from pca_protect.eval.metrics.classical import flip, ssim
from pca_protect.eval.sheet import contact_sheet
from pca_protect.eval.styles import STYLES
from pca_protect.eval.vae_quality import explained_variance, measure_vulnerability, psnr_db
from pca_protect.surrogates.encoder import Surrogate


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
    assert 50 < psnr_db(vae, pixels) < 70, "only the rounding to 8 bits is left"
    assert psnr_db(tiny_kl(seed=1), pixels, decoder=vae) == psnr_db(vae, pixels), "the other one's decoder"


def test_vulnerability_grows_with_the_budget(tiny: Surrogate, astronaut_crop: torch.Tensor):
    small = measure_vulnerability(tiny, astronaut_crop, budget_levels=2, steps=5)
    large = measure_vulnerability(tiny, astronaut_crop, budget_levels=16, steps=5)
    assert float(small.noise) < float(large.noise) < float(large.diffusion)
    assert float(small.diffusion) < float(large.diffusion)
    assert float(large.concentration) < float(small.concentration) < 1.01


def test_a_linear_map_explains_what_is_linear_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    sources = [torch.randn(1, 3, 12, 10, generator=generator) for _ in range(4)]
    kernel = torch.randn(2, 3, 3, 3, generator=generator)
    mapped = [torch.nn.functional.conv2d(source, kernel, padding=1) + 5 for source in sources]
    assert explained_variance(sources, mapped) == pytest.approx(1, abs=1e-6)
    assert explained_variance(sources, mapped, neighbourhood=1) < 0.6
    unrelated = [torch.randn(1, 2, 12, 10, generator=generator) for _ in range(4)]
    assert abs(explained_variance(sources, unrelated)) < 0.3


def test_distances():
    picture = np.asarray(smooth_picture(64, 48))
    dark = STYLES["night"].render(picture)
    darker = (picture * 0.8).astype(np.uint8)
    assert flip(picture, picture) == 0
    assert ssim(picture, picture) == pytest.approx(1)
    assert 0 < flip(picture, darker) < flip(picture, dark) < 1
    assert 0 < ssim(picture, dark) < ssim(picture, darker) < 1


def test_goals():
    assert goal_row("pocket", "abc", "noise", [0.1, 0.3], at_least(0.15)) == {
        "surrogate": "pocket",
        "metric": "noise",
        "mean": 0.2,
        "min": 0.1,
        "max": 0.3,
        "n": 2,
        "target": "at least 0.15",
        "met": True,
        "digest": "abc",
    }
    assert not goal_row("pocket", "abc", "concentration", [0.7], at_most(0.6))["met"]


def test_an_edit_succeeds_if_its_prompt_brought_it_closer():
    picture = np.asarray(smooth_picture(64, 64))
    perfect = EditsOfPicture({name: style.render(picture) for name, style in STYLES.items()}, picture)
    useless = EditsOfPicture(dict.fromkeys(STYLES, picture), 255 - picture)
    assert all(row["mean"] == 1 for row in edit_rows("pocket-editor", "", [judge(picture, perfect)]))
    assert all(row["mean"] < 0.3 for row in edit_rows("pocket-editor", "", [judge(picture, useless)]))


def test_reach_is_the_share_of_the_wanted_change():
    original = np.full((8, 8, 3), 100, np.uint8)
    wanted, sideways = original.copy(), original.copy()
    wanted[..., 0], sideways[..., 1] = 140, 140
    assert [reach(original, edit, wanted) for edit in (original, wanted, sideways)] == [0, 1, 0]
    assert reach(original, (original * 0.5 + wanted * 0.5).astype(np.uint8), wanted) == pytest.approx(0.5)
    assert reach(original, 2 * original - wanted, wanted) == -1, "as uint8 the difference would wrap around"
    assert reach(original, wanted, original + 3) is None


def test_a_contact_sheet_shows_every_picture():
    one, other = (np.full((20, 20, 3), level, np.uint8) for level in (40, 200))
    sheet = np.asarray(contact_sheet({"a": [{"x": one, "y": other}], "b": [{"x": one, "y": one}]}))
    assert (sheet == 40).all(axis=2).sum() >= 3 * 400
    assert (sheet == 200).all(axis=2).sum() >= 400


def test_rows_and_resumption(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(testbed, "QUICK_STEPS", 4)
    monkeypatch.setattr(testbed, "SHEET_PICTURES", 1)
    out = tmp_path / "out"
    first = testbed.measure_testbed(photographs, out, quick=True, device="cpu")
    metrics = {(row["surrogate"], row["metric"]) for row in first.tables["testbed"]}
    for name in testbed.NAMES:
        assert {(name, "noise"), (name, "diffusion"), (name, "concentration")} <= metrics
    for name in EMBEDDED:
        assert {(name, "success_snow"), (name, "success_sketch"), (name, "kept_ssim")} <= metrics
    assert {("all", "distinct_encoders"), ("pocket -> pocket-b", "explained_variance")} <= metrics
    assert all(row["min"] <= row["mean"] <= row["max"] for row in first.tables["testbed"])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["command"] == "bench testbed"
    assert summary["tables"]["testbed"] == first.tables["testbed"]
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.height > 2 * 256
    log = (out / "results.jsonl").read_bytes()
    again = testbed.measure_testbed(photographs, out, quick=True, device="cpu")
    assert again.tables["testbed"] == first.tables["testbed"]
    assert (out / "results.jsonl").read_bytes() == log, "nothing was measured twice"
    with pytest.raises(UsageError, match="other settings"):
        testbed.measure_testbed(photographs, out, quick=False, device="cpu")
