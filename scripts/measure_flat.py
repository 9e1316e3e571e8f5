"""How much of a protection shows where a picture is flat, as a sky is. One command:

    python scripts/measure_flat.py --images PHOTOS --out docs/measurements/flat-cpu.json --sheet docs/figures/flat.png

Of every picture the flattest patch that is neither black nor white is looked at; the pictures with the flattest patches count.
FLIP of the patch is a metric that the optimiser does not use. The sheet shows patches at 100 %, arms from left to right.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from shares import mean_row

from pca_protect.config import ProtectConfig
from pca_protect.eval.arms.perturb import Target, perturb
from pca_protect.eval.arms.registry import arms_named
from pca_protect.eval.environment import environment
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, pictures_in, square_picture
from pca_protect.eval.sheet import contact_sheet
from pca_protect.surrogates.load import load_surrogate

ARMS = (
    *("noise-linf", "pca-diffusion", "instant-strong", "fast-strong", "balanced-strong"),
    *("survive-social", "discreet-0.5", "discreet-0.25"),
)
PUBLISHED = "pca-diffusion"
PATCH_PX, STRIDE_PX = 112, 8
SHOWN = 3
"""Pictures on the sheet."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--vae", default="pocket")
    options = parser.parse_args()
    patches = sorted((flattest(path, options.size) for path in pictures_in(options.images)), key=lambda patch: patch[0])
    chosen = patches[: options.pictures]
    target = Target(load_surrogate(options.vae, device="cpu"))
    found: dict[str, dict[str, list[float]]] = {name: {"rms_levels": [], "flip": []} for name in ARMS}
    sheet: dict[str, list[dict[str, Rgb]]] = {"": []}
    for _, path, place in chosen:
        picture = square_picture(path, options.size).rgb
        shown = {"original": picture[place]}
        for arm in arms_named(ARMS):
            changed = perturb(arm, picture, target, budget_levels=ProtectConfig.budget_levels, seed=0)
            shown[arm.name] = changed[place]
            found[arm.name]["rms_levels"].append(rms(shown[arm.name], picture[place]))
            found[arm.name]["flip"].append(visibility(picture[place], shown[arm.name]))
        sheet[""].append(shown)
        print(path.name, flush=True)
    rows = [{"arm": name, **mean_row(measured, found[PUBLISHED], compared="flip")} for name, measured in found.items()]
    summary = {
        "command": "python scripts/measure_flat.py",
        "config": {
            "size_px": options.size,
            "patch_px": PATCH_PX,
            "budget_levels": ProtectConfig.budget_levels,
            "vae": options.vae,
            "pictures": [path.name for _, path, _ in chosen],
            "deviations_levels": [round(deviation, 2) for deviation, _, _ in chosen],
        },
        "environment": environment(torch.device("cpu")),
        "tables": {"flat": rows},
    }
    options.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if options.sheet:
        contact_sheet({"": sheet[""][:SHOWN]}).save(options.sheet)
    for one in rows:
        print(json.dumps(one))


def flattest(path: Path, size_px: int) -> tuple[float, Path, tuple[slice, slice]]:
    """The deviation of brightness in a picture's flattest patch, and where that lies."""
    luma = square_picture(path, size_px).rgb.astype(float).mean(axis=-1)
    found = []
    for top in range(0, size_px - PATCH_PX + 1, STRIDE_PX):
        for left in range(0, size_px - PATCH_PX + 1, STRIDE_PX):
            place = slice(top, top + PATCH_PX), slice(left, left + PATCH_PX)
            clipped = ((luma[place] < 16) | (luma[place] > 239)).mean()  # noise would be cut off there
            if clipped < 0.01:
                found.append((float(luma[place].std()), path, place))
    return min(found, key=lambda patch: patch[0]) if found else (float("inf"), path, (slice(0), slice(0)))


def rms(changed: Rgb, clean: Rgb) -> float:
    difference: NDArray[np.float64] = changed.astype(np.float64) - clean
    return float(np.sqrt(np.square(difference).mean()))


if __name__ == "__main__":
    main()
