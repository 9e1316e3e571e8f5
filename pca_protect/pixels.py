"""Between 8-bit pictures and the float tensors that encoders and the optimiser work on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pca_protect.io.picture import Picture


def to_pixels(picture: Picture) -> Tensor:
    """Colour as float32 `(1, 3, H, W)` in [0, 1]."""
    return torch.from_numpy(picture.rgb.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255.0


def with_pixels(picture: Picture, pixels: Tensor) -> Picture:
    """The same picture with colour from `(1, 3, H, W)` in [0, 1], rounded to the nearest level. Rounding, unlike
    truncation, keeps a perturbation of whole levels within its budget."""
    levels = (pixels.detach()[0].float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return replace(picture, rgb=levels.permute(1, 2, 0).contiguous().cpu().numpy())
