"""`pca-protect bench scales`: influence of windows and scales on a protection.

seams     mean absolute perturbation within four pixels of a border between windows, divided by that elsewhere
effects   FLIP between edit and clean edit, minus that of noise of the same budget, by the editor's input: the whole picture
          downscaled, a crop across a border, or a crop inside a window
borders   the effect across a border divided by that inside windows; for comparison, the same crops of the picture protected in
          one window
scales    the effect of each arm divided by that of windows at native size
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pca_protect.config import ProtectConfig
from pca_protect.errors import PictureError, UsageError
from pca_protect.eval.arms.perturb import protected
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.protection_configs import ScalesConfig
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.metrics.load import load_metrics, visibility
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.eval.stats import paired_effect, ratio_of_means
from pca_protect.eval.trial import Edits, Trial, prompts_for
from pca_protect.image.tiling import windows
from pca_protect.io.picture import Picture
from pca_protect.io.read import read_picture
from pca_protect.modes import PUBLISHED_MODES
from pca_protect.noise_control import with_noise

View = Callable[[Rgb], Rgb]
Effects = dict[tuple[str, str, str], list[float]]
"""(mode, arm, view) -> the effect beyond noise, by picture."""

NEAR_PX = 4
ONE_WINDOW_PX = 65536
NOISE = "noise"
ARMS = ("one window", "windows", "small", "small and native")
VIEWS = ("small", "across", "inside one", "inside the next")


def measure_scales(config: ScalesConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: the editor or the device is unavailable.
    """
    for names, known in ((config.arms, ARMS), (config.views, VIEWS)):
        if set(names) - set(known):
            raise UsageError(f"{', '.join(names)}: unknown name; choose from {', '.join(known)}")
    bench = Bench("scales", config, folder, on_progress)
    editor = load_editor(config.editor, device=config.device)
    side = editor.size_px
    prompts = tuple(prompts_for(editor, config.prompts))
    trial = Trial(editor, editor.settings, prompts, 1, load_metrics((), size_px=side), batch=3)
    bench.open(budget_levels=ProtectConfig.budget_levels, editor_weights=editor.digest)
    variants = {f"{mode} | {arm}": (mode, arm) for mode in PUBLISHED_MODES for arm in config.arms}

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        picture = read_picture(path)
        views = {name: view for name, view in _views(picture, config.tile_px, side).items() if name in config.views}
        seen = {name: view(picture.rgb) for name, view in views.items()}
        clean = {name: trial.edits(square, square) for name, square in seen.items()}
        for key in missing:
            if key == NOISE:
                changed = with_noise(picture, ProtectConfig.budget_levels, config.seed).rgb
            else:
                request = _request(*variants[key], config, side)
                changed = protected(picture.rgb, request, editor.surrogate)
            moved = {name: _moved(clean[name], trial.edits(view(changed), seen[name])) for name, view in views.items()}
            yield key, {"moved": moved, "seam": seam(picture.rgb, changed, config.tile_px)}

    entries = bench.entries(editor.name, [NOISE, *variants], measure)
    effects: Effects = {}
    for key, (mode, arm) in variants.items():
        for name, entry in entries[key].items():
            for view, moved in entry["moved"].items():
                effects.setdefault((mode, arm, view), []).append(moved - entries[NOISE][name]["moved"][view])
    return bench.finish(
        {
            "seams": [
                {"picture": name, "mode": mode, "border_over_elsewhere": entry["seam"]}
                for key, (mode, arm) in variants.items()
                if arm == "windows"
                for name, entry in entries[key].items()
            ],
            "effects": [
                {"mode": mode, "arm": arm, "view": view, "effect": statistics.fmean(values), "n": len(values)}
                for (mode, arm, view), values in effects.items()
            ],
            "borders": [row for mode in PUBLISHED_MODES for row in border_rows(effects, mode)],
            "scales": [row for mode in PUBLISHED_MODES for row in scale_rows(effects, mode)],
        }
    )


def _request(mode: str, arm: str, config: ScalesConfig, side_px: int) -> ProtectConfig:
    looked_at: dict[str, tuple[int | Literal["native"], ...]] = {
        "small": (side_px,),
        "small and native": (side_px, "native"),
    }
    return ProtectConfig(
        mode=mode,
        preset=config.preset,
        steps=config.steps,
        seed=config.seed,
        tile_px=ONE_WINDOW_PX if arm == "one window" else config.tile_px,
        scales=looked_at.get(arm, ProtectConfig.scales),
    )


