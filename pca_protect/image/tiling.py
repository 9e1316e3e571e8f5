"""Windows over pictures of any size: what an encoder sees at once, and what of it is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, product

from pca_protect.errors import UsageError

GRID_PX = 16
"""Windows start at multiples of this for every encoder: the blocks of JPEG with halved chroma are as large."""

OVERLAP_PX = 64
"""Neighbouring windows share at least so many pixels, so that what is kept of each was seen with its surroundings."""


@dataclass(frozen=True)
class Span:
    """One window along one axis, in pixels: it sees `start` to `stop` and decides `first` to `last`."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Window:
    """A rectangle that the encoder sees, and the rectangle in it that is kept.

    Walked through in order, everything above `rows.first` and left of `columns.first` has been decided by the windows
    before.
    """

    rows: Span
    columns: Span

    @property
    def seen(self) -> tuple[slice, slice]:
        """Of the picture."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    @property
    def kept(self) -> tuple[slice, slice]:
        """Of the picture."""
        return slice(self.rows.first, self.rows.last), slice(self.columns.first, self.columns.last)

    @property
    def kept_of_seen(self) -> tuple[slice, slice]:
        """What is kept, counted from the corner of what is seen."""
        return tuple(  # type: ignore[return-value]
            slice(span.first - span.start, span.last - span.start) for span in (self.rows, self.columns)
        )

    @property
    def open_of_seen(self) -> tuple[slice, slice]:
        """What no window before has decided, counted from the corner of what is seen."""
        return slice(self.rows.first - self.rows.start, None), slice(self.columns.first - self.columns.start, None)


def window_grid(multiples: Iterable[int]) -> int:
    """The grid on which windows lie, in pixels: the least common multiple of the encoders' own grids and of `GRID_PX`.

    Args:
        multiples: per encoder, see `Surrogate.multiple`.
    """
    return math.lcm(GRID_PX, *multiples)


def smallest_tile(grid_px: int) -> int:
    """The smallest window side for a grid, in pixels: one grid step forward and the overlap."""
    return grid_px + _overlap(grid_px)


def windows(height: int, width: int, *, tile_px: int, grid_px: int = GRID_PX) -> list[Window]:
    """Windows, row by row, whose kept parts cover a picture exactly once.

    Every window starts on the grid, and so does every kept part: an encoder divides a window into the same latent positions as
    the whole picture. All windows have one size, but for the last of an axis, which ends with the picture.

    Args:
        tile_px: longest side of a window; a picture that is not larger is one window.
        grid_px: see `window_grid`.

    Raises:
        UsageError: the picture needs several windows, and `tile_px` is below `smallest_tile`.
    """
    rows, columns = (spans(length, tile_px=tile_px, grid_px=grid_px) for length in (height, width))
    return [Window(*pair) for pair in product(rows, columns)]


def spans(length: int, *, tile_px: int, grid_px: int) -> list[Span]:
    """As few spans as possible of at most `tile_px`, as short as possible, spread evenly; cuts lie in the middle of overlaps,
    on the grid. See `windows`."""
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
    """At least two grid steps, so that the cut in its middle leaves one on either side."""
    return _round_up(max(OVERLAP_PX, 2 * grid_px), grid_px)


def _round_up(length: int, grid_px: int) -> int:
    return -(-length // grid_px) * grid_px
