"""What fits into memory is decided before the work, and what does not is one sentence."""

from __future__ import annotations

import gc
import re
import weakref

import numpy as np
import psutil
import pytest
import torch
from conftest import smooth_picture
from torch import nn

from pca_protect import PictureError, ProtectConfig, frames, memory, protect, protection
from pca_protect.engine import demand
from pca_protect.io.picture import Picture
from pca_protect.memory import MemoryPlan, _saved, batch_size, candidate_plans, choose_plan, smaller_tiles
from pca_protect.surrogates.encoder import Encoder, Surrogate


def used_megabytes() -> float:
    return psutil.Process().memory_info().rss / 1e6


def test_without_a_limit_the_tile_is_the_configured_one(pocket: Surrogate):
    assert choose_plan(pocket, demand(ProtectConfig(), height=4000, width=6000), source="x") == MemoryPlan(768, False)
    assert choose_plan(pocket, demand(ProtectConfig(tile_px=256), height=4000, width=6000), source="x") == MemoryPlan(
        256, False
    )


def test_tiles_shrink_in_quarters():
    assert smaller_tiles(768) == [768, 576, 384, 192]
    assert smaller_tiles(256) == [256, 192, 128]
    assert smaller_tiles(128) == [128]
    assert smaller_tiles(768, grid_px=128) == [768, 576, 384], "a grid of 128 px takes windows of three steps"


def test_checkpoints_come_before_smaller_windows(tiny: Surrogate):
    assert candidate_plans(tiny, 256) == [
        MemoryPlan(side, checkpointed) for side in (256, 192, 128) for checkpointed in (False, True)
    ]


