"""Overlapping windows over pictures of any size: each is encoded whole, and a part of it is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, product

from pca_protect.errors import UsageError

GRID_PX = 16
"""Windows start at multiples of this for every encoder; it is the block size of JPEG with 4:2:0 chroma."""

OVERLAP_PX = 64
"""Minimum overlap of neighbouring windows, so that every kept part is encoded with its surroundings."""


@dataclass(frozen=True)
class Span:
    """One window along one axis, in pixels: it sees `start` to `stop` and keeps `first` to `last`."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Window:
    """A rectangle that the encoder sees, and the kept rectangle inside it.

    Windows are processed row by row: earlier windows keep everything above `rows.first`, and everything left of
    `columns.first` down to `rows.last`.
    """

    rows: Span
    columns: Span

    @property
    def seen(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that the encoder sees."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    @property
    def kept(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that are kept."""
        return slice(self.rows.first, self.rows.last), slice(self.columns.first, self.columns.last)

    @property
    def kept_of_seen(self) -> tuple[slice, slice]:
        """The kept rows and columns, relative to `seen`."""
        return tuple(  # type: ignore[return-value]
            slice(span.first - span.start, span.last - span.start) for span in (self.rows, self.columns)
        )

    @property
    def open_of_seen(self) -> tuple[slice, slice]:
        """Rows and columns that may still change, relative to `seen`: below and right of the parts of earlier windows."""
        return slice(self.rows.first - self.rows.start, None), slice(self.columns.first - self.columns.start, None)


def window_grid(multiples: Iterable[int]) -> int:
    """Grid on which windows start, in pixels: least common multiple of `GRID_PX` and the encoders' own grids.

    Args:
        multiples: per encoder, see `Surrogate.multiple`.
    """
    return math.lcm(GRID_PX, *multiples)


def smallest_tile(grid_px: int) -> int:
    """The smallest window side for a grid, in pixels: one grid step plus the overlap."""
    return grid_px + _overlap(grid_px)


def windows(height: int, width: int, *, tile_px: int, grid_px: int = GRID_PX) -> list[Window]:
    """Windows, row by row, whose kept parts cover a picture exactly once.

    Windows and kept parts start on the grid, so that a window has the same latent positions as the whole picture. All windows
    have one size, except the last of an axis, which ends with the picture.

    Args:
        tile_px: longest side of a window; a picture up to this size is one window.
        grid_px: see `window_grid`.

    Raises:
        UsageError: the picture needs several windows, and `tile_px` is below `smallest_tile`.
    """
    rows, columns = (spans(length, tile_px=tile_px, grid_px=grid_px) for length in (height, width))
    return [Window(*pair) for pair in product(rows, columns)]


def spans(length: int, *, tile_px: int, grid_px: int) -> list[Span]:
    """The fewest and then shortest spans of at most `tile_px`, spread evenly. Kept parts meet in the middle of overlaps, on the
    grid. See `windows`."""
    if length <= tile_px:
        return [Span(0, length, 0, length)]
    if tile_px < smallest_tile(grid_px):
        raise UsageError(
            f"windows of {tile_px} px are too small for an encoder with a grid of {grid_px} px; use a tile of at least "
            f"{-(-smallest_tile(grid_px) // 64) * 64}"
        )
    on_grid = _round_up(length, grid_px)
    longest = tile_px // grid_px * grid_px
    overlap = _overlap(grid_px)
    count = -(-(on_grid - overlap) // (longest - overlap))
    size = min(_round_up(-(-(on_grid + (count - 1) * overlap) // count), grid_px), longest)
    starts = [(on_grid - size) * number // (count - 1) // grid_px * grid_px for number in range(count)]
    middles = [(right + left + size) // 2 // grid_px * grid_px for left, right in pairwise(starts)]
    cuts = pairwise([0, *middles, length])
    return [Span(start, min(start + size, length), *cut) for start, cut in zip(starts, cuts, strict=True)]


def _overlap(grid_px: int) -> int:
    """Overlap in pixels: at least two grid steps, so that a cut in its middle leaves one step on either side."""
    return _round_up(max(OVERLAP_PX, 2 * grid_px), grid_px)


def _round_up(length: int, grid_px: int) -> int:
    return -(-length // grid_px) * grid_px
