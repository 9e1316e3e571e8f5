"""The part of an edit's displacement that is the perturbation itself, carried through the editor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pca_protect.eval.pictures import Rgb


def carried_through(
    picture: Rgb, changed: Rgb, clean_edit: Rgb, edit: Rgb, distance: Callable[[Rgb, Rgb], float]
) -> dict[str, float]:
    """The perturbation in an edit, as `share`, `pasted` and `without`.

    `share`: least-squares coefficient of the perturbation in the displacement of the edit, 1 if it is copied unchanged. `pasted`:
    distance from the clean edit to the clean edit plus the perturbation. `without`: distance from the clean edit to the edit
    minus `share` times the perturbation.

    Args:
        picture, changed: original and protected picture, `(H, W, 3)`.
        clean_edit, edit: their edits with one seed, of the same size.
        distance: (reference, test) -> distance.
    """
    perturbation = changed.astype(np.float64) - picture
    displacement = edit.astype(np.float64) - clean_edit
    power = float(np.square(perturbation).sum())
    share = float((perturbation * displacement).sum()) / power if power else 0.0
    return {
        "share": share,
        "pasted": distance(clean_edit, _picture(clean_edit + perturbation)),
        "without": distance(clean_edit, _picture(edit - share * perturbation)),
    }


def _picture(values: NDArray[np.float64]) -> Rgb:
    return values.round().clip(0, 255).astype(np.uint8)
