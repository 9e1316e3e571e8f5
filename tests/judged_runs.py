"""Runs with saved edits whose brightness says how good they are, and judges that see just that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pca_protect.eval.judge.model import Answer
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.saved_edits import CLEAN, OTHER_SEED, save_edit, save_original

ARM, NOISE = "pca-diffusion 16", "noise-linf 16"
GOOD, BAD = 200, 50
PROMPTS = {"snow": "add some snow", "a/b: c?": "make it a/b: c?"}


def flat(level: int) -> Rgb:
    return np.full((8, 8, 3), level, np.uint8)


def make_run(run: Path, pictures: int, level_of: Callable[[int, str], int]) -> Path:
    """Args:
    level_of: (picture, variant) -> brightness of its edits.
    """
    for number in range(pictures):
        folder = run / "edits" / "an-editor" / f"picture-{number}.png"
        save_original(folder, flat(number))
        for place, (name, prompt) in enumerate(PROMPTS.items(), start=1):
            for variant in (CLEAN, OTHER_SEED, NOISE, ARM, "noise-visible 3.5", f"{ARM} shuffled", "unrelated"):
                save_edit(folder, place, name, prompt, variant, flat(level_of(number, variant)))
    return run


def seen(shown: Sequence[str | Rgb]) -> list[int]:
    """Brightness of original and edits."""
    return [int(one[0, 0, 0]) for one in shown if not isinstance(one, str)]


def fair(shown: Sequence[str | Rgb], options: tuple[str, str]) -> Answer:
    """Prefers the brighter edit, the first of equal ones, and finds bright ones right."""
    _, *edits = seen(shown)
    first = edits[0] >= edits[1] if len(edits) == 2 else edits[0] > 100
    return Answer(options[0] if first else options[1], float(first))


def always_first(shown: Sequence[str | Rgb], options: tuple[str, str]) -> Answer:
    return Answer(options[0], 0.9)
