"""Pictures of one size, and where windows of them may change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pca_protect.image.tensors import Mask, Uint8Image
from pca_protect.image.tiling import Window


@dataclass(frozen=True)
class Batch:
    """Pictures of one size.

    Attributes:
        clean: per picture, `(H, W, 3)`.
        masks: per picture, `(H, W)`, true where it may change; None is everywhere.
        gray: per picture, whether its channels must stay equal.
    """

    clean: list[Uint8Image]
    masks: list[Mask | None]
    gray: list[bool]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.clean[0].shape[:2]
        return height, width

    def editable(self, window: Window) -> Tensor | None:
        """Mask of a window, `(B, 1, h, w)`: 1 where the pictures may change, else 0; None is everywhere."""
        if all(mask is None for mask in self.masks):
            return None
        everywhere = np.ones(self.size, dtype=bool)
        masks = [(everywhere if mask is None else mask)[window.seen] for mask in self.masks]
        return torch.from_numpy(np.stack(masks)[:, None].astype(np.float32))

    def undecided(self, window: Window) -> Tensor | None:
        """`editable`, with zeros where earlier windows are final."""
        editable, (rows, columns) = self.editable(window), window.open_of_seen
        if (rows.start, columns.start) == (0, 0):
            return editable
        (top, bottom), (left, right) = ((side.start, side.stop) for side in window.seen)
        mask = torch.zeros(len(self.clean), 1, bottom - top, right - left)
        mask[..., rows, columns] = 1.0 if editable is None else editable[..., rows, columns]
        return mask

    def noise(self, window: Window, *, budget_levels: int, seed: int) -> Tensor:
        """Uniform noise of whole levels where a window may change, `(B, 3, h, w)` in [0, 1] units: the same for all pictures,
        equal in all channels of grey ones."""
        generator = torch.Generator().manual_seed(seed)
        size = [side.stop - side.start for side in window.seen]
        noise = torch.randint(-budget_levels, budget_levels + 1, (1, 3, *size), generator=generator).float() / 255
        noise = torch.cat([noise[:, :1].expand_as(noise) if gray else noise for gray in self.gray])
        editable = self.editable(window)
        return noise if editable is None else noise * editable
