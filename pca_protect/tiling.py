"""Windows over pictures of any size: what an encoder sees at once, and what of it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

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


def windows(height: int, width: int, *, tile_px: int, multiple: int = 8) -> list[Window]:
    """Windows of one size, row by row, whose kept parts cover a picture exactly once.

    Args:
        tile_px: no window is larger; a picture that is not larger either is one window.
        multiple: sides and places of windows are multiples of this where the picture allows it, so that the latent
            grids of neighbours coincide. A power of two up to `OVERLAP_PX`.
    """
    rows, columns = (spans(length, tile_px=tile_px, multiple=multiple) for length in (height, width))
    return [Window(*pair) for pair in product(rows, columns)]


def spans(length: int, *, tile_px: int, multiple: int) -> list[Span]:
    """As few spans as possible of at most `tile_px`, as short as possible, spread evenly; cuts lie in the middle of
    overlaps."""
    if length <= tile_px:
        return [Span(0, length, 0, length)]
    count = -(-(length - OVERLAP_PX) // (tile_px - OVERLAP_PX))
    exact = -(-(length + (count - 1) * OVERLAP_PX) // count)
    size = min(-(-exact // multiple) * multiple, tile_px)
    starts = [(length - size) * number // (count - 1) // multiple * multiple for number in range(count - 1)]
    starts.append(length - size)
    cuts = [0, *((right + left + size) // 2 for left, right in pairwise(starts)), length]
    return [Span(start, start + size, *cut) for start, cut in zip(starts, pairwise(cuts), strict=True)]
