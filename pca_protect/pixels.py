"""Between 8-bit pictures and the float tensors that encoders and the optimiser work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pca_protect.io.picture import Picture


def from_levels(levels: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Pictures of one size, `(H, W, 3)` each, as float32 `(B, 3, H, W)` in [0, 1]."""
    return torch.from_numpy(np.stack(levels)).permute(0, 3, 1, 2).float() / 255.0


def to_levels(pixels: Tensor) -> list[NDArray[np.uint8]]:
    """`(B, 3, H, W)` in [0, 1] as one `(H, W, 3)` array a picture, rounded to the nearest level. Rounding, unlike
    truncation, keeps a perturbation of whole levels within its budget."""
    levels = (pixels.detach().float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def to_pixels(picture: Picture) -> Tensor:
    """Colour as float32 `(1, 3, H, W)` in [0, 1]."""
    return from_levels([picture.rgb])


def with_pixels(picture: Picture, pixels: Tensor) -> Picture:
    """The same picture with colour from `(1, 3, H, W)` in [0, 1]."""
    return replace(picture, rgb=to_levels(pixels)[0])
