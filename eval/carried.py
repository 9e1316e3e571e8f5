"""The part of an edit's displacement that is the perturbation itself, carried through the editor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pca_protect.eval.pictures import Rgb


@dataclass(frozen=True)
class Carried:
    """The perturbation in an edit.

    Attributes:
        share: least-squares coefficient of the perturbation in the displacement of the edit; 1 if it is copied unchanged.
        pasted: the clean edit plus the perturbation.
        without: the edit minus `share` times the perturbation.
    """

    share: float
    pasted: Rgb
    without: Rgb


def carried_through(picture: Rgb, changed: Rgb, clean_edit: Rgb, edit: Rgb) -> Carried:
    """Args:
    picture, changed: original and protected picture, `(H, W, 3)`.
    clean_edit, edit: their edits with one seed, of the same size.
    """
    perturbation = changed.astype(np.float64) - picture
    displacement = edit.astype(np.float64) - clean_edit
    power = float(np.square(perturbation).sum())
    share = float((perturbation * displacement).sum()) / power if power else 0.0
    return Carried(share, _picture(clean_edit + perturbation), _picture(edit - share * perturbation))


def _picture(values: NDArray[np.float64]) -> Rgb:
    return values.round().clip(0, 255).astype(np.uint8)