def _views(picture: Picture, tile_px: int, side_px: int) -> dict[str, View]:
    """The views of a picture that the editor gets as input, by name.

    Raises:
        PictureError: the picture fits in one window, or is smaller than the editor's input.
    """
    spans = _spans(picture, tile_px)
    if len(spans) < 2 or min(picture.width, picture.height) < side_px:
        raise PictureError(
            f"{picture.source}: {picture.width}x{picture.height} px has no border between windows of {tile_px} px with "
            f"{side_px} px around it; leave it out"
        )
    lying = picture.width >= picture.height
    border, stop = spans[0], spans[1]
    aside = min(64, min(picture.height, picture.width) - side_px)

    def crop(place: int) -> View:
        top, left = (aside, place) if lying else (place, aside)
        return lambda levels: levels[top : top + side_px, left : left + side_px]

    return {
        "small": lambda levels: _downscaled_square(levels, side_px),
        "across": crop(border - side_px // 2),
        "inside one": crop(max(0, (border - side_px) // 2)),
        "inside the next": crop(min(stop - side_px, border + max(0, (stop - border - side_px) // 2))),
    }


def _spans(picture: Picture, tile_px: int) -> list[int]:
    """The ends of the windows along the longer side, in pixels."""
    lying = picture.width >= picture.height
    found = windows(picture.height, picture.width, tile_px=tile_px)
    return [span.last for span in dict.fromkeys(one.columns if lying else one.rows for one in found)]


def _downscaled_square(levels: Rgb, side_px: int) -> Rgb:
    edge = min(levels.shape[:2])
    top, left = ((length - edge) // 2 for length in levels.shape[:2])
    square = Image.fromarray(levels[top : top + edge, left : left + edge])
    return np.asarray(square.resize((side_px, side_px), Image.Resampling.LANCZOS))


def _moved(clean: Edits, edits: Edits) -> float:
    return statistics.fmean(visibility(clean[name], edit) for name, edit in edits.items())


def seam(clean: Rgb, changed: Rgb, tile_px: int) -> float | None:
    """Mean absolute change near borders between windows, divided by that elsewhere; None without a border or a change."""
    change = np.abs(changed.astype(np.int16) - clean).mean(axis=-1)
    near = np.zeros(change.shape, dtype=bool)
    for window in windows(*change.shape, tile_px=tile_px):
        for first, band in ((window.rows.first, near), (window.columns.first, near.T)):
            if first:
                band[first - NEAR_PX : first + NEAR_PX] = True
    if not near.any() or not change[~near].any():
        return None
    return float(change[near].mean() / change[~near].mean())


def border_rows(effects: Mapping[tuple[str, str, str], Sequence[float]], mode: str) -> Iterator[Row]:
    """The effect across a border divided by the mean effect inside the adjacent windows; None if that is not above noise."""
    for arm in ("one window", "windows"):
        if not {(mode, arm, view) for view in ("across", "inside one", "inside the next")} <= effects.keys():
            continue
        inside = np.mean([effects[mode, arm, where] for where in ("inside one", "inside the next")], axis=0)
        across = effects[mode, arm, "across"]
        ratio = ratio_of_means(across, inside.tolist()).value
        yield {"mode": mode, "arm": arm, "across_over_inside": ratio, "n": len(across)}


def scale_rows(effects: Mapping[tuple[str, str, str], Sequence[float]], mode: str) -> Iterator[Row]:
    """The effect of each arm divided by that of windows at native size, and the paired difference."""
    for view in ("small", "inside one"):
        for arm in ("one window", "small", "small and native"):
            if not {(mode, "windows", view), (mode, arm, view)} <= effects.keys():
                continue
            found, native = effects[mode, arm, view], effects[mode, "windows", view]
            ratio = ratio_of_means(found, native)
            pairs = paired_effect(found, native)
            yield {
                "mode": mode,
                "view": view,
                "arm": arm,
                "over": "windows",
                "ratio": ratio.value,
                "ratio_ci_low": ratio.ci_low,
                "ratio_ci_high": ratio.ci_high,
                "difference": statistics.fmean(found) - statistics.fmean(native),
                "ci_low": pairs.ci_low,
                "ci_high": pairs.ci_high,
                "p": pairs.p,
                "n": len(found),
            }
