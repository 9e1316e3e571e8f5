"""Pictures as editors see them made smaller, while windows of the pictures change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pca_protect.image.lanczos import shrinking
from pca_protect.image.resize import resized
from pca_protect.image.tensors import to_tensor
from pca_protect.image.tiling import Span, Window

MARGIN_PX = 64
"""Of a smaller picture so much is looked at around what a window changes."""


def encoded_pixels(window: Window, height: int, width: int, sizes: Iterable[tuple[int, int]]) -> float:
    """Approximate number of pixels that an encoder is given for a gradient of a window of a picture.

    Args:
        height, width: of the picture.
        sizes: heights and widths at which the picture is seen.
    """
    rows, columns = (span.stop - span.start for span in (window.rows, window.columns))
    area = 0.0
    for size in sizes:
        around = 0 if size == (height, width) else 2 * MARGIN_PX
        area += min(size[0], rows * size[0] / height + around) * min(size[1], columns * size[1] / width + around)
    return area


@dataclass(frozen=True)
class _Axis:
    """One axis of a window in a smaller picture.

    Attributes:
        looked_at: the part of the smaller picture that is encoded.
        changed: what the window changes, counted from the beginning of that part.
        matrix: from the window's pixels to those.
    """

    looked_at: slice
    changed: slice
    matrix: Tensor


class SmallerPictures:
    """Pictures of one size, made smaller. Making smaller is linear: the change of a window is made smaller by itself and
    added, so that the picture is never needed whole.

    Args:
        clean: per picture, `(H, W, 3)` levels.
        size: height and width to see them at.
        device: to work on.
        grid_px: parts of the smaller pictures start at multiples of this, as the encoder's latent positions do.
    """

    def __init__(
        self, clean: Sequence[NDArray[np.uint8]], size: tuple[int, int], device: torch.device, *, grid_px: int
    ) -> None:
        self._device = device
        self._grid_px = grid_px
        self._clean = to_tensor([resized(levels, size) for levels in clean])
        self._now = self._clean.clone()
        height, width = clean[0].shape[:2]
        self._lengths = ((height, size[0]), (width, size[1]))
        self.factor = height * width / (size[0] * size[1])
        """Pixels of the picture for one of these."""

    def part(self, window: Window) -> SmallerPart:
        """What a window's change does to these pictures, and its surroundings."""
        rows, columns = (
            _axis(*lengths, span, self._device, self._grid_px)
            for lengths, span in zip(self._lengths, (window.rows, window.columns), strict=True)
        )
        place = (..., rows.looked_at, columns.looked_at)
        return SmallerPart(self._clean[place].to(self._device), self._now[place].to(self._device), rows, columns)

    def change(self, window: Window, change: Tensor) -> None:
        """Take over what was decided in a window.

        Args:
            change: `(B, 3, h, w)` in units of the [0, 1] range, zero outside of what the window keeps.
        """
        rows, columns = (
            _axis(*lengths, span, torch.device("cpu"), self._grid_px)
            for lengths, span in zip(self._lengths, (window.rows, window.columns), strict=True)
        )
        part = self._now[..., rows.looked_at, columns.looked_at]
        part[..., rows.changed, columns.changed] += rows.matrix @ change.cpu() @ columns.matrix.T


@dataclass(frozen=True)
class SmallerPart:
    """Attributes:
    clean, now: `(B, 3, h, w)` in [0, 1], of the clean picture and as it has become so far.
    """

    clean: Tensor
    now: Tensor
    rows: _Axis
    columns: _Axis

    def with_change(self, change: Tensor) -> Tensor:
        """As it is now, and with a change `(B, 3, H, W)` of the window's pixels; differentiable in the change."""
        small = self.rows.matrix @ change @ self.columns.matrix.T
        (top, bottom), (left, right) = ((side.start, side.stop) for side in (self.rows.changed, self.columns.changed))
        height, width = self.now.shape[-2:]
        around = (left, width - right, top, height - bottom)
        return (self.now + torch.nn.functional.pad(small, around)).clamp(0.0, 1.0)


def _axis(length: int, smaller: int, span: Span, device: torch.device, grid_px: int) -> _Axis:
    first, matrix = shrinking(length, smaller, span.start, span.stop)
    last = first + len(matrix)
    begin = max(0, first - MARGIN_PX) // grid_px * grid_px
    end = min(smaller, -(-(last + MARGIN_PX) // grid_px) * grid_px)
    return _Axis(slice(begin, end), slice(first - begin, last - begin), torch.from_numpy(matrix).to(device))
