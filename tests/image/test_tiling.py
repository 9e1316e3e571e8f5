"""Windows cover every picture once, leave no seams, and bound what the encoder sees."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, smooth_picture
from PIL import Image

from pca_protect import engine as perturb_module
from pca_protect.config import ProtectConfig
from pca_protect.engine import perturb
from pca_protect.errors import UsageError
from pca_protect.image.batch import Batch
from pca_protect.image.lanczos import shrinking
from pca_protect.image.resize import fitting, resized, sizes
from pca_protect.image.scales import SmallerPart, SmallerPictures
from pca_protect.image.tensors import to_tensor
from pca_protect.image.tiling import OVERLAP_PX, Span, Window, smallest_tile, spans, window_grid, windows
from pca_protect.modes import PUBLISHED_MODES
from pca_protect.surrogates.encoder import Surrogate

TILE = 128


def levels(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.asarray(smooth_picture(width, height, seed=seed))


def one(picture: np.ndarray, config: ProtectConfig, surrogate: Surrogate, **settings: object) -> np.ndarray:
    batch = Batch([picture], [settings.pop("free", None)], [settings.pop("gray", False)])
    return perturb(batch, config, surrogate=surrogate, tile_px=config.tile_px, **settings).levels[0]


@pytest.mark.parametrize("grid_px", [16, 32, 48, 128])
@pytest.mark.parametrize("tile_px", [128, 192, 448, 768])
def test_spans_lie_on_the_grid_cover_a_side_once_and_overlap(tile_px: int, grid_px: int):
    if tile_px < smallest_tile(grid_px):
        with pytest.raises(
            UsageError, match=rf"windows of {tile_px} px .* grid of {grid_px} px; use a tile of at least"
        ):
            spans(4001, tile_px=tile_px, grid_px=grid_px)
        assert spans(tile_px, tile_px=tile_px, grid_px=grid_px) == [Span(0, tile_px, 0, tile_px)]
        return
    for length in [*range(8, 600, 7), tile_px, tile_px + 1, 4001, 6016]:
        found = spans(length, tile_px=tile_px, grid_px=grid_px)
        assert found[0].start == found[0].first == 0
        assert found[-1].stop == found[-1].last == length
        sides = [-(-(span.stop - span.start) // grid_px) for span in found]
        assert len(set(sides)) == 1, "one shape after the extension to the grid, one set of convolutions"
        for span in found:
            assert span.start <= span.first < span.last <= span.stop
            assert span.stop - span.start <= tile_px
            assert span.start % grid_px == span.first % grid_px == 0
        for left, right in pairwise(found):
            assert left.last == right.first
            assert left.stop - right.start >= max(OVERLAP_PX, 2 * grid_px) - (length % -grid_px + grid_px) % grid_px
            assert right.first - right.start >= grid_px, "what is kept was seen with surroundings"


def test_as_few_spans_as_possible():
    assert [len(spans(length, tile_px=768, grid_px=16)) for length in (768, 769, 1472, 1473, 6016)] == [1, 2, 2, 3, 9]


def test_the_grid_of_windows_is_that_of_every_encoder():
    assert window_grid([8]) == 16, "JPEG with halved chroma has blocks of 16 px"
    assert window_grid([8, 32]) == 32
    assert window_grid([24, 16]) == 48


@pytest.mark.parametrize("multiple", [8, 32])
def test_windows_of_an_encoder_lie_on_its_grid(pocket: Surrogate, monkeypatch: pytest.MonkeyPatch, multiple: int):
    """Every part of every scale that an encoder is given starts where the latent of the whole starts a position."""
    starts: list[tuple[int, int]] = []
    real_part, real_windows = SmallerPictures.part, perturb_module.windows

    def part(self: SmallerPictures, window: Window) -> SmallerPart:
        found = real_part(self, window)
        starts.append((found.rows.encoded.start, found.columns.encoded.start))
        return found

    def laid(*size: int, **settings: int) -> list[Window]:
        found = real_windows(*size, **settings)
        starts.extend((window.rows.start, window.columns.start) for window in found)
        return found

    monkeypatch.setattr(SmallerPictures, "part", part)
    monkeypatch.setattr(perturb_module, "windows", laid)
    one(
        levels(411, 333),
        ProtectConfig(tile_px=TILE, steps=1, scales=(170, "native")),
        replace(pocket, multiple=multiple),
    )
    assert len(starts) > 30
    assert all(begin % max(16, multiple) == 0 for start in starts for begin in start)


def test_windows_keep_every_pixel_once_and_know_what_is_decided():
    decided = np.zeros((300, 421), dtype=int)
    for window in windows(300, 421, tile_px=TILE):
        rows, columns = window.open_of_seen
        seen = decided[window.seen]
        assert not seen[rows, columns].any(), "open means undecided"
        decided[window.kept] += 1
        assert decided[window.seen][window.kept_of_seen].all()
    assert (decided == 1).all()


@pytest.mark.parametrize("mode", PUBLISHED_MODES)
def test_no_seams(pocket: Surrogate, mode: str):
    """The mean absolute perturbation along borders is that of elsewhere, within a tenth."""
    picture = np.asarray(Image.open(ASTRONAUT).convert("RGB").crop((0, 0, 320, 288)))
    config = ProtectConfig(mode=mode, tile_px=TILE, preset="fast", steps=6)
    change = np.abs(one(picture, config, pocket).astype(int) - picture).mean(axis=-1)
    near = np.zeros(change.shape, dtype=bool)
    for window in windows(*change.shape, tile_px=TILE):
        for first, band in ((window.rows.first, near), (window.columns.first, near.T)):
            if first:
                band[first - 4 : first + 4] = True
    assert near.mean() > 0.08
    assert change[near].mean() == pytest.approx(change[~near].mean(), rel=0.1)


@pytest.mark.parametrize("scales", [(), ("native",), (64, "native"), (64, 96)])
@pytest.mark.parametrize("budget", [1, 7, 16])
def test_windows_and_scales_stay_within_the_budget(tiny: Surrogate, scales: tuple[int | str, ...], budget: int):
    picture = levels(230, 201)
    config = ProtectConfig(tile_px=TILE, steps=3, budget_levels=budget, scales=scales)
    changed = one(picture, config, tiny)
    difference = np.abs(changed.astype(int) - picture)
    assert difference.max() <= budget
    assert difference.mean() > (0 if budget == 1 else 0.2 * budget)


def test_a_picture_of_one_window_is_what_it_was_without_windows(tiny: Surrogate):
    picture = levels(128, 97)
    small, large = (one(picture, ProtectConfig(tile_px=tile, steps=4), tiny) for tile in (TILE, 768))
    assert np.array_equal(small, large)


def test_every_window_moves_the_loss(pocket: Surrogate):
    """A picture cut up is protected in every part, those across borders too."""
    picture = np.asarray(Image.open(ASTRONAUT).convert("RGB").crop((100, 0, 356, 256)))
    changed = one(picture, ProtectConfig(tile_px=TILE, preset="fast"), pocket)
    whole = one(picture, ProtectConfig(preset="fast"), pocket)

    def norm(of: np.ndarray, top: int, left: int) -> float:
        with torch.no_grad():
            return float(pocket.posterior(to_tensor([of[top : top + 96, left : left + 96]])).mean.norm())

    for top, left in ((80, 80), (16, 16), (140, 80)):
        assert norm(changed, top, left) > 1.15 * norm(picture, top, left)
        assert norm(changed, top, left) > 0.9 * norm(whole, top, left)


@pytest.mark.parametrize("preset", ["paper", "balanced"])
def test_outside_the_mask_nothing_changes(tiny: Surrogate, preset: str):
    picture = levels(220, 150)
    free = np.zeros((150, 220), dtype=bool)
    free[30:90, 50:190] = True
    for scales in ((), (64, "native")):
        config = ProtectConfig(tile_px=TILE, steps=3, preset=preset, scales=scales)
        changed = one(picture, config, tiny, free=free)
        assert np.array_equal(changed[~free], picture[~free])
        assert (changed[free] != picture[free]).mean() > 0.7


def test_windows_without_anything_to_change_cost_nothing(tiny: Surrogate):
    picture, free = levels(400, 128), np.zeros((128, 400), dtype=bool)
    free[:, :40] = True
    calls: list[tuple[int, int]] = []
    one(
        picture,
        ProtectConfig(tile_px=TILE, steps=2),
        tiny,
        free=free,
        on_step=lambda done, of, loss: calls.append((done, of)),
    )
    assert calls == [(0, 12), (1, 12), (2, 12)], "six windows, and the first alone is worked on"


def test_grey_pictures_change_equally_in_all_channels(tiny: Surrogate):
    gray = np.repeat(np.asarray(smooth_picture(150, 90, channels=1))[..., None], 3, axis=-1)
    changed = one(gray, ProtectConfig(tile_px=TILE, steps=4, scales=(64, "native")), tiny, gray=True)
    assert (changed != gray).mean() > 0.7
    assert np.array_equal(changed[..., 0], changed[..., 1])
    assert np.array_equal(changed[..., 0], changed[..., 2])


def test_what_a_picture_becomes_does_not_depend_on_its_batch(pocket: Surrogate):
    pictures = [levels(150, 70, seed=seed) for seed in range(3)]
    free = [None, np.arange(150 * 70).reshape(70, 150) % 3 > 0, None]
    gray = [False, False, True]
    pictures[2] = np.repeat(pictures[2][..., :1], 3, axis=-1)
    config = ProtectConfig(tile_px=TILE, steps=5)
    together = perturb(Batch(pictures, free, gray), config, surrogate=pocket, tile_px=TILE).levels
    for number, picture in enumerate(pictures):
        alone = perturb(Batch([picture], [free[number]], [gray[number]]), config, surrogate=pocket, tile_px=TILE).levels
        assert np.array_equal(together[number], alone[0])


def test_sizes_of_scales():
    assert sizes(600, 800, ()) == [(600, 800)]
    assert sizes(600, 800, ("native",)) == [(600, 800)]
    assert sizes(600, 800, (512, 256)) == [(256, 341), (512, 683)]
    assert sizes(600, 800, (512, "native")) == [(512, 683), (600, 800)]
    assert sizes(600, 800, (512, 600, 1024)) == [(512, 683), (600, 800)]


def test_sizes_of_one_megapixel():
    """FLUX.1 Kontext's list has 832x1248, 880x1184 and 1024x1024."""
    assert sizes(2000, 3000, ("1mp",)) == [(832, 1248)]
    assert sizes(4000, 3000, ("1mp",)) == [(1184, 880)]
    assert sizes(9001, 9001, ("1mp", "native")) == [(1024, 1024), (9001, 9001)]
    assert sizes(4096, 4096, ("1mp", 1024, 512)) == [(512, 512), (1024, 1024)]
    assert sizes(3000, 30000, ("1mp",)) == [(320, 3232)]
    for own in ((24, 40), (600, 800), (1024, 1024), (1020, 1030), (60, 20_000), (9, 200_000)):
        assert sizes(*own, ("1mp",)) == [own], "not larger than it is"
    assert sizes(3000, 4000, ("1mp", "native"), longest_px=1080) == [(810, 1080)]


