"""Measure what clean pictures look like to the embedded encoders: the reference that `pca-protect check` compares with.

python scripts/measure_clean.py --images FOLDER [FOLDER ...] --source "what they are, in words"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import pca_protect.eval.check
from pca_protect.eval.check.posterior import figures_of
from pca_protect.eval.check.reference import SMALLER, STORED, quantiles_of
from pca_protect.eval.pictures import pictures_in, square_picture
from pca_protect.record import versions
from pca_protect.surrogates.load import load_surrogate
from pca_protect.surrogates.registry import REGISTRY

EMBEDDED = [entry.name for entry in REGISTRY.values() if entry.embedded]
LEVELS = 201
"""Quantiles that are kept of each figure: every half per cent."""
DIGITS = 5


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of clean photographs")
    parser.add_argument("--source", required=True, help="what they are; goes into the file, paths do not")
    parser.add_argument("--pictures", type=int, default=400, help="use so many of them, spread evenly")
    parser.add_argument("--size", type=int, default=256, help="side in pixels that their middles are resized to")
    parser.add_argument("--vae", nargs="+", default=EMBEDDED)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path(pca_protect.eval.check.__path__[0]) / STORED)
    options = parser.parse_args(arguments)

    every = [path for folder in options.images for path in pictures_in(folder)]
    chosen = np.linspace(0, len(every) - 1, min(options.pictures, len(every))).round().astype(int)
    pictures = [square_picture(every[index], options.size) for index in chosen]
    vaes = {}
    for name in options.vae:
        surrogate = load_surrogate(name, device=options.device, precision="fp32")
        found = []
        for done, picture in enumerate(pictures):
            if done % 50 == 0:
                print(f"{name}: {done} of {len(pictures)}", flush=True)
            found.append(figures_of(picture, surrogate))
        quantiles = quantiles_of(found, min(LEVELS, len(found)))
        vaes[name] = {
            "weights_sha256": surrogate.digest,
            "quantiles": {
                figure: [float(f"{value:.{DIGITS}g}") for value in values] for figure, values in quantiles.items()
            },
        }
    content = {
        "source": options.source,
        "pictures": len(pictures),
        "size_px": options.size,
        "smallest_side_px": int(options.size * SMALLER),
        "versions": versions(),
        "vaes": vaes,
    }
    options.out.write_text(_as_text(content), encoding="utf-8")
    print(f"{options.out}: {len(pictures)} pictures, {', '.join(vaes)}")


def _as_text(content: dict[str, object]) -> str:
    """JSON with every list in a line of its own."""
    lists: list[str] = []

    def shortened(value: object) -> object:
        if isinstance(value, dict):
            return {key: shortened(inner) for key, inner in value.items()}
        if isinstance(value, list):
            lists.append(json.dumps(value))
            return f"list {len(lists) - 1}"
        return value

    text = json.dumps(shortened(content), indent=1)
    for number, line in reversed(list(enumerate(lists))):
        text = text.replace(f'"list {number}"', line)
    return text + "\n"


if __name__ == "__main__":
    main()
