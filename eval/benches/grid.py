"""`pca-protect bench grid`: protection in windows beside protection in one piece, where the editor sees the picture whole.

windows   a square whose side is no multiple of the encoder's grid, protected in windows and in one piece, both measured on the
          whole picture: gain of the loss and latent shift; and the record of the windowed run beside them
scales    a large square in windows, optimised for the size at which an editor sees it, and measured at that size
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pca_protect.attack.losses import posterior_collapse
from pca_protect.config import ProtectConfig
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.protection_configs import GridConfig
from pca_protect.eval.benches.steps import gain_of
from pca_protect.eval.pictures import Rgb, readable
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.image.tensors import to_tensor
from pca_protect.io.read import read_picture
from pca_protect.modes import PUBLISHED_MODES
from pca_protect.protection import protect
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate

ONE_PIECE_PX = 65536
DETAIL = 1.25
"""Photographs more than twice as large are downscaled to this many sides first, for detail at every scale."""

Place = tuple[str, int, str]
"""Encoder, side in pixels, mode."""


def measure_grid(config: GridConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Measure what `folder` does not hold yet, and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds something else; see `Results`.
        ModelError, DeviceError: an encoder or the device cannot be had.
    """
    bench = Bench("grid", config, folder, on_progress)
    large = list(readable(Path(config.large), config.pictures, option="--large")[0].items()) if config.large else []
    surrogates = {name: load_surrogate(name, device=config.device) for name in config.vaes}
    bench.open(
        preset=ProtectConfig.preset,
        budget_levels=ProtectConfig.budget_levels,
        vae_weights={name: surrogate.digest for name, surrogate in surrogates.items()},
        large_pictures={path.name: digest for path, digest in large},
    )
    windows = _places("windows", config.vaes, config.sides_px)
    scales = _places("scales", config.vaes, [config.large_px] if large else [])

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        for key in missing:
            vae, side, mode = {**windows, **scales}[key]
            found = _windows if key in windows else _scales
            yield key, found(path, side, mode, surrogates[vae], config)

    small = bench.entries("windows", list(windows), measure)
    tables = {"windows": [_means(windows[key], entries) for key, entries in small.items() if entries]}
    if large:
        seen = bench.entries("scales", list(scales), measure, pictures=[path for path, _ in large])
        tables["scales"] = [
            {**_means(scales[key], entries), "seen_px": config.tile_px} for key, entries in seen.items() if entries
        ]
    return bench.finish(tables)


def _places(table: str, vaes: Sequence[str], sides_px: Sequence[int]) -> dict[str, Place]:
    return {
        f"{table} | {vae} | {side} px | {mode}": (vae, side, mode)
        for vae in vaes
        for side in sides_px
        for mode in PUBLISHED_MODES
    }


def _windows(path: Path, side: int, mode: str, surrogate: Surrogate, config: GridConfig) -> Json:
    clean = centred_square(read_picture(path).rgb, side)
    request = ProtectConfig(mode=mode, steps=config.steps, tile_px=config.tile_px, seed=config.seed)
    whole = ProtectConfig(mode=mode, steps=config.steps, tile_px=ONE_PIECE_PX, seed=config.seed)
    windowed, one_piece = (protect(Image.fromarray(clean), one, surrogate=surrogate) for one in (request, whole))
    gain, shift = effect(clean, windowed.picture.rgb, surrogate, request)
    gain_whole, shift_whole = effect(clean, one_piece.picture.rgb, surrogate, whole)
    record = windowed.record
    assert record.protected is not None
    return {
        "gain": gain,
        "gain_one_piece": gain_whole,
        "shift": shift,
        "shift_one_piece": shift_whole,
        "record_gain": gain_of(record),
        "record_shift": record.protected.latent,
    }


def _scales(path: Path, side: int, mode: str, surrogate: Surrogate, config: GridConfig) -> Json:
    clean = centred_square(read_picture(path).rgb, side)
    request = ProtectConfig(mode=mode, steps=config.steps, scales=(config.tile_px,), seed=config.seed)
    changed = protect(Image.fromarray(clean), request, surrogate=surrogate).picture.rgb
    seen = [
        np.asarray(Image.fromarray(levels).resize((config.tile_px, config.tile_px), Image.Resampling.LANCZOS))
        for levels in (clean, changed)
    ]
    gain, shift = effect(seen[0], seen[1], surrogate, request)
    return {"gain": gain, "shift": shift}


def centred_square(picture: Rgb, side: int) -> Rgb:
    """The square in the middle `(side, side, 3)`; a much larger picture is downscaled first."""
    image = Image.fromarray(picture)
    if min(image.size) > 2 * side:
        factor = DETAIL * side / min(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))


@torch.no_grad()
def effect(clean: Rgb, changed: Rgb, surrogate: Surrogate, request: ProtectConfig) -> tuple[float, float]:
    """How far the loss moved in the mode's direction, in nats, and the latent shift ||m' - m|| / ||m||, of the whole picture."""
    variance, direction = request.objective
    assert not isinstance(variance, str)
    before, after = (surrogate.posterior(to_tensor([rgb]).to(surrogate.device)) for rgb in (clean, changed))
    losses = [float(posterior_collapse(one.mean, one.logvar, variance)) for one in (before, after)]
    gain = losses[1] - losses[0] if direction == "up" else losses[0] - losses[1]
    return gain, float((after.mean - before.mean).norm() / before.mean.norm())


def _means(place: Place, entries: Mapping[str, Json]) -> Row:
    """Means over the pictures, and ratios of means."""
    vae, side, mode = place
    mean = {name: statistics.fmean(entry[name] for entry in entries.values()) for name in next(iter(entries.values()))}
    row: Row = {"vae": vae, "side_px": side, "mode": mode, "n": len(entries), **mean}
    if "record_gain" in mean:
        row["gain_over_one_piece"] = mean["gain"] / mean["gain_one_piece"]
        row["record_gain_over_gain"] = mean["record_gain"] / mean["gain"]
        row["record_shift_over_shift"] = mean["record_shift"] / mean["shift"]
    return row
