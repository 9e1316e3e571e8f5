"""How a picture differs from its original to a viewer."""

from __future__ import annotations

from dataclasses import dataclass

from pca_protect.eval.check.posterior import middle
from pca_protect.eval.metrics.classical import psnr
from pca_protect.eval.metrics.load import visibility
from pca_protect.evaluation import largest_change
from pca_protect.io.picture import Picture


@dataclass(frozen=True)
class Change:
    """Attributes:
    max_change_levels: the largest change of any channel of any pixel, in 8-bit levels; 0 if the pictures are identical.
    psnr_db: of the picture against its original; None if they are identical.
    flip: mean FLIP error in [0, 1], how visible the change is; 0 is not at all. Of a large picture it is that of the middle.
    """

    max_change_levels: int
    psnr_db: float | None
    flip: float


def change_of(picture: Picture, original: Picture) -> Change:
    """How two pictures of one size differ."""
    levels = largest_change(original.rgb, picture.rgb)
    if levels == 0:
        return Change(0, None, 0.0)
    return Change(levels, psnr(original.rgb, picture.rgb), visibility(middle(original).rgb, middle(picture).rgb))