def test_sizes_of_what_is_made_smaller_first():
    assert sizes(3000, 4000, (), longest_px=1080) == [(810, 1080)]
    assert sizes(3000, 4000, (512, "native", 1024), longest_px=1080) == [(512, 683), (810, 1080)]
    assert sizes(600, 800, (), longest_px=1080) == [(600, 800)]


def test_the_size_that_fits_is_pillows():
    for (width, height), longest in zip(
        np.random.default_rng(0).integers(8, 400, (300, 2)).tolist(), range(8, 308), strict=True
    ):
        thumbnail = Image.new("L", (width, height))
        thumbnail.thumbnail((longest, longest))
        assert fitting(height, width, longest) == (thumbnail.height, thumbnail.width)


@pytest.mark.parametrize(("length", "smaller"), [(640, 160), (600, 251), (97, 64), (65, 64)])
def test_the_matrices_shrink_as_pillow_does(length: int, smaller: int):
    plane = np.random.default_rng(0).uniform(0, 255, (length, 40)).astype(np.float32)
    expected = np.asarray(Image.fromarray(plane).resize((40, smaller), Image.Resampling.LANCZOS))
    first, matrix = shrinking(length, smaller, 0, length)
    assert first == 0
    assert np.abs(matrix @ plane - expected).max() < 1e-2
    start, stop = length // 3, length // 2
    first, part = shrinking(length, smaller, start, stop)
    expected_part = np.zeros_like(matrix[:, start:stop])
    expected_part[first : first + len(part)] = part
    assert np.abs(expected_part - matrix[:, start:stop]).max() < 1e-6


