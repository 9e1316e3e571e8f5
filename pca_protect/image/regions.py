"""Regions of pictures in requests.

Standard library only: the command line imports this before torch.
"""

from __future__ import annotations

from pca_protect.errors import UsageError


def parse_region(region: str) -> str | tuple[int, int, int, int]:
    """`center`, `face`, or (x, y, width, height) in pixels.

    Raises:
        UsageError: it is none of these.
    """
    if region in ("center", "face"):
        return region
    try:
        x, y, width, height = (int(part) for part in region.split(","))
    except ValueError:
        raise UsageError(
            f"region {region!r} is neither face, center nor x,y,w,h in pixels; give a region such as 100,50,200,200"
        ) from None
    if x < 0 or y < 0 or width < 1 or height < 1:
        raise UsageError(f"region {region!r} lies outside every picture; x and y count from 0, w and h from 1")
    return x, y, width, height
