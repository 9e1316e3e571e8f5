"""Measure protection in windows against protection in one piece, where the editor sees the picture whole.

python scripts/measure_grid.py --images FOLDER --large FOLDER [--vae NAME ...] [--out FILE]

Windows: a square of each photograph whose side is no multiple of the encoder's grid, in windows and in one piece. Both are
measured on the whole picture: gain of the loss, and latent shift. The record of the windowed run is compared with them.
Scales: a large square in windows, optimised for the size at which an editor sees it, and measured at that size.
Only the public interface is used, so that the same script measures earlier versions of the program.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pca_protect import ProtectConfig, Surrogate, load_surrogate, protect
from pca_protect.attack.losses import posterior_collapse
from pca_protect.eval.environment import environment
from pca_protect.eval.pictures import pictures_in
from pca_protect.modes import PUBLISHED_MODES

Uint8 = NDArray[np.uint8]
Row = dict[str, object]

ONE_PIECE_PX = 65536


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="photographs for the windows")
    parser.add_argument("--large", type=Path, required=True, help="photographs for the scales, 1536 px and more a side")
    parser.add_argument("--pictures", type=int, default=6, help="of each folder")
    parser.add_argument("--vae", nargs="+", default=["pocket", "pocket-16"])
    parser.add_argument("--sides", type=int, nargs="+", default=[404, 331])
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)

    rows: list[Row] = []
    for name in options.vae:
        surrogate = load_surrogate(name, device="cpu")
        for row in _rows(surrogate, options):
            rows.append({"vae": name, **row})
            print(json.dumps(rows[-1]), flush=True)
    summary = list(_summary(rows))
    for row in summary:
        print(json.dumps(row))
    if options.out is not None:
        config = {"tile_px": options.tile, "steps": options.steps, "preset": "balanced", "budget_levels": 16}
        content = {"config": config, "environment": environment(torch.device("cpu")), "summary": summary, "rows": rows}
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _rows(surrogate: Surrogate, options: argparse.Namespace) -> Iterator[Row]:
    for path in pictures_in(options.images)[: options.pictures]:
        for side in options.sides:
            for mode in PUBLISHED_MODES:
                yield {"table": "windows", "picture": path.name, **_windows(path, side, mode, surrogate, options)}
    for path in pictures_in(options.large)[: options.pictures]:
        for mode in PUBLISHED_MODES:
            yield {"table": "scales", "picture": path.name, **_scales(path, mode, surrogate, options)}


def _windows(path: Path, side: int, mode: str, surrogate: Surrogate, options: argparse.Namespace) -> Row:
    clean = _square(path, side)
    found = {}
    for arm, tile_px in (("windows", options.tile), ("one piece", ONE_PIECE_PX // 64 * 64)):
        config = ProtectConfig(mode=mode, steps=options.steps, tile_px=tile_px)
        result = protect(Image.fromarray(clean), config, surrogate=surrogate)
        found[arm] = (_effect(clean, result.picture.rgb, surrogate, config), result.record)
    (gain, shift), record = found["windows"]
    (gain_whole, shift_whole), _ = found["one piece"]
    return {
        "side_px": side,
        "mode": mode,
        "gain": gain,
        "gain_one_piece": gain_whole,
        "shift": shift,
        "shift_one_piece": shift_whole,
        "record_gain": abs(record.protected.loss - record.loss_clean),
        "record_shift": record.protected.latent,
    }


def _scales(path: Path, mode: str, surrogate: Surrogate, options: argparse.Namespace) -> Row:
    clean = _square(path, 1536)
    config = ProtectConfig(mode=mode, steps=options.steps, scales=(options.tile,))
    changed = protect(Image.fromarray(clean), config, surrogate=surrogate).picture.rgb
    seen = [
        np.asarray(Image.fromarray(levels).resize((options.tile, options.tile), Image.Resampling.LANCZOS))
        for levels in (clean, changed)
    ]
    gain, shift = _effect(seen[0], seen[1], surrogate, config)
    return {"side_px": 1536, "seen_px": options.tile, "mode": mode, "gain": gain, "shift": shift}


def _square(path: Path, side: int) -> Uint8:
    image = Image.open(path).convert("RGB")
    if min(image.size) > 2 * side:  # a large photograph: detail at every scale instead of a small part of it
        factor = 1.25 * side / min(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))


@torch.no_grad()
def _effect(clean: Uint8, changed: Uint8, surrogate: Surrogate, config: ProtectConfig) -> tuple[float, float]:
    """How far the loss moved in the mode's direction, in nats, and the latent shift, both of the whole picture."""
    variance, direction = config.objective
    assert not isinstance(variance, str)
    before, after = (
        surrogate.posterior(torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].float() / 255)
        for levels in (clean, changed)
    )
    losses = [float(posterior_collapse(one.mean, one.logvar, variance)) for one in (before, after)]
    gain = losses[1] - losses[0] if direction == "up" else losses[0] - losses[1]
    return gain, float((after.mean - before.mean).norm() / before.mean.norm())


def _summary(rows: list[Row]) -> Iterator[Row]:
    """Means over the pictures, and ratios of means."""
    keys = dict.fromkeys((row["vae"], row["table"], row["side_px"], row["mode"]) for row in rows)
    for vae, table, side_px, mode in keys:
        some = [
            row
            for row in rows
            if (row["vae"], row["table"], row["side_px"], row["mode"]) == (vae, table, side_px, mode)
        ]
        mean = {
            key: float(np.mean([float(str(row[key])) for row in some]))
            for key in some[0]
            if key.split("_")[0] in ("gain", "shift", "record")
        }
        row = {"vae": vae, "table": table, "side_px": side_px, "mode": mode, "n": len(some), **mean}
        if table == "windows":
            row["gain_over_one_piece"] = mean["gain"] / mean["gain_one_piece"]
            row["record_gain_over_gain"] = mean["record_gain"] / mean["gain"]
            row["record_shift_over_shift"] = mean["record_shift"] / mean["shift"]
        yield row


if __name__ == "__main__":
    main()
