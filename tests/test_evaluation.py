"""The evaluation: figures against independent formulas, independence of seeds and windows, and what it costs."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, smooth_picture
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pca_protect import ProtectConfig, Surrogate, evaluation, load_surrogate, protect
from pca_protect.attack.losses import posterior_collapse
from pca_protect.engine import criteria
from pca_protect.evaluation import NOISE_DRAWS, SAMPLE_PX, Pair, evaluate, evaluate_batch
from pca_protect.image.tensors import to_tensor
from pca_protect.io.picture import Picture
from pca_protect.modes import MODES
from pca_protect.noise_control import with_noise
from pca_protect.record import UNMEASURED
from pca_protect.surrogates.encoder import SurrogateEnsemble
from pca_protect.whole_posterior import whole_posterior


def crop(left: int, top: int, width: int, height: int) -> Picture:
    image = Image.open(ASTRONAUT).convert("RGB").crop((left, top, left + width, top + height))
    return Picture(np.asarray(image), source="astronaut")


def coarser(surrogate: Surrogate, factor: int) -> Surrogate:
    """The same encoder behind a mean over `factor` x `factor` pixels: an encoder with a coarser latent grid."""
    encoder = copy.copy(surrogate.encoder)
    encoder._modules = {**encoder._modules, "encoder": nn.Sequential(nn.AvgPool2d(factor), encoder.encoder)}
    return replace(surrogate, name=f"f{8 * factor}", encoder=encoder, multiple=factor * surrogate.multiple)


def norm_of(surrogate: Surrogate, levels: NDArray[np.uint8]) -> torch.Tensor:
    with torch.no_grad():
        return surrogate.posterior(to_tensor([levels])).mean


def test_figures_are_what_the_formulas_say(tiny: Surrogate):
    original = crop(100, 40, 77, 61)
    protected = with_noise(original, 9, seed=5)
    found = evaluate(original, protected, surrogate=tiny, criteria=criteria(ProtectConfig(seed=2)))
    clean, moved, *noisy = (
        norm_of(tiny, picture.rgb)
        for picture in (original, protected, *(with_noise(original, 16, 2, draw=draw) for draw in range(4)))
    )
    size = clean.norm()
    by_noise = np.sqrt(np.mean([float((one - clean).norm() / size) ** 2 for one in noisy]))
    assert found.protected.latent == pytest.approx(float((moved - clean).norm() / size), rel=1e-5)
    assert found.protected.norm == pytest.approx(float(moved.norm() / size), rel=1e-5)
    assert found.noise.latent == pytest.approx(by_noise, rel=1e-5)
    assert found.gain_over_noise == pytest.approx(found.protected.latent / by_noise, rel=1e-5)
    with torch.no_grad():
        posterior = tiny.posterior(to_tensor([protected.rgb]))
    assert found.protected.loss == pytest.approx(
        float(posterior_collapse(posterior.mean, posterior.logvar, 1.0)), rel=1e-5
    )
    difference = protected.rgb.astype(float) - original.rgb
    assert found.psnr_db == pytest.approx(10 * np.log10(255**2 / np.square(difference).mean()))


def test_noise_moves_the_latent_as_far_as_noise(pocket: Surrogate):
    original = crop(100, 40, 130, 120)
    found = evaluate(original, with_noise(original, 16, seed=77), surrogate=pocket, criteria=criteria(ProtectConfig()))
    assert found.gain_over_noise == pytest.approx(1.0, abs=0.05)
    unchanged = evaluate(original, original, surrogate=pocket, criteria=criteria(ProtectConfig()))
    assert (unchanged.gain_over_noise, unchanged.psnr_db, unchanged.protected.norm) == (0.0, None, 1.0)


@pytest.mark.parametrize("mode", MODES)
def test_the_seed_of_the_control_hardly_matters(pocket: Surrogate, mode: str):
    original = crop(170, 60, 129, 129)
    config = ProtectConfig(mode=mode, preset="fast", steps=4)
    protected = protect(Image.fromarray(original.rgb), config, surrogate=pocket).picture
    gains = [
        evaluate(original, protected, surrogate=pocket, criteria=criteria(replace(config, seed=seed))).gain_over_noise
        for seed in range(10)
    ]
    assert len(set(gains)) == 10
    assert max(gains) < 1.05 * min(gains)


def test_draws_differ_and_stay_where_the_picture_may_change():
    original = crop(0, 0, 60, 300)
    free = np.zeros((300, 60), dtype=bool)
    free[10:280, 5:40] = True
    draws = [with_noise(original, 7, 0, free, draw=draw).rgb for draw in range(3)]
    for number, noisy in enumerate(draws):
        change = noisy.astype(int) - original.rgb
        assert np.abs(change).max() == 7
        assert not change[~free].any()
        assert all(not np.array_equal(noisy, other) for other in draws[:number])
    assert np.array_equal(draws[0], with_noise(original, 7, 0, free).rgb)


@pytest.mark.parametrize(("factor", "tile_px", "longest"), [(1, 128, 230), (2, 256, 400), (4, 256, 500)])
@pytest.mark.parametrize("seed", range(2))
def test_in_windows_as_on_the_whole_picture(
    pocket: Surrogate, monkeypatch: pytest.MonkeyPatch, factor: int, tile_px: int, longest: int, seed: int
):
    """The record has the figures of the whole picture. Where memory does not suffice for those, windows start on the encoder's
    grid and every latent position counts once; what is left are normalisations that see a window alone."""
    width, height = np.random.default_rng([factor, seed]).integers(tile_px + 1, longest, 2).tolist()
    picture = crop(0, 0, width, height)
    surrogate, config = coarser(pocket, factor), ProtectConfig(preset="fast", steps=3, tile_px=tile_px)
    found = protect(Image.fromarray(picture.rgb), config, surrogate=surrogate)
    whole = evaluate(picture, found.picture, surrogate=surrogate, criteria=criteria(config))
    assert whole.evaluation_tile_px is None
    monkeypatch.setattr(evaluation, "evaluated_at_once", lambda *_, **__: 0)
    parts = evaluate(picture, found.picture, surrogate=surrogate, criteria=criteria(config))
    assert parts.evaluation_tile_px == tile_px
    assert parts.gain_over_noise == pytest.approx(whole.gain_over_noise, rel=0.05)
    assert found.record.gain_over_noise == whole.gain_over_noise, "in one piece wherever that fits into memory"


@pytest.mark.parametrize(("factor", "side", "tile_px"), [(1, 237, 192), (2, 331, 256), (4, 420, 256)])
def test_protection_in_windows_is_that_in_one_piece(pocket: Surrogate, factor: int, side: int, tile_px: int):
    """Measured on the whole picture, as an editor sees it, by latent shift and by gain of the loss."""
    picture, surrogate = crop(60, 0, side, side), coarser(pocket, factor)
    found = []
    for tile in (tile_px, 768):
        config = ProtectConfig(preset="fast", steps=4, tile_px=tile)
        record = protect(Image.fromarray(picture.rgb), config, surrogate=surrogate).record
        assert record.evaluation_tile_px is None
        found.append((record.protected.latent, record.protected.loss - record.loss_clean))
    (shift, gain), (shift_whole, gain_whole) = found
    assert shift >= 0.95 * shift_whole
    assert gain >= 0.95 * gain_whole


@pytest.mark.parametrize("tile_px", [None, 128])
def test_posteriors_are_put_together_from_windows(pocket: Surrogate, tile_px: int | None):
    pictures = [crop(0, 0, 301, 203).rgb, crop(100, 100, 301, 203).rgb]
    posterior = whole_posterior(pictures, pocket, tile_px=tile_px, at_once=2)
    assert posterior.mean.shape == posterior.logvar.shape == (2, 4, 26, 38)
    for number, levels in enumerate(pictures):
        expected = norm_of(pocket, levels)[0]
        apart = float((posterior.mean[number] - expected).norm() / expected.norm())
        assert apart == 0 if tile_px is None else 0 < apart < 0.15


@pytest.mark.parametrize("mode", MODES)
def test_every_picture_is_encoded_once(tiny: Surrogate, mode: str):
    original = crop(0, 0, 90, 70)
    encoded: list[int] = []
    handle = tiny.encoder.register_forward_pre_hook(lambda _, given: encoded.append(len(given[0])))
    try:
        evaluate(original, original, surrogate=tiny, criteria=criteria(ProtectConfig(mode=mode)))
    finally:
        handle.remove()
    assert sum(encoded) == 2 + NOISE_DRAWS


def test_without_an_evaluation_the_bytes_are_the_same(tiny: Surrogate):
    image = smooth_picture(90, 70)
    config = ProtectConfig(steps=2)
    plain, evaluated = (protect(image, config, surrogate=tiny, evaluate=asked) for asked in (False, True))
    assert np.array_equal(plain.picture.rgb, evaluated.picture.rgb)
    assert all(getattr(plain.record, name) is None for name in UNMEASURED)
    assert plain.record.max_change_levels == evaluated.record.max_change_levels
    assert not any("hardly" in warning for warning in plain.record.warnings)
    assert plain.encoded("PNG")[1].max_change_levels <= 16


def test_without_steps_a_sample_is_evaluated(pocket: Surrogate):
    """In the middle of where the picture may change, on the grid."""
    image, mask = smooth_picture(300, 280), np.zeros((280, 300), dtype=bool)
    mask[200:260, 180:290] = True
    for free in (None, mask):
        record = protect(image, ProtectConfig(preset="instant"), surrogate=pocket, mask=free).record
        assert record.evaluation_sample_px == SAMPLE_PX
        assert record.gain_over_noise > 1.25
        assert record.visible_levels > 0
    levels = np.stack(np.broadcast_arrays(*np.ogrid[:280, :300], 0), axis=-1) // 16
    blocks = Picture(levels.astype(np.uint8))
    sample = evaluation._sample(Pair(blocks, blocks, mask), SAMPLE_PX)
    corner = sample.original.rgb[:17, :17]
    assert (corner[0, 0] == corner[15, 15]).all()
    assert (corner[0, 0] != corner[16, 16])[:2].all()
    assert sample.mask is not None
    assert sample.mask.shape == (SAMPLE_PX, SAMPLE_PX)
    assert sample.mask.mean() > 0.25
    assert protect(image, ProtectConfig(steps=1), surrogate=pocket).record.evaluation_sample_px is None


@pytest.mark.parametrize(("pixels_at_once", "tile_px"), [(190 * 70, None), (128 * 72, 128)])
def test_a_device_out_of_memory_is_given_less_at_a_time(
    tiny: Surrogate, monkeypatch: pytest.MonkeyPatch, pixels_at_once: int, tile_px: int | None
):
    """First picture by picture, then window by window; the figures stay as they are but for the windows."""
    original = crop(0, 0, 190, 70)
    config = ProtectConfig(tile_px=128)
    calm = evaluate(original, original, surrogate=tiny, criteria=criteria(config))
    real = Surrogate.posterior

    def tight(self: Surrogate, pixels: torch.Tensor) -> object:
        if pixels[:, 0].numel() > pixels_at_once:
            raise torch.OutOfMemoryError
        return real(self, pixels)

    monkeypatch.setattr(Surrogate, "posterior", tight)
    monkeypatch.setattr(evaluation, "evaluated_at_once", lambda *_, **__: 6)
    tense = evaluate(original, original, surrogate=tiny, criteria=criteria(config))
    assert tense.evaluation_tile_px == tile_px
    assert tense.noise.latent == pytest.approx(calm.noise.latent, rel=1e-6 if tile_px is None else 0.2)


@pytest.mark.usefixtures("bf16_on_any_cpu")
def test_encoders_compute_in_fp32_whatever_the_precision_of_the_attack(tiny: Surrogate, tiny_folder: Path):
    half = load_surrogate(str(tiny_folder), device="cpu", precision="bf16")
    original = crop(100, 40, 90, 70)
    protected = protect(Image.fromarray(original.rgb), ProtectConfig(steps=1), surrogate=half)
    assert protected.record.precision == "bfloat16"
    found = evaluate(original, protected.picture, surrogate=tiny, criteria=criteria(ProtectConfig()))
    assert protected.record.protected == found.protected
    assert protected.record.noise == found.noise


def test_pictures_are_evaluated_together_as_alone(tiny: Surrogate, pocket: Surrogate):
    config = ProtectConfig(scales=(64, "native"))
    pairs = [Pair(crop(at, 0, 89, 97), with_noise(crop(at, 0, 89, 97), 16, seed=at)) for at in (0, 50, 100)]
    pairs[1] = replace(pairs[1], mask=np.tri(97, 89, dtype=np.bool_))
    both = SurrogateEnsemble((tiny, pocket))
    together = evaluate_batch(pairs, surrogate=both, criteria=criteria(config))
    assert together == [
        evaluate(pair.original, pair.protected, surrogate=both, criteria=criteria(config), mask=pair.mask)
        for pair in pairs
    ]
    assert len({found.gain_over_noise for found in together}) == 3
