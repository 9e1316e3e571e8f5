"""The control of every evaluation: uniform noise of the same budget."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np

from pca_protect.image.tensors import Mask, Uint8Image
from pca_protect.io.picture import Picture

_STRIP_PX = 256
_THREADS = 4


def with_noise(original: Picture, budget_levels: int, seed: int, mask: Mask | None = None, *, draw: int = 0) -> Picture:
    """The noise control: the picture plus uniform integer noise within the budget, clipped to [0, 255]. Seed, draw and picture
    determine the noise; in grey pictures it is equal in all channels. It is drawn in strips of rows to save memory.

    Args:
        budget_levels: largest change of a channel, in 8-bit levels.
        mask: `(H, W)`, true where noise is added; None is everywhere.
        draw: index of the draw.
    """
    key = hashlib.sha256(np.ascontiguousarray(original.rgb).data)
    key.update((f"{seed}/{draw}" if draw else str(seed)).encode())
    generator = np.random.default_rng(int.from_bytes(key.digest()[:8], "big"))
    noisy = original.rgb.copy()
    for top in range(0, original.height, _STRIP_PX):
        strip = noisy[top : top + _STRIP_PX]
        shape = (*strip.shape[:2], 1 if original.gray else 3)
        noise = generator.integers(-budget_levels, budget_levels, shape, dtype=np.int16, endpoint=True)
        if mask is not None:
            noise *= mask[top : top + _STRIP_PX, :, None]
        strip[:] = (strip + noise).clip(0, 255)
    return replace(original, rgb=noisy)


def noise_draws(
    originals: Sequence[Picture], masks: Sequence[Mask | None], *, budget_levels: int, seed: int, draws: int
) -> list[list[Uint8Image]]:
    """Several draws of `with_noise` for each of several pictures, in threads: an accelerator waits for them."""

    def draw(place: tuple[int, int]) -> Uint8Image:
        number, index = place
        return with_noise(originals[number], budget_levels, seed, masks[number], draw=index).rgb

    with ThreadPoolExecutor(_THREADS) as threads:
        drawn = list(threads.map(draw, product(range(len(originals)), range(draws))))
    return [drawn[first : first + draws] for first in range(0, len(drawn), draws)]