def test_smaller_pictures_follow_what_windows_decide():
    """Window by window, what becomes of the smaller picture is the changed picture made smaller."""
    picture = levels(330, 250)
    changed = (picture.astype(int) + np.random.default_rng(0).integers(-16, 17, picture.shape)).clip(0, 255)
    changed = changed.astype(np.uint8)
    smaller = SmallerPictures([picture], (80, 106), torch.device("cpu"), grid_px=16)
    for window in windows(250, 330, tile_px=TILE):
        kept = torch.zeros(1, 3, *picture[window.seen].shape[:2])
        place = (..., *window.kept_of_seen)
        difference = to_tensor([changed[window.seen]]) - to_tensor([picture[window.seen]])
        kept[place] = difference[place]
        foreseen = smaller.part(window).with_change(kept)
        smaller.change(window, kept)
        part = smaller.part(window)
        assert torch.allclose(part.now.clamp(0, 1), foreseen, atol=1e-6)
    expected = to_tensor([resized(changed, (80, 106))])
    whole = smaller.part(windows(250, 330, tile_px=512)[0]).now
    error = (whole - expected).abs() * 255
    assert error.mean() < 0.5, "Pillow rounds to whole levels, twice"
    assert error.max() < 16, "and cuts off what overshoots beside black and white corners"


@pytest.mark.parametrize("mode", PUBLISHED_MODES)
def test_scales_protect_the_picture_made_smaller(pocket: Surrogate, mode: str):
    """Where an editor sees it at a third of its size, naming that size moves the encoder much further, and the picture
    itself nearly as far."""
    picture = np.asarray(Image.open(ASTRONAUT).convert("RGB").crop((80, 0, 368, 288)))
    settings = {"mode": mode, "preset": "fast", "tile_px": 192}
    found = {scales: one(picture, ProtectConfig(**settings, scales=scales), pocket) for scales in ((), (96, "native"))}

    def moved(changed: np.ndarray, size: tuple[int, int]) -> float:
        clean, after = (pocket.posterior(to_tensor([resized(of, size)])).mean for of in (picture, changed))
        return float((after - clean).norm())

    with torch.no_grad():
        assert moved(found[(96, "native")], (96, 96)) > 1.5 * moved(found[()], (96, 96))
        assert moved(found[(96, "native")], (288, 288)) > 0.6 * moved(found[()], (288, 288))
