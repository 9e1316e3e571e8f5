"""Downscaled pictures as editors see them, updated while windows of the pictures change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pca_protect.image.lanczos import shrinking
from pca_protect.image.resize import resized
from pca_protect.image.tensors import to_tensor
from pca_protect.image.tiling import Span, Window

MARGIN_PX = 64
"""Margin in a smaller picture that is encoded around the part changed by a window."""


def encoded_pixels(window: Window, height: int, width: int, sizes: Iterable[tuple[int, int]]) -> float:
    """Approximate number of pixels that are encoded for one gradient of a window, over all sizes.

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
        encoded: part of the smaller picture that is encoded.
        changed: part that the window changes, relative to the start of `encoded`.
        matrix: maps the window's pixels to the changed ones.
    """

    encoded: slice
    changed: slice
    matrix: Tensor


class SmallerPictures:
    """Downscaled pictures of one size. Downscaling is linear: the change of a window is downscaled alone and added, without
    processing the whole picture again.

    Args:
        clean: per picture, `(H, W, 3)` levels.
        size: height and width of the smaller pictures.
        device: of the parts.
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
        """Number of pixels of a picture per pixel of its smaller picture."""

    def part(self, window: Window) -> SmallerPart:
        """The part of the smaller pictures that a window changes, with its surroundings."""
        rows, columns = (
            _axis(*lengths, span, self._device, self._grid_px)
            for lengths, span in zip(self._lengths, (window.rows, window.columns), strict=True)
        )
        place = (..., rows.encoded, columns.encoded)
        return SmallerPart(self._clean[place].to(self._device), self._now[place].to(self._device), rows, columns)

    def view(self, window: Window, before: Tensor) -> WindowView:
        """The window at this size; `before` as in `WindowView`."""
        part = self.part(window)
        return WindowView(part.clean, before, part, self.factor)

    def change(self, window: Window, change: Tensor) -> None:
        """Apply the final change of a window.

        Args:
            change: `(B, 3, h, w)` in units of the [0, 1] range, zero outside the window's kept part.
        """
        rows, columns = (
            _axis(*lengths, span, torch.device("cpu"), self._grid_px)
            for lengths, span in zip(self._lengths, (window.rows, window.columns), strict=True)
        )
        part = self._now[..., rows.encoded, columns.encoded]
        part[..., rows.changed, columns.changed] += rows.matrix @ change.cpu() @ columns.matrix.T


@dataclass(frozen=True)
class SmallerPart:
    """Part of the smaller pictures around one window.

    Attributes:
        clean: `(B, 3, h, w)` in [0, 1], of the clean pictures.
        now: the same with the changes of earlier windows.
        rows, columns: position of the part and of the window in it.
    """

    clean: Tensor
    now: Tensor
    rows: _Axis
    columns: _Axis

    def with_change(self, change: Tensor) -> Tensor:
        """`now` plus a change `(B, 3, H, W)` of the window's pixels, clamped to [0, 1]; differentiable in the change."""
        small = self.rows.matrix @ change @ self.columns.matrix.T
        (top, bottom), (left, right) = ((side.start, side.stop) for side in (self.rows.changed, self.columns.changed))
        height, width = self.now.shape[-2:]
        around = (left, width - right, top, height - bottom)
        return (self.now + torch.nn.functional.pad(small, around)).clamp(0.0, 1.0)


@dataclass(frozen=True)
class WindowView:
    """A window as editors see it at one scale.

    Attributes:
        clean: clean pixels at that scale, `(B, 3, h, w)` in [0, 1]: of the window, or of its surroundings in a smaller picture.
        before: pixels of the window before it is optimised, `(B, 3, H, W)`.
        part: the smaller picture; None is the picture's own size.
        factor: number of the picture's pixels per pixel at that scale.
    """

    clean: Tensor
    before: Tensor
    part: SmallerPart | None = None
    factor: float = 1.0

    def show(self, pixels: Tensor) -> Tensor:
        """Pixels of the window `(B, 3, H, W)` at that scale; differentiable."""
        return pixels if self.part is None else self.part.with_change(pixels - self.before)

    def show_clean_with(self, change: Tensor) -> Tensor:
        """The clean picture with a change of the window's pixels `(B, 3, H, W)`, at that scale."""
        if self.part is None:
            return (self.clean + change).clamp(0.0, 1.0)
        return replace(self.part, now=self.clean).with_change(change)


def _axis(length: int, smaller: int, span: Span, device: torch.device, grid_px: int) -> _Axis:
    first, matrix = shrinking(length, smaller, span.start, span.stop)
    last = first + len(matrix)
    begin = max(0, first - MARGIN_PX) // grid_px * grid_px
    end = min(smaller, -(-(last + MARGIN_PX) // grid_px) * grid_px)
    return _Axis(slice(begin, end), slice(first - begin, last - begin), torch.from_numpy(matrix).to(device))
