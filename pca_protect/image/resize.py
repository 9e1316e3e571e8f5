"""Pictures at the sizes at which editors see them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pca_protect.image.scale_names import Scale

_MEGAPIXEL = 1024 * 1024
_MULTIPLE_PX = 16


def sizes(height: int, width: int, scales: Sequence[Scale], *, longest_px: int | None = None) -> list[tuple[int, int]]:
    """Heights and widths for scales, each once, in ascending order. A number is the shorter side. Scales of at least the
    picture's own size count as `native`, since upscaling adds no detail. Without scales, the only size is the picture's own.

    `1mp` has an area of 1024 * 1024 px at the picture's proportions, each side rounded to the nearest multiple of 16. Editors
    differ slightly (diffusers 0.42): FLUX.1 Kontext selects the nearest proportions from a list of 17 sizes, FLUX.2 rounds down
    to multiples of 16, Qwen-Image-Edit rounds to multiples of 32. At 1:1 and 3:2 all of them agree. Kontext and Qwen-Image-Edit
    also enlarge smaller pictures, which is not reproduced.

    Args:
        longest_px: limit on the longer side, for a picture that is downscaled before editors see it; None is no limit.
    """
    if longest_px is not None:
        height, width = fitting(height, width, longest_px)
    found = {_size(height, width, scale) for scale in scales or ("native",)}
    return sorted(found, key=lambda size: size[0] * size[1])


def _size(height: int, width: int, scale: Scale) -> tuple[int, int]:
    if scale == "native":
        return height, width
    if scale == "1mp":
        factor = math.sqrt(_MEGAPIXEL / (height * width))
        found = _nearest_multiple(height * factor), _nearest_multiple(width * factor)
    else:
        short = min(height, width)
        found = round(height * scale / short), round(width * scale / short)
    return found if found[0] < height and found[1] < width else (height, width)


def _nearest_multiple(side: float) -> int:
    return max(1, round(side / _MULTIPLE_PX)) * _MULTIPLE_PX


def fitting(height: int, width: int, longest_px: int) -> tuple[int, int]:
    """Height and width with a longer side of at most `longest_px`, nearest to the same aspect ratio. Never upscales."""
    if max(height, width) <= longest_px:
        return height, width
    shorter = longest_px * min(height, width) / max(height, width)
    around = (max(1, math.floor(shorter)), math.ceil(shorter))
    candidates = [(px, longest_px) if width > height else (longest_px, px) for px in around]
    return min(candidates, key=lambda size: abs(width / height - size[1] / size[0]))


def resized(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """`(H, W, 3)` levels resized to a height and width with Pillow's Lanczos filter, which editing tools use."""
    height, width = size
    return np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.LANCZOS))
