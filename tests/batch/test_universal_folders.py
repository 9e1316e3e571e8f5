"""A folder without a universal perturbation: one is trained on its own pictures first, if that pays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import smooth_picture
from folders import Recorder, outputs

from pca_protect.batch import universal as module
from pca_protect.batch.request import Request
from pca_protect.batch.run import run
from pca_protect.batch.universal import break_even
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.universal_training.measure import START_CROPS
from pca_protect.universals import store

Ask = Callable[..., tuple[Request, ProtectConfig]]


@pytest.fixture
def ask(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_TRAINING_STEPS", 1)

    def asked(count: int, side_px: int = 96, **values: str) -> tuple[Request, ProtectConfig]:
        folder = tmp_path / "photos"
        folder.mkdir()
        for number in range(count):
            smooth_picture(side_px, side_px + 3, seed=number).save(folder / f"{number:02}.png")
        config = ProtectConfig(**{"vae": str(tiny_folder), "device": "cpu", **values})  # type: ignore[arg-type]
        return Request((str(folder),), output=tmp_path / "out", evaluate=False), config

    return asked


def test_a_folder_trains_what_instant_lacks_and_says_so(ask: Ask, tiny: Surrogate, tmp_path: Path):
    request, config = ask(11, preset="instant", mode="concentration")  # takes steps: a weak tile will do
    recorder = Recorder()
    summary = run(request, config, recorder)
    assert summary.protected == 11
    assert {outcome.record.init for outcome in recorder.outcomes if outcome.record} == {"universal"}
    assert any(
        "training one on 8 of these pictures, which saves time from 11 pictures on" in said
        for said in recorder.messages
    )
    assert list(store.cached_universals()) == [store.cached_file(next(iter(store.cached_universals().values())))]
    again = Recorder()
    run(Request(request.names, output=tmp_path / "again", evaluate=False), config, again)
    assert not any("trains one" in said for said in again.messages)
    assert outputs(tmp_path / "again") == outputs(tmp_path / "out")


def test_two_pictures_do_not_pay_for_a_training(ask: Ask, tmp_path: Path):
    request, config = ask(2, preset="instant")
    with pytest.raises(
        UsageError, match=r"saves time from 8 of these pictures, not for 2; use `preset=fast`"
    ) as caught:
        run(request, config, Recorder())
    assert len(str(caught.value)) <= 300
    assert not (tmp_path / "out").exists()
    assert not store.cache_folder().exists()


def test_fast_does_without_where_training_does_not_pay(ask: Ask):
    request, config = ask(9, preset="fast", steps=1, side_px=40)
    recorder = Recorder()
    assert run(request, config, recorder).protected == 9
    assert not recorder.messages
    assert not store.cache_folder().exists()


@pytest.mark.parametrize("values", [{"universal": "never"}, {"scales": (64,)}, {"preset": "paper"}])
def test_nothing_is_trained_that_is_not_used(ask: Ask, values: dict):
    request, config = ask(9, **{"preset": "fast", "steps": 1, **values})
    recorder = Recorder()
    assert run(request, config, recorder).protected == 9
    assert not recorder.messages
    assert not store.cache_folder().exists()


def test_training_pays_when_it_saves_more_gradients_than_it_takes(tiny: Surrogate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_TRAINING_STEPS", 60)
    taken = (60 * 4 + 2 * 8 * START_CROPS) * 128**2
    for preset, mode, saved in (("instant", "diffusion", 8), ("instant", "concentration", 6), ("fast", "subtle", 1)):
        config = ProtectConfig(preset=preset, mode=mode)
        pixels = taken / saved / 20
        assert break_even(config, tiny, pixels=pixels) == 20
        assert break_even(config, tiny, pixels=0.99 * pixels) == 21
        assert break_even(config, tiny, pixels=1e9) == 8, "fewer cannot be trained on"
