"""`pca-protect bench flat`: visibility of a protection in flat regions, such as sky.

Compares the flattest patch of each picture that is neither black nor white, on the pictures with the flattest patches.
FLIP is independent of the optimiser's visibility measure. The sheet shows patches at 100 %, arms from left to right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.arms.perturb import Target, perturb
from pca_protect.eval.arms.registry import ARMS, arms_named
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.protection_configs import FlatConfig
from pca_protect.eval.comparisons import PUBLISHED
from pca_protect.eval.metrics.classical import rms_levels
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, square_picture
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.eval.sheet import contact_sheet
from pca_protect.eval.stats import by_column, mean_row
from pca_protect.surrogates.load import load_surrogate

STRIDE_PX = 8
SHOWN = 3
"""Pictures on the sheet."""
BLACK, WHITE, CLIPPED = 16, 239, 0.01
"""Skips a patch with this share of pixels below or above these levels, where noise would be clipped."""


@dataclass(frozen=True)
class Patch:
    """Attributes:
    deviation: standard deviation of brightness, in 8-bit levels.
    place: rows and columns.
    """

    deviation: float
    place: tuple[slice, slice]


def measure_flat(config: FlatConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables and `flat.png`.

    Raises:
        UsageError: no picture has a flat patch, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: the encoder or the device is unavailable.
    """
    bench = Bench("flat", replace(config, pictures=None), folder, on_progress)
    patches = {
        path: patch
        for path in bench.pictures
        if (patch := flattest(square_picture(path, config.size_px).rgb, config.patch_px))
    }
    if not patches:
        raise UsageError(f"--images {config.images}: every patch is partly black or white; use photographs")
    chosen = sorted(patches, key=lambda path: patches[path].deviation)[: config.pictures]
    bench.keep(chosen)
    surrogate = load_surrogate(config.vae, device=config.device)
    arms = tuple(arm.name for arm in arms_named((PUBLISHED, *config.arms)))
    bench.open(
        budget_levels=ProtectConfig.budget_levels,
        vae_weights=surrogate.digest,
        deviations_levels=[round(patches[path].deviation, 2) for path in chosen],
    )
    shown = {path: folder / "patches" / path.stem for path in chosen[:SHOWN]}

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        picture, place = square_picture(path, config.size_px).rgb, patches[path].place
        _save(picture[place], shown.get(path), "original")
        for name in missing:
            changed = perturb(
                ARMS[name],
                picture,
                Target(surrogate),
                budget_levels=ProtectConfig.budget_levels,
                seed=config.seed,
            )
            _save(changed[place], shown.get(path), name)
            yield (
                name,
                {
                    "rms_levels": rms_levels(picture[place], changed[place]),
                    "flip": visibility(picture[place], changed[place]),
                },
            )

    entries = bench.entries("flat patches", arms, measure)
    found = {name: by_column(measured.values()) for name, measured in entries.items()}
    rows: list[Row] = [
        {"arm": name, **mean_row(columns, found[PUBLISHED], compared="flip")}
        for name, columns in found.items()
        if columns
    ]
    finished = bench.finish({"flat": rows})
    if not rows:
        return finished
    sheet = folder / "flat.png"
    lines = [{name: _load(shown[path], name) for name in ("original", *arms)} for path in shown if shown[path].is_dir()]
    contact_sheet({"": lines}).save(sheet)
    return Finished(finished.tables, (*finished.paths, sheet))


def flattest(picture: Rgb, patch_px: int) -> Patch | None:
    """The patch with the smallest standard deviation among those neither black nor white; None without such a patch."""
    luma: NDArray[np.float64] = picture.astype(np.float64).mean(axis=-1)
    found = []
    for top in range(0, luma.shape[0] - patch_px + 1, STRIDE_PX):
        for left in range(0, luma.shape[1] - patch_px + 1, STRIDE_PX):
            place = slice(top, top + patch_px), slice(left, left + patch_px)
            if ((luma[place] < BLACK) | (luma[place] > WHITE)).mean() < CLIPPED:
                found.append(Patch(float(luma[place].std()), place))
    return min(found, key=lambda patch: patch.deviation) if found else None


def _save(patch: Rgb, folder: Path | None, name: str) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(patch).save(folder / f"{name}.png")


def _load(folder: Path, name: str) -> Rgb:
    with Image.open(folder / f"{name}.png") as image:
        return np.array(image)
