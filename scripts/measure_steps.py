"""How far presets get in fewer steps: their final loss beside that of the published loop, and the time of whole protections.

    python scripts/measure_steps.py --images PHOTOS --out docs/measurements/steps-cpu.json

A preset's gain is how far it moves the loss of the 8-bit picture in the wanted direction. Presets take turns on every picture, so
that the ratios of their times mean something on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch

from pca_protect.config import PUBLISHED_MODES, ProtectConfig
from pca_protect.eval.environment import environment
from pca_protect.eval.pictures import pictures_in, square_picture
from pca_protect.eval.stats import ratio_of_means
from pca_protect.protection import protect
from pca_protect.surrogates.load import load_surrogate

VAES = ("pocket", "pocket-b", "pocket-16", "pocket-tiny")
ARMS: tuple[tuple[str, int | None], ...] = (
    ("paper", None),
    ("instant", None),
    ("fast", None),
    ("fast", 10),
    ("balanced", None),
)
"""Presets, and their steps where they are not the preset's own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    paths = pictures_in(options.images)[: options.pictures]
    rows = []
    for vae in VAES:
        surrogate = load_surrogate(vae, device=options.device)
        for mode in PUBLISHED_MODES:
            configs = [ProtectConfig(mode=mode, preset=preset, steps=steps) for preset, steps in ARMS]
            gains: list[list[float]] = [[] for _ in configs]
            seconds: list[list[float]] = [[] for _ in configs]
            for path in paths:
                picture = square_picture(path, options.size)
                for arm, config in enumerate(configs):
                    record = protect(picture, config, surrogate=surrogate).record
                    gains[arm].append(abs(record.protected.loss - record.loss_clean))
                    seconds[arm].append(record.seconds)
            for arm, config in enumerate(configs):  # the published loop is the first
                gain = ratio_of_means(gains[arm], gains[0])
                shares = [one / other for one, other in zip(gains[arm], gains[0], strict=True)]
                rows.append(
                    {
                        "vae": vae,
                        "mode": mode,
                        "preset": config.preset,
                        "steps": config.recipe.steps,
                        "gain": gain.value,
                        "ci_low": gain.ci_low,
                        "ci_high": gain.ci_high,
                        "least": min(shares),
                        "reached": sum(share >= 1 for share in shares),
                        "n": len(shares),
                        "times_faster": statistics.median(
                            other / one for one, other in zip(seconds[arm], seconds[0], strict=True)
                        ),
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    summary = {
        "command": "python scripts/measure_steps.py",
        "config": {
            "size_px": options.size,
            "pictures": [path.name for path in paths],
            "budget_levels": ProtectConfig.budget_levels,
        },
        "environment": environment(torch.device(options.device)),
        "tables": {"steps": rows},
    }
    options.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
