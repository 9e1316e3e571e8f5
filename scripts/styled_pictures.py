"""Every fourth training photograph rendered in every style, once, into one array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pca_protect.eval.styles import STYLES

EVERY = 4
RENDERED = tuple(style for style in STYLES.values() if style.prompt)


def load_styled_pictures(pictures: NDArray[np.uint8], cache: Path) -> NDArray[np.uint8]:
    """`(N / EVERY, styles, 256, 256, 3)` uint8, in the order of `RENDERED`, memory-mapped from `cache`, which is made if
    missing. Row i is picture `EVERY * i`."""
    if not cache.is_file():
        chosen = pictures[::EVERY]
        partial = cache.with_suffix(".partial.npy")
        shape = (len(chosen), len(RENDERED), *pictures.shape[1:])
        styled = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        for row, picture in enumerate(chosen):
            styled[row] = [style.render(picture) for style in RENDERED]
        styled.flush()
        partial.replace(cache)
    return np.load(cache, mmap_mode="r")  # type: ignore[no-any-return]
