"""Measure what windows and scales do: seams, edits across a border, and edits of the picture at another size.

python scripts/measure_tiling.py --images FOLDER [FOLDER ...]

Seams: the mean absolute perturbation within four pixels of a border between windows, over that elsewhere. Borders: how far
protection moves the edit (FLIP, to the clean edit, beyond noise of the same budget) of a crop across a border, over that of crops
that lie in one window, and the same crops of the picture protected in one window, since crops differ. Scales: the same effect
where the editor sees the whole picture made small, and where it sees a crop.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pca_protect.config import PUBLISHED_MODES, ProtectConfig
from pca_protect.engine import Batch, perturb
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.environment import environment
from pca_protect.eval.metrics.load import load_metrics, visibility
from pca_protect.eval.pictures import pictures_in
from pca_protect.eval.stats import paired_effect, ratio_of_means
from pca_protect.eval.trial import Trial, prompts_for
from pca_protect.evaluation import with_noise
from pca_protect.image.tiling import windows
from pca_protect.io.picture import Picture
from pca_protect.io.read import read_picture

Levels = NDArray[np.uint8]
View = Callable[[Levels], Levels]

NEAR_PX = 4


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--pictures", type=int, default=8, help="of each folder")
    parser.add_argument("--editor", default="pocket-editor")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--arms", nargs="+", default=["one window", "windows", "small", "small and native"])
    parser.add_argument("--views", nargs="+", default=["small", "across", "inside one", "inside the next"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/tiling.json"))
    options = parser.parse_args(arguments)

    editor = load_editor(options.editor, device=options.device)
    side = editor.size_px
    names = ("snow", "sunset", "watercolor")
    trial = Trial(editor, editor.settings, tuple(prompts_for(editor, names)), (0,), load_metrics((), size_px=side), 3)
    paths = [path for folder in options.images for path in pictures_in(folder)[: options.pictures]]
    seams: list[dict[str, object]] = []
    effects: dict[tuple[str, str, str], list[float]] = {}
    for path in paths:
        picture = read_picture(path)
        views = {name: view for name, view in _views(picture, options.tile, side) if name in options.views}
        clean = {name: trial.edits(view(picture.rgb)) for name, view in views.items()}
        noisy = with_noise(picture, ProtectConfig().budget_levels, 0).rgb
        control = {name: _moved(trial, views[name], noisy, clean[name]) for name in views}
        for mode in PUBLISHED_MODES:
            for arm, config in _arms(mode, options.preset, options.tile, side).items():
                if arm not in options.arms:
                    continue
                batch = Batch([picture.rgb], [None], [False])
                changed = perturb(batch, config, surrogate=editor.surrogate, tile_px=config.tile_px)[0]
                if arm == "windows":
                    ratio = _seam(picture.rgb, changed, options.tile)
                    seams.append({"picture": path.name, "mode": mode, "border_over_elsewhere": ratio})
                for name, view in views.items():
                    moved = _moved(trial, view, changed, clean[name]) - control[name]
                    effects.setdefault((mode, arm, name), []).append(moved)
            print(path.name, mode, flush=True)
    content = {
        "config": {"editor": options.editor, "preset": options.preset, "tile_px": options.tile, "prompts": names},
        "pictures": [path.name for path in paths],
        "environment": environment(editor.surrogate.device),
        "seams": seams,
        "effects": [
            {"mode": mode, "arm": arm, "view": view, "effect": float(np.mean(values)), "per_picture": values}
            for (mode, arm, view), values in effects.items()
        ],
        "borders": [row for mode in PUBLISHED_MODES for row in _borders(effects, mode)],
        "scales": [row for mode in PUBLISHED_MODES for row in _scales(effects, mode)],
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for row in (*content["borders"], *content["scales"]):  # type: ignore[misc]
        print(json.dumps(row))
    ratios = [float(str(seam["border_over_elsewhere"])) for seam in seams]
    print(f"seams: {min(ratios):.3f} to {max(ratios):.3f}")


def _arms(mode: str, preset: str, tile_px: int, side: int) -> dict[str, ProtectConfig]:
    whole = 65536
    return {
        "one window": ProtectConfig(mode=mode, preset=preset, tile_px=whole),
        "windows": ProtectConfig(mode=mode, preset=preset, tile_px=tile_px),
        "small": ProtectConfig(mode=mode, preset=preset, tile_px=tile_px, scales=(side,)),
        "small and native": ProtectConfig(mode=mode, preset=preset, tile_px=tile_px, scales=(side, "native")),
    }


def _views(picture: Picture, tile_px: int, side: int) -> Iterator[tuple[str, View]]:
    """What an editor may be given of a picture."""

    def crop(top: int, left: int) -> View:
        return lambda levels: levels[top : top + side, left : left + side]

    def small(levels: Levels) -> Levels:
        edge = min(levels.shape[:2])
        top, left = ((length - edge) // 2 for length in levels.shape[:2])
        square = Image.fromarray(levels[top : top + edge, left : left + edge])
        return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))

    yield "small", small
    lying = picture.width >= picture.height
    found = windows(picture.height, picture.width, tile_px=tile_px)
    spans = list(dict.fromkeys(window.columns if lying else window.rows for window in found))
    border, stop = spans[0].last, spans[1].last
    for name, place in (
        ("across", border - side // 2),
        ("inside one", max(0, (border - side) // 2)),
        ("inside the next", min(stop - side, border + max(0, (stop - border - side) // 2))),
    ):
        aside = min(64, min(picture.height, picture.width) - side)
        yield name, crop(aside, place) if lying else crop(place, aside)


def _moved(trial: Trial, view: View, changed: Levels, clean: dict[str, Levels]) -> float:
    edits = trial.edits(view(changed))
    return float(np.mean([visibility(clean[name], edit) for name, edit in edits.items()]))


def _seam(clean: Levels, changed: Levels, tile_px: int) -> float:
    change = np.abs(changed.astype(np.int16) - clean).mean(axis=-1)
    near = np.zeros(change.shape, dtype=bool)
    for window in windows(*change.shape, tile_px=tile_px):
        for first, band in ((window.rows.first, near), (window.columns.first, near.T)):
            if first:
                band[first - NEAR_PX : first + NEAR_PX] = True
    return float(change[near].mean() / change[~near].mean())


def _borders(effects: dict[tuple[str, str, str], list[float]], mode: str) -> Iterator[dict[str, object]]:
    for arm in ("one window", "windows"):
        if not {(mode, arm, view) for view in ("across", "inside one", "inside the next")} <= effects.keys():
            continue
        inside = np.mean([effects[mode, arm, where] for where in ("inside one", "inside the next")], axis=0)
        across = effects[mode, arm, "across"]
        yield {"mode": mode, "arm": arm, "across_over_inside": float(np.mean(across) / inside.mean()), "n": len(across)}


def _scales(effects: dict[tuple[str, str, str], list[float]], mode: str) -> Iterator[dict[str, object]]:
    for view in ("small", "inside one"):
        for arm in ("one window", "small", "small and native"):
            if not {(mode, "windows", view), (mode, arm, view)} <= effects.keys():
                continue
            native = effects[mode, "windows", view]
            found = effects[mode, arm, view]
            yield {
                "mode": mode,
                "view": view,
                "arm": arm,
                "over": "windows",
                "ratio": vars(ratio_of_means(found, native)),
                "difference": vars(paired_effect(found, native)),
            }


if __name__ == "__main__":
    main()
