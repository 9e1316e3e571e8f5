"""What clean pictures look like to an encoder: shipped for the embedded ones, measured on a user's pictures for others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from pca_protect.errors import PictureError, UsageError
from pca_protect.eval.check.posterior import FIGURES, Figures, figures_of, middle
from pca_protect.eval.pictures import pictures_in
from pca_protect.io.read import read_picture
from pca_protect.surrogates.encoder import Surrogate

STORED = "clean.json"
"""Beside this file; `pca-protect bench check --reference` writes it."""

SMALLER = 0.5
"""Of the side of clean pictures; smaller ones have too few latent elements to be compared with them."""


@dataclass(frozen=True)
class Reference:
    """Attributes:
    source: which pictures, for people.
    pictures: how many.
    smallest_side_px: pictures with a shorter side cannot be compared with these.
    quantiles: figure -> its values in the pictures, ascending, evenly spaced from the smallest to the largest.
    """

    source: str
    pictures: int
    smallest_side_px: int
    quantiles: Mapping[str, tuple[float, ...]]

    def share_at_most(self, figure: str, value: float) -> float:
        """The share of clean pictures with such a value or a smaller one."""
        return self.shares(figure, value)[0]

    def share_at_least(self, figure: str, value: float) -> float:
        """The share of clean pictures with such a value or a larger one."""
        return self.shares(figure, value)[1]

    def shares(self, figure: str, value: float) -> tuple[float, float]:
        """Both of them. The picture itself is counted as one more clean one, so that no share is below 1 / (pictures + 1)."""
        values = self.quantiles[figure]
        below = float(np.interp(value, values, np.linspace(0.0, 1.0, len(values)), left=0.0, right=1.0))
        at_most, at_least = ((share * self.pictures + 1) / (self.pictures + 1) for share in (below, 1 - below))
        return at_most, at_least

    def value_at(self, figure: str, share: float) -> float:
        """The value that this share of clean pictures stays below."""
        return float(np.quantile(self.quantiles[figure], share))


def stored_reference(surrogate: Surrogate) -> tuple[Reference | None, str]:
    """The reference that is shipped for an encoder, and why there is none or it is not used; empty if it is.

    It belongs to the weights, whatever name or path they were loaded from.
    """
    content = json.loads(resources.files("pca_protect.eval.check").joinpath(STORED).read_text(encoding="utf-8"))
    for measured in content["vaes"].values():
        if measured["weights_sha256"] == surrogate.digest:
            quantiles = {figure: tuple(measured["quantiles"][figure]) for figure in FIGURES}
            return Reference(content["source"], content["pictures"], content["smallest_side_px"], quantiles), ""
    if surrogate.name in content["vaes"]:
        return None, (
            f"{surrogate.name}: the stored figures of clean pictures were measured with other weights than these and are not "
            "used; measure them anew with `pca-protect bench check --reference`"
        )
    return None, f"{surrogate.name}: no figures of clean pictures are stored for this encoder"


def measured_reference(
    surrogate: Surrogate, folder: Path, *, on_progress: Callable[[str, int, int], None]
) -> tuple[Reference, tuple[str, ...]]:
    """A reference made of the pictures of a folder, and one sentence for every file that was left out.

    Raises:
        UsageError: no folder, or fewer than two pictures in it that can be read.
    """
    found: list[Figures] = []
    left_out, sides = [], []
    paths = pictures_in(folder, option="--clean")
    for done, path in enumerate(paths):
        on_progress(f"clean pictures with {surrogate.name}", done, len(paths))
        try:
            picture = middle(read_picture(path))
        except PictureError as error:
            left_out.append(f"{error}; left out of --clean")
            continue
        found.append(figures_of(picture, surrogate))
        sides.append(min(picture.width, picture.height))
    if len(found) < 2:
        raise UsageError(f"--clean {folder}: holds {len(found)} picture that can be read; give a folder with more")
    return Reference(f"the pictures in {folder}", len(found), int(min(sides) * SMALLER), quantiles_of(found)), tuple(
        left_out
    )


def quantiles_of(found: list[Figures], levels: int | None = None) -> dict[str, tuple[float, ...]]:
    """Every figure's values in ascending order, or so many quantiles of them, evenly spaced."""
    rows = [asdict(figures) for figures in found]
    shares = np.linspace(0.0, 1.0, levels or len(found))
    return {figure: tuple(np.quantile([row[figure] for row in rows], shares).tolist()) for figure in FIGURES}
