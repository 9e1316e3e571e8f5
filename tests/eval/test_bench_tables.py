"""The tables `transfer` and `purify`, the figures of the benchmarks of the protection itself, and what they share, against
values that were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from numpy.typing import NDArray
from scipy.stats import t, wilcoxon
from table_entries import BEYOND_NOISE, P

from pca_protect import ProtectConfig, Surrogate
from pca_protect.eval.arms.registry import NOISE_LINF
from pca_protect.eval.benches import purify, scales, transfer
from pca_protect.eval.benches.check import check_rows
from pca_protect.eval.benches.configs import PurifyConfig, TransferConfig
from pca_protect.eval.benches.flat import flattest
from pca_protect.eval.benches.ingredients import ingredient_rows
from pca_protect.eval.benches.steps import steps_rows
from pca_protect.eval.latent_shift import latent_shift
from pca_protect.eval.metrics.classical import rms_levels
from pca_protect.eval.stats import by_column, mean_row
from pca_protect.eval.styles import STYLES
from pca_protect.eval.trial import EditPrompt

PROMPTS = (EditPrompt("snow", "add some snow", STYLES["snow"]), EditPrompt("door", "a red door", None))
GAINS = BEYOND_NOISE["advdm"]


def kept(picture: int) -> dict[str, object]:
    """Clean edits: the one with a style failed on the last picture."""
    without = 0.1 if picture == 8 else 0.6
    edits = {f"snow/{number}": {"to_target": 0.2, "to_target_without": without} for number in range(2)}
    pairs = {"snow": {"0/1": {"flip": 0.2}}, "door": {"0/1": {"flip": 0.06}}}
    return {"edits": {**edits, "door/0": {}, "door/1": {}}, "pairs": pairs}


def edits(apart: float) -> dict[str, object]:
    return {"edits": {name: {"to_clean": {"flip": apart}} for name in ("snow/0", "door/0")}}


@pytest.fixture(scope="module")
def transfer_rows() -> dict[tuple[object, ...], dict[str, object]]:
    """Two encoders; one surrogate and both together; noise moves latents by 0.2 and takes a tenth of their norm."""
    config = TransferConfig("photos", vaes=("a", "b", "copy-of-b"), seeds=1)
    sources = [transfer.Source("a", ("a",)), transfer.Source("both", ("a", "b"))]

    def entry(latent: float, lost: float, apart: float) -> dict[str, object]:
        shift = {"latent": latent, "norm-lost": lost}
        return {"shift": {"a": shift, "b": {**shift, "latent": latent / 2}}, "edits": {"e": edits(apart)}}

    entries = {
        f"{number}.png": {
            "clean": {"edits": {"e": kept(number)}},
            NOISE_LINF: entry(0.2, 0.1, 0.1),
            **{source.variant("diffusion"): entry(0.2 + gain, -1.0, 0.1 + gain) for source in sources},
            **{source.variant("concentration"): entry(0.6, 0.4, 0.1) for source in sources},
        }
        for number, gain in enumerate(GAINS)
    }
    matrix = transfer.Matrix(
        sources=sources,
        targets={"a": "digest a", "b": "digest b"},
        shared={"a": ["a"], "b": ["b", "copy-of-b"]},
        editors={"e": "b"},
        sizes={"e": 256},
        prompts={"e": PROMPTS},
        entries=entries,
    )
    rows = transfer.transfer_rows(matrix, config)
    assert all(tuple(row) == transfer.COLUMNS for row in rows)
    return {(row["surrogate"], row["target"], row["mode"], row["metric"]): row for row in rows}


def test_transfer_has_a_row_for_every_pair_and_question(transfer_rows: dict[tuple[object, ...], dict[str, object]]):
    questions = [("diffusion", "latent"), ("concentration", "latent"), ("concentration", "norm-lost")]
    pairs = [(source, target, *question) for source in ("a", "both") for target in ("a", "b") for question in questions]
    on_edits = [(source, "b", mode, "flip") for source in ("a", "both") for mode in ("diffusion", "concentration")]
    assert set(transfer_rows) == {*pairs, *on_edits}
    white = {(source, target): row["same_encoder"] for (source, target, *_), row in transfer_rows.items()}
    assert white == {("a", "a"): True, ("a", "b"): False, ("both", "a"): True, ("both", "b"): True}
    assert {(row["target"], row["names"]) for row in transfer_rows.values()} == {("a", "a"), ("b", "b, copy-of-b")}
    assert {(row["budget_levels"], row["control"]) for row in transfer_rows.values()} == {(16, NOISE_LINF)}


def test_transfer_measures_posteriors_and_edits(transfer_rows: dict[tuple[object, ...], dict[str, object]]):
    row = transfer_rows["a", "b", "diffusion", "latent"]
    assert (row["objective"], row["editor"], row["kept"], row["n"]) == ("posterior", None, None, 9)
    gain = 0.43 / 9
    assert (row["effect"], row["noise_effect"]) == (pytest.approx(0.1 + gain / 2), pytest.approx(0.1))
    assert (row["ratio"], row["difference"]) == (pytest.approx(1 + 5 * gain), pytest.approx(gain / 2))
    assert (row["p"], row["win_rate"]) == (pytest.approx(P["advdm"]), pytest.approx(8 / 9))
    assert row["p_holm"] == pytest.approx(4 * P["advdm"]), "two surrogates and two targets"
    assert row["seed_line"] is row["seed_p_holm"] is None
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    lost = transfer_rows["both", "a", "concentration", "norm-lost"]
    assert (lost["effect"], lost["noise_effect"]) == (pytest.approx(0.4), pytest.approx(0.1))
    assert (lost["ratio"], lost["ci_low"], lost["ci_high"]) == (pytest.approx(4), *[pytest.approx(0.3)] * 2)
    edited = transfer_rows["a", "b", "diffusion", "flip"]
    assert (edited["objective"], edited["editor"], edited["n"]) == ("2", "e", 9)
    assert edited["kept"] == pytest.approx(17 / 18), "of the edits with the first seed"
    assert (edited["effect"], edited["noise_effect"]) == (pytest.approx(0.1 + gain), pytest.approx(0.1))
    line = (8 * 0.13 + 0.06) / 9
    assert edited["seed_line"] == pytest.approx(line)
    assert edited["above_seed"] == pytest.approx(0.1 + gain - line)
    assert edited["seed_ci_low"] < edited["above_seed"] < edited["seed_ci_high"]
    above = [0.1 + one - (0.06 if number == 8 else 0.13) for number, one in enumerate(GAINS)]
    assert edited["seed_p_holm"] == pytest.approx(2 * wilcoxon(above).pvalue)


def test_a_latent_shift_is_the_formula_and_the_norm_lost_is_not_the_norm_left(tiny: Surrogate):
    picture = np.asarray(smooth_picture(32, 24))
    changed = np.clip(picture.astype(int) + 20, 0, 255).astype(np.uint8)

    def mean(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            return tiny.posterior(pixels).mean.numpy()

    before, after = mean(picture), mean(changed)
    shift = latent_shift(tiny, picture, changed)
    assert shift.latent == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before), rel=1e-4)
    assert shift.norm == pytest.approx(np.linalg.norm(after) / np.linalg.norm(before), rel=1e-4)
    lost = (np.linalg.norm(before) - np.linalg.norm(after)) / np.linalg.norm(before)
    assert transfer.shift_entry(shift) == {"latent": shift.latent, "norm-lost": pytest.approx(lost, abs=1e-4)}
    assert latent_shift(tiny, picture, picture).norm_lost == 0


@pytest.fixture(scope="module")
def purified() -> dict[tuple[object, ...], dict[str, object]]:
    """The arm falls from 0.4 to 0.2 on average after JPEG, and to 0.1 after blur; noise from 0.1 to 0.02 and to 0.08. The last
    picture has one edit that counts, which counts as much as the two of another; on the first, blur leaves more."""
    config = PurifyConfig(
        "photos", arms=("pca-diffusion",), prompts=("snow", "a red door"), purifiers=("jpeg-75", "blur-1")
    )

    def entry(arm: float, noise: float, changes: float, clean: dict[str, object]) -> dict[str, object]:
        both = {"pca-diffusion": arm, NOISE_LINF: noise}
        arms = {name: dict.fromkeys(("snow/0", "door/0"), value) for name, value in both.items()}
        return {"arms": arms, "clean": clean, "changes_picture": changes}

    washed = [
        {
            "none": entry(0.4, 0.1, 0.0, kept(number)),
            "jpeg-75": entry(0.2 + 0.01 * (number - 4), 0.02, 0.01 * (1 + number), {}),
            "blur-1": entry(0.5 if number == 0 else 0.05, 0.08, 0.5, {}),
        }
        for number in range(9)
    ]
    what = {"none": "nothing", "jpeg-75": "JPEG 75", "blur-1": "blur"}
    rows = purify.purify_rows(washed, what, PROMPTS, config)
    assert all(tuple(row) == purify.COLUMNS for row in rows)
    return {(row["purifier"], row["arm"]): row for row in rows}


def test_purified_pictures_beside_purified_noise(purified: dict[tuple[object, ...], dict[str, object]]):
    """Half is left, of noise a fifth, of what exceeds it 0.6."""
    washes = ("none", "jpeg-75", "blur-1")
    assert set(purified) == {
        *((name, arm) for name in washes for arm in ("pca-diffusion", NOISE_LINF)),
        ("worst", "pca-diffusion"),
    }
    row = purified["jpeg-75", "pca-diffusion"]
    assert (row["what"], row["mode"], row["budget_levels"]) == ("JPEG 75", "diffusion", 16)
    assert (row["objective"], row["metric"], row["n"]) == ("2", "flip", 9)
    assert row["kept"] == pytest.approx(17 / 18)
    assert (row["effect"], row["before"], row["retained"]) == (*map(pytest.approx, (0.2, 0.4, 0.5)),)
    assert 0.44 < row["ci_low"] < 0.5 < row["ci_high"] < 0.56
    assert row["retained_above_noise"] == pytest.approx(0.6)
    half = t.ppf(0.975, 8) * np.std(0.01 * np.arange(9), ddof=1) / 3
    assert (row["above_ci_low"], row["above_ci_high"]) == (*map(pytest.approx, (0.6 - half / 0.3, 0.6 + half / 0.3)),)
    assert (row["noise_effect"], row["noise_retained"]) == (pytest.approx(0.02), pytest.approx(0.2))
    assert (row["difference"], row["p"]) == (pytest.approx(0.18), pytest.approx(2 / 512))
    assert (row["difference_ci_low"], row["difference_ci_high"]) == (*map(pytest.approx, (0.18 - half, 0.18 + half)),)
    assert row["p_holm"] == pytest.approx(4 * 2 / 512), "of four tests, with that of the worst purifier"
    assert row["changes_picture"] == pytest.approx(0.05)
    assert row["seed_line"] == pytest.approx((8 * 0.13 + 0.06) / 9)
    control = purified["jpeg-75", NOISE_LINF]
    assert (control["effect"], control["before"], control["retained"]) == (*map(pytest.approx, (0.02, 0.1, 0.2)),)
    beside = ("retained_above_noise", "above_ci_low", "noise_effect", "noise_retained", "difference", "p", "p_holm")
    assert [control[column] for column in beside] == [None] * 7
    assert purified["none", "pca-diffusion"]["retained"] == pytest.approx(1)


def test_the_worst_purifier_is_chosen_for_each_picture(purified: dict[tuple[object, ...], dict[str, object]]):
    """Blur leaves least above noise but on the first picture, where JPEG does."""
    row = purified["worst", "pca-diffusion"]
    assert row["effect"] == pytest.approx((0.16 + 8 * 0.05) / 9)
    assert row["noise_effect"] == pytest.approx((0.02 + 8 * 0.08) / 9)
    assert row["retained_above_noise"] == pytest.approx((0.14 - 8 * 0.03) / 9 / 0.3)
    assert row["changes_picture"] == pytest.approx((0.01 + 8 * 0.5) / 9)


def test_purified_pictures_without_an_edit_that_counts():
    config = PurifyConfig("photos", prompts=("snow",), purifiers=("jpeg-75",))
    washed = [{"none": {"clean": kept(8)}}]
    assert purify.purify_rows(washed, {"none": "nothing"}, PROMPTS[:1], config) == []


def test_mean_rows_stand_beside_the_published_loop():
    ours = by_column([{"flip": 0.1, "rms": 3.0}, {"flip": 0.3, "rms": 5.0}])
    assert ours == {"flip": [0.1, 0.3], "rms": [3.0, 5.0]}
    row = mean_row(ours, {"flip": [0.2, 0.6]}, compared="flip")
    assert row == {
        **{"flip": pytest.approx(0.2), "rms": 4.0, "share": pytest.approx(0.5), "n": 2},
        **{"ci_low": None, "ci_high": None},
    }
    eight = mean_row({"flip": [0.1] * 8}, {"flip": [0.2] * 8}, compared="flip")
    assert (eight["ci_low"], eight["ci_high"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert by_column([]) == {}


def test_steps_stand_beside_the_first_preset():
    requests = [ProtectConfig(preset="paper"), ProtectConfig(preset="fast", steps=10)]
    measured = {
        "1.png": {"gains": [2.0, 1.0], "seconds": [40.0, 8.0]},
        "2.png": {"gains": [4.0, 4.0], "seconds": [40.0, 10.0]},
        "3.png": {"gains": [4.0, 6.0], "seconds": [40.0, 4.0]},
    }
    first, fast = steps_rows("pocket", "diffusion", requests, measured)
    assert (first["gain"], first["least"], first["reached"], first["times_faster"]) == (1, 1, 3, 1)
    assert (fast["vae"], fast["mode"], fast["preset"], fast["steps"], fast["n"]) == (
        *("pocket", "diffusion", "fast", 10, 3),
    )
    assert (fast["gain"], fast["least"], fast["reached"]) == (pytest.approx(11 / 10), 0.5, 2)
    assert fast["times_faster"] == 5
    assert steps_rows("pocket", "diffusion", requests, {}) == []


def test_ingredients_stand_beside_the_best_single_surrogate():
    names = ("noise", "a alone, published loop", "b alone, published loop", "plain")
    measured = {
        "1.png": dict(zip(names, (0.1, 0.2, 0.4, 0.6), strict=True)),
        "2.png": dict(zip(names, (0.1, 0.4, 0.4, 0.8), strict=True)),
    }
    rows = {row["ingredient"]: row for row in ingredient_rows("c", measured)}
    plain = rows["plain"]
    assert (plain["unseen"], plain["against"], plain["n"]) == ("c", "b alone, published loop", 2)
    assert (plain["latent"], plain["noise_latent"]) == (pytest.approx(0.7), pytest.approx(0.1))
    assert plain["ratio"] == pytest.approx(1.75)
    assert rows["a alone, published loop"]["ratio"] == pytest.approx(0.75)
    assert ingredient_rows("c", {}) == []


def test_scales_and_borders_are_ratios_of_what_exceeds_noise():
    effects = {
        ("diffusion", "windows", "across"): [0.2, 0.4],
        ("diffusion", "windows", "inside one"): [0.1, 0.3],
        ("diffusion", "windows", "inside the next"): [0.3, 0.5],
        ("diffusion", "windows", "small"): [0.1, 0.1],
        ("diffusion", "small", "small"): [0.3, 0.5],
    }
    assert list(scales.border_rows(effects, "diffusion")) == [
        {"mode": "diffusion", "arm": "windows", "across_over_inside": pytest.approx(1.0), "n": 2}
    ]
    (row,) = scales.scale_rows(effects, "diffusion")
    assert (row["mode"], row["view"], row["arm"], row["over"], row["n"]) == (
        *("diffusion", "small", "small", "windows", 2),
    )
    assert (row["ratio"], row["difference"]) == (pytest.approx(4), pytest.approx(0.3))
    for column in ("ratio_ci_low", "ratio_ci_high", "ci_low", "ci_high", "p"):
        assert row[column] is None, "two pictures are too few"
    assert list(scales.border_rows(effects, "concentration")) == []


def test_a_seam_is_the_change_near_a_border_over_that_elsewhere():
    clean = np.full((256, 512, 3), 100, np.uint8)
    changed = clean + 2
    assert scales.seam(clean, changed, tile_px=256) == pytest.approx(1)
    assert scales.seam(clean, changed, tile_px=512) is None, "one window has no border"
    assert scales.seam(clean, clean, tile_px=256) is None


def test_the_flattest_patch_is_neither_black_nor_white():
    generator = np.random.default_rng(0)
    picture = generator.integers(60, 190, (64, 96, 3), dtype=np.uint8)
    picture[:32, :32] = 0
    picture[32:, :32] = 255
    picture[16:48, 48:80] = 120
    patch = flattest(picture, 32)
    assert patch is not None
    assert (patch.deviation, patch.place) == (0, (slice(16, 48), slice(48, 80)))
    assert flattest(np.zeros((64, 64, 3), np.uint8), 32) is None
    assert rms_levels(np.full((2, 2, 3), 7, np.uint8), np.full((2, 2, 3), 10, np.uint8)) == 3


def test_verdicts_are_counted_by_kind_and_encoder():
    entries = {
        "clean": {"1.png": {"a": "clean", "b": "unclear"}, "2.png": {"a": "clean", "b": "clean"}},
        "diffusion": {"1.png": {"a": "protected, diffusion", "b": "clean"}},
    }
    assert check_rows(entries, ["a", "b"]) == [
        {"picture": "clean", "encoder": "a", "n": 2, "clean": 2},
        {"picture": "clean", "encoder": "b", "n": 2, "clean": 1, "unclear": 1},
        {"picture": "diffusion", "encoder": "a", "n": 1, "protected, diffusion": 1},
        {"picture": "diffusion", "encoder": "b", "n": 1, "clean": 1},
    ]
