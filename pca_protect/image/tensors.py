"""8-bit pictures to float tensors and back; colour matrices and Gaussian blur of tensors."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Uint8Image = NDArray[np.uint8]
"""An 8-bit picture, `(H, W, 3)`."""

Mask = NDArray[np.bool_]
"""`(H, W)`, true where a picture may change."""

# JFIF 1.02 (1992): RGB to YCbCr and back, with chroma around zero.
TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


_CPU = torch.device("cpu")

Numbers = tuple[float, ...] | tuple[tuple[float, ...], ...]


@functools.lru_cache(maxsize=256)
def constant(numbers: Numbers, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers as a tensor, copied to a device once: a copy waits for the device's queue. Do not change it."""
    return torch.tensor(numbers, dtype=dtype, device=device)


def apply_color_matrix(planes: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Multiplies the channels of `(B, 3, H, W)` by a 3x3 matrix."""
    return (constant(matrix, planes.dtype, planes.device) @ planes.flatten(2)).view_as(planes)


def blurred(planes: Tensor, sigma_px: float, *, reach_px: int) -> Tensor:
    """Gaussian blur of every plane of `(B, C, H, W)` with replicated borders; the kernel is truncated at `reach_px`.
    `sigma_px` must be above 0."""
    channels = planes.shape[1]
    offsets = torch.arange(-reach_px, reach_px + 1, dtype=planes.dtype, device=planes.device)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma_px**2), dim=0).expand(channels, 1, -1)
    padded = F.pad(planes, (reach_px, reach_px, reach_px, reach_px), mode="replicate")
    across = F.conv2d(padded, kernel[:, :, None, :], groups=channels)
    return F.conv2d(across, kernel[:, :, :, None], groups=channels)


def to_tensor(levels: Sequence[Uint8Image], device: torch.device = _CPU) -> Tensor:
    """Pictures of one size, `(H, W, 3)` each, as float32 `(B, 3, H, W)` in [0, 1] on a device. Copied as bytes."""
    return torch.from_numpy(np.stack(levels)).to(device).permute(0, 3, 1, 2).float() / 255.0


def to_uint8(pixels: Tensor) -> list[Uint8Image]:
    """`(B, 3, H, W)` in [0, 1] as one `(H, W, 3)` array per picture, rounded to the nearest level. Rounding, unlike
    truncation, keeps a perturbation within a budget of whole levels."""
    levels = (pixels.detach().float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).contiguous().cpu().numpy())
