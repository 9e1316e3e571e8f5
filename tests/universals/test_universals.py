"""Files of universal perturbations, the cache, and which tile a request gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import smooth_picture
from safetensors.torch import save_file

from pca_protect.config import ProtectConfig
from pca_protect.errors import ModelError, UsageError
from pca_protect.initialisation import init_for, lacks_universal
from pca_protect.protection import protect
from pca_protect.surrogates.encoder import Surrogate, ensemble
from pca_protect.universals import store
from pca_protect.universals.files import MemberShift, Universal, read_universals, write_universals


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "universals"


def made(*surrogates: Surrogate, gain: float = 2.0, **values: object) -> Universal:
    tile = torch.randint(-127, 128, (3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    universal = Universal(
        tile=tile,
        mode="diffusion",
        budget_levels=16,
        grid_px=8,
        encoders={surrogate.digest: surrogate.name for surrogate in surrogates},
        steps=1,
        batch=1,
        crop_px=128,
        pictures=8,
        held_out=2,
        visible_levels=2.5,
        members=tuple(MemberShift(surrogate.name, gain, 0.5, 1.0) for surrogate in surrogates),
    )
    return replace(universal, **values)  # type: ignore[arg-type]


def test_a_file_keeps_tiles_and_their_training(tiny: Surrogate, pocket: Surrogate, tmp_path: Path):
    path = tmp_path / "new" / "two.safetensors"
    both = [made(tiny), made(tiny, pocket, mode="subtle", budget_levels=8)]
    write_universals(both, path)
    for before, after in zip(sorted(both, key=lambda one: one.key), read_universals(path), strict=True):
        assert torch.equal(before.tile, after.tile)
        assert before.sha256 == after.sha256
        assert {**vars(before), "tile": None} == {**vars(after), "tile": None}
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_weakest_encoder_decides_whether_noise_is_beaten(tiny: Surrogate):
    members = (MemberShift("a", 3.0, 0.1, 1.0), MemberShift("b", 1.2, 0.1, 1.0))
    assert made(tiny, members=members).gain == pytest.approx(1.2)
    assert not made(tiny, members=members).beats_noise
    assert made(tiny, members=members[:1]).beats_noise


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no tensors"),
        lambda path: save_file({"a": torch.zeros(3, 64, 64, dtype=torch.int8)}, path),
        lambda path: save_file({"a": torch.zeros(3, 64, 64)}, path, metadata={"a": "{}"}),
        lambda path: path.write_bytes(path.read_bytes().replace(b'\\"grid_px\\": 8', b'\\"grid_px\\": 7')),
        lambda path: path.write_bytes(path.read_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 2')),
    ],
)
def test_a_damaged_file_is_named(tiny: Surrogate, tmp_path: Path, damage):
    path = tmp_path / "tile.safetensors"
    write_universals([made(tiny)], path)
    damage(path)
    with pytest.raises(ModelError, match=r"tile\.safetensors"):
        read_universals(path)
    with pytest.raises(UsageError, match=r"missing\.safetensors"):
        read_universals(tmp_path / "missing.safetensors")


def test_a_request_gets_a_tile_from_the_cache_for_any_encoder(tiny: Surrogate, cache: Path):
    instant = ProtectConfig(preset="instant", device="cpu")
    assert lacks_universal(tiny, instant)
    universal = made(tiny)
    assert store.add(universal).parent == cache
    assert not lacks_universal(tiny, instant)
    record = protect(smooth_picture(64, 64), instant, surrogate=tiny).record
    assert (record.init, record.init_sha256, record.steps) == ("universal", universal.sha256, 0)
    never = replace(instant, preset="fast", steps=1, universal="never")
    assert init_for(tiny, never) is None
    assert not lacks_universal(tiny, never)
    with pytest.raises(UsageError, match="`universal=never`"):
        init_for(tiny, replace(instant, universal="never"))


def test_steps_start_from_the_clean_picture_if_the_tile_was_measured_to_be_a_worse_start(tiny: Surrogate, cache: Path):
    fast = ProtectConfig(preset="fast", device="cpu")
    path = store.add(replace(made(tiny), start_gain=0.9))
    assert init_for(tiny, fast) is None
    assert not lacks_universal(tiny, fast), "another training would not help"
    assert init_for(tiny, replace(fast, preset="instant")) is not None
    assert init_for(tiny, replace(fast, universal=str(path))) is not None, "asked for by name"
    store.add(replace(made(tiny), start_gain=1.1))
    assert init_for(tiny, fast) is not None


def test_one_tile_serves_several_encoders_and_each_of_them(tiny: Surrogate, pocket: Surrogate, cache: Path):
    shared, own = made(tiny, pocket), made(tiny)
    store.add(shared)
    instant = ProtectConfig(preset="instant", device="cpu")
    for surrogate in (ensemble([tiny, pocket]), ensemble([pocket, tiny]), tiny):
        found = init_for(surrogate, instant)
        assert found is not None
        assert found.key == shared.key
    store.add(own)
    found = init_for(tiny, instant)
    assert found is not None
    assert found.key == own.key, "its own before a shared one"
    assert init_for(ensemble([tiny, pocket]), replace(instant, preset="fast", scales=("native", 64))) is not None


def test_steps_against_several_encoders_start_from_the_mean_of_their_tiles(
    tiny: Surrogate, pocket: Surrogate, cache: Path
):
    both, fast = ensemble([tiny, pocket]), ProtectConfig(preset="fast", device="cpu")
    assert init_for(both, fast) is None
    assert lacks_universal(both, fast)
    own = made(tiny)
    store.add(own)
    found, of_pocket = init_for(both, fast), init_for(pocket, fast)
    assert found is not None
    assert of_pocket is not None
    mean = (own.tile.float() + of_pocket.tile.float()) / 2
    assert (found.tile.float() - mean).abs().max() <= 0.5
    assert list(found.encoders) == [tiny.digest, pocket.digest]
    assert not lacks_universal(both, fast)
    with pytest.raises(UsageError, match="none is trained"):
        init_for(both, replace(fast, preset="instant"))
    assert lacks_universal(both, replace(fast, preset="instant"))


def test_a_tile_no_better_than_noise_is_refused_without_steps(tiny: Surrogate, cache: Path):
    store.add(made(tiny, gain=1.1))
    instant = ProtectConfig(preset="instant", device="cpu")
    with pytest.raises(UsageError, match=r"only 1\.1 times as far as equally visible noise; use `preset=fast`"):
        init_for(tiny, instant)
    assert not lacks_universal(tiny, instant), "it was trained, and would be trained in vain again"
    assert init_for(tiny, replace(instant, preset="fast")) is not None


@pytest.mark.parametrize(
    ("values", "request_", "says"),
    [
        ({"grid_px": 4}, {}, "its grid of 4 px does not fit"),
        ({"budget_levels": 8}, {}, "`budget_levels=8`, less than the requested 16"),
        ({"mode": "subtle"}, {}, "`mode=subtle`, not diffusion"),
        ({"encoders": {"0" * 64: "other"}}, {}, "weights of other"),
        ({"budget_levels": 8}, {"preset": "fast"}, "`budget_levels=8`"),
    ],
)
def test_a_named_file_that_does_not_fit_is_refused(
    tiny: Surrogate, tmp_path: Path, values: dict, request_: dict, says: str
):
    path = tmp_path / "tile.safetensors"
    write_universals([made(tiny, **values)], path)
    config = ProtectConfig(**{"preset": "instant", "universal": str(path), "device": "cpu", **request_})
    with pytest.raises(UsageError, match=says) as caught:
        protect(smooth_picture(64, 64), config, surrogate=tiny)
    assert "`universal=auto`" in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_a_tile_suits_smaller_budgets(tiny: Surrogate, cache: Path):
    store.add(made(tiny))
    config = ProtectConfig(preset="instant", device="cpu", budget_levels=5)
    assert protect(smooth_picture(64, 64), config, surrogate=tiny).record.max_change_levels == 5
    with pytest.raises(UsageError, match="none is trained"):
        init_for(tiny, replace(config, budget_levels=17))
