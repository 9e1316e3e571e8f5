"""What fits into memory is decided before the work, and what does not is one sentence."""

from __future__ import annotations

import weakref

import numpy as np
import psutil
import pytest
import torch
from conftest import smooth_picture

from pca_protect import PictureError, ProtectConfig, protect, protection
from pca_protect.io.picture import Picture
from pca_protect.memory import batch_size, fitting_tile, smaller_tiles
from pca_protect.surrogates.adapter import Surrogate


def used_megabytes() -> float:
    return psutil.Process().memory_info().rss / 1e6


def test_without_a_limit_the_tile_is_the_configured_one(pocket: Surrogate):
    assert fitting_tile(pocket, ProtectConfig(), height=4000, width=6000, source="x") == 768
    assert fitting_tile(pocket, ProtectConfig(tile_px=256), height=4000, width=6000, source="x") == 256


def test_tiles_shrink_in_quarters():
    assert smaller_tiles(768) == [768, 576, 384, 192]
    assert smaller_tiles(256) == [256, 192, 128]
    assert smaller_tiles(128) == [128]


def test_a_tight_limit_takes_smaller_windows_and_says_so(pocket: Surrogate):
    config = ProtectConfig(steps=1, max_memory_megabytes=int(used_megabytes()) + 150)
    assert fitting_tile(pocket, config, height=700, width=700, source="x") < 768
    picture = Picture(np.asarray(smooth_picture(700, 300)))
    record = protect(picture, config, surrogate=pocket).record
    assert record.tile_px < 768
    assert any(f"windows of {record.tile_px} px instead of 768" in warning for warning in record.warnings)


def test_a_limit_that_nothing_fits_into_is_one_sentence(pocket: Surrogate):
    config = ProtectConfig(max_memory_megabytes=100)
    with pytest.raises(PictureError, match=r"wall.png: a window of 192 px needs about \d+ MB .* raise --max-memory"):
        fitting_tile(pocket, config, height=700, width=700, source="wall.png")


def test_a_small_picture_needs_little_whatever_the_tile(pocket: Surrogate):
    config = ProtectConfig(max_memory_megabytes=int(used_megabytes()) + 150)
    assert fitting_tile(pocket, config, height=64, width=64, source="x") == 768


def test_one_picture_at_a_time_on_the_cpu_unless_told_otherwise(tiny: Surrogate):
    assert batch_size(tiny, ProtectConfig(), height=64, width=64) == 1
    assert batch_size(tiny, ProtectConfig(batch=5), height=64, width=64) == 5


def test_running_out_halves_the_batch_then_the_windows_and_the_result_is_the_same(
    tiny: Surrogate, monkeypatch: pytest.MonkeyPatch
):
    """The device's own error, raised where the device would raise it; no CPU runs out of memory on request."""
    pictures = [Picture(np.asarray(smooth_picture(300, 140, seed=seed))) for seed in range(3)]
    config = ProtectConfig(steps=2, tile_px=256, batch=3)
    calm = protection.protect_batch(pictures, config, surrogate=tiny)
    real, tried, held = protection.perturb, [], []

    def tight(batch: object, config: ProtectConfig, *, tile_px: int, **rest: object) -> object:
        tried.append((len(batch.clean), tile_px))  # type: ignore[attr-defined]
        assert not [taken for taken in held if taken() is not None], "what a failed attempt took has to be free again"
        taken = np.zeros(1)
        held.append(weakref.ref(taken))
        if len(batch.clean) > 1:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError
        return real(batch, config, tile_px=tile_px, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(protection, "perturb", tight)
    tense = protection.protect_batch(pictures, config, surrogate=tiny)
    assert tried[0] == (3, 256)
    for one, other in zip(calm, tense, strict=True):
        assert np.array_equal(one.picture.rgb, other.picture.rgb)

    monkeypatch.setattr(protection, "perturb", lambda *a, tile_px, **k: _only(128, real, *a, tile_px=tile_px, **k))
    record = protection.protect_batch(pictures[:1], config, surrogate=tiny)[0].record
    assert record.tile_px == 128
    assert any("windows of 128 px instead of 256" in warning for warning in record.warnings)


def _only(largest: int, real: object, *arguments: object, tile_px: int, **rest: object) -> object:
    if tile_px > largest:
        raise torch.OutOfMemoryError
    return real(*arguments, tile_px=tile_px, **rest)  # type: ignore[operator]