def test_a_limit_that_checkpoints_meet_changes_no_byte(tiny: Surrogate, monkeypatch: pytest.MonkeyPatch):
    """Room for what they take, and not for what is taken without: measured, as everything here, on the real encoder."""
    picture = Picture(np.asarray(smooth_picture(260, 200)))
    config = ProtectConfig(steps=2)
    plain, checkpointed = (
        memory._needed(tiny, demand(config, height=200, width=260), fit) for fit in candidate_plans(tiny, 768)[:2]
    )
    assert checkpointed < plain
    monkeypatch.setattr(memory, "_available_bytes", lambda device, limit: (plain + checkpointed) / 2 + 16 * 200 * 260)
    assert choose_plan(tiny, demand(config, height=200, width=260), source="x") == MemoryPlan(768, True)
    used: list[Surrogate] = []
    real = frames.perturb

    def seen(*arguments: object, surrogate: Surrogate, **rest: object) -> object:
        used.append(surrogate)
        return real(*arguments, surrogate=surrogate, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(frames, "perturb", seen)
    tight = protect(picture, config, surrogate=tiny)
    monkeypatch.undo()
    roomy = protect(picture, config, surrogate=tiny)
    assert used == [tiny.checkpointed]
    assert np.array_equal(tight.picture.rgb, roomy.picture.rgb)
    assert tight.record.tile_px == roomy.record.tile_px == 768
    assert not any("windows of" in warning for warning in tight.record.warnings)


def test_what_is_kept_is_measured_on_the_encoder(tiny: Surrogate):
    """Counted by hand for (8, 16, 16, 16) channels, a block a level: a block keeps the inputs of its two normalisations, and
    checkpointed its own input, with what one block keeps besides while its turn lasts."""
    kept = _saved(tiny)
    levels = [8 * 4, 8 * 4, 8 * 4 / 4, 16 * 4 / 4, 16 * 4 / 16, 16 * 4 / 16]
    assert sorted(kept.plain, reverse=True)[:6] == sorted(levels, reverse=True)
    assert sum(levels) < sum(kept.plain) < sum(levels) + 20
    spared = 16 * 4 / 4 + 16 * 4 / 16
    assert kept.checkpointed == pytest.approx(sum(kept.plain) - spared, abs=4)


def test_an_encoder_that_was_measured_can_go():
    encoder = Encoder(nn.Conv2d(3, 8, 1), None, has_variance=True, takes_video=False)
    surrogate = Surrogate("one", "", "", encoder, multiple=8, latent_channels=4)
    choose_plan(surrogate, demand(ProtectConfig(), height=64, width=64), source="x")
    gone = weakref.ref(encoder)
    del encoder, surrogate
    gc.collect()
    assert gone() is None


def test_a_tight_limit_takes_smaller_windows_and_says_so(pocket: Surrogate):
    config = ProtectConfig(steps=1, max_memory_megabytes=int(used_megabytes()) + 150)
    assert choose_plan(pocket, demand(config, height=700, width=700), source="x").tile_px < 768
    picture = Picture(np.asarray(smooth_picture(700, 300)))
    record = protect(picture, config, surrogate=pocket).record
    assert record.tile_px < 768
    assert any(f"{record.tile_px} px were used" in warning for warning in record.warnings)


def test_a_limit_that_nothing_fits_into_is_one_sentence(pocket: Surrogate):
    config = ProtectConfig(max_memory_megabytes=100)
    for side, window in ((700, 192), (90, 90)):
        with pytest.raises(
            PictureError,
            match=rf"wall.png: a window of {window} px needs about \d+ MB .* raise `max_memory_megabytes` to \d+, most of",
        ) as said:
            choose_plan(pocket, demand(config, height=side, width=side), source="wall.png")
        least = int(re.findall(r"`max_memory_megabytes` to (\d+)", str(said.value))[0])
        assert choose_plan(
            pocket, demand(ProtectConfig(max_memory_megabytes=least + 20), height=side, width=side), source="x"
        )


def test_a_small_picture_needs_little_whatever_the_tile(pocket: Surrogate):
    config = ProtectConfig(max_memory_megabytes=int(used_megabytes()) + 150)
    assert choose_plan(pocket, demand(config, height=64, width=64), source="x") == MemoryPlan(768, False)


def test_one_picture_at_a_time_on_the_cpu_unless_told_otherwise(tiny: Surrogate):
    assert batch_size(tiny, demand(ProtectConfig(), height=64, width=64), at_most=None) == 1
    assert batch_size(tiny, demand(ProtectConfig(), height=64, width=64), at_most=5) == 5


def test_a_batch_is_no_larger_than_memory(tiny: Surrogate, monkeypatch: pytest.MonkeyPatch):
    """The graphs of all its pictures exist until the backward pass."""
    config = ProtectConfig(batch=5)
    one = memory._needed(tiny, demand(config, height=64, width=64), MemoryPlan(768, checkpointed=False)) + 16 * 64 * 64
    for room, pictures in ((0.5, 1), (1.5, 1), (3.1, 3), (9.0, 5)):
        monkeypatch.setattr(memory, "_available_bytes", lambda device, limit, room=room: room * one)
        assert batch_size(tiny, demand(config, height=64, width=64), at_most=config.batch) == pictures


def test_running_out_halves_the_batch_then_the_windows_and_the_result_is_the_same(
    tiny: Surrogate, monkeypatch: pytest.MonkeyPatch
):
    """The device's own error, raised where the device would raise it; no CPU runs out of memory on request."""
    pictures = [Picture(np.asarray(smooth_picture(300, 140, seed=seed))) for seed in range(3)]
    config = ProtectConfig(steps=2, tile_px=256, batch=3)
    calm = protection.protect_batch(pictures, config, surrogate=tiny)
    real, tried, held = frames.perturb, [], []

    def tight(batch: object, config: ProtectConfig, *, tile_px: int, **rest: object) -> object:
        tried.append((len(batch.clean), tile_px))  # type: ignore[attr-defined]
        assert not [taken for taken in held if taken() is not None], "what a failed attempt took has to be free again"
        taken = np.zeros(1)
        held.append(weakref.ref(taken))
        if len(batch.clean) > 1:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError
        return real(batch, config, tile_px=tile_px, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(frames, "perturb", tight)
    tense = protection.protect_batch(pictures, config, surrogate=tiny)
    assert tried[0] == (3, 256)
    for one, other in zip(calm, tense, strict=True):
        assert np.array_equal(one.picture.rgb, other.picture.rgb)

    tried.clear()

    def only_small(*arguments: object, tile_px: int, surrogate: Surrogate, on_step: object) -> object:
        tried.append((surrogate is tiny.checkpointed, tile_px))
        if tile_px > 128 or surrogate is tiny:
            raise torch.OutOfMemoryError
        return real(*arguments, tile_px=tile_px, surrogate=surrogate, on_step=on_step)  # type: ignore[arg-type]

    monkeypatch.setattr(frames, "perturb", only_small)
    record = protection.protect_batch(pictures[:1], config, surrogate=tiny)[0].record
    assert tried == [(fit.checkpointed, fit.tile_px) for fit in candidate_plans(tiny, 256)]
    assert record.tile_px == 128
    assert any("128 px were used" in warning for warning in record.warnings)
