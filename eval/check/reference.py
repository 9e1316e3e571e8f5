"""Reference figures of clean pictures: shipped for the embedded encoders, measured on a user's pictures for others."""

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
"""The shipped reference; `pca-protect bench check --reference` writes it."""

SMALLER = 0.5
"""Smallest side of a comparable picture, as a fraction of the clean pictures' side; smaller ones have too few latent elements."""


@dataclass(frozen=True)
class Reference:
    """Attributes:
    source: description of the pictures.
    pictures: their number.
    smallest_side_px: minimum shorter side of a comparable picture.
    quantiles: figure -> evenly spaced quantiles, ascending from minimum to maximum.
    """

    source: str
    pictures: int
    smallest_side_px: int
    quantiles: Mapping[str, tuple[float, ...]]

    def share_at_most(self, figure: str, value: float) -> float:
        """The share of clean pictures with at most this value."""
        return self.shares(figure, value)[0]

    def share_at_least(self, figure: str, value: float) -> float:
        """The share of clean pictures with at least this value."""
        return self.shares(figure, value)[1]

    def shares(self, figure: str, value: float) -> tuple[float, float]:
        """Both shares. Counts the picture itself as one more clean one, so that no share is below 1 / (pictures + 1)."""
        values = self.quantiles[figure]
        below = float(np.interp(value, values, np.linspace(0.0, 1.0, len(values)), left=0.0, right=1.0))
        at_most, at_least = ((share * self.pictures + 1) / (self.pictures + 1) for share in (below, 1 - below))
        return at_most, at_least

    def value_at(self, figure: str, share: float) -> float:
        """The quantile of clean pictures at this share."""
        return float(np.quantile(self.quantiles[figure], share))


def stored_reference(surrogate: Surrogate) -> tuple[Reference | None, str]:
    """The shipped reference of an encoder, or None and the reason; the reason is empty with a reference.

    References are keyed by weights, independent of the name or path of the encoder.
    """
    content = json.loads(resources.files("pca_protect.eval.check").joinpath(STORED).read_text(encoding="utf-8"))
    for measured in content["vaes"].values():
        if measured["weights_sha256"] == surrogate.digest:
            quantiles = {figure: tuple(measured["quantiles"][figure]) for figure in FIGURES}
            return Reference(content["source"], content["pictures"], content["smallest_side_px"], quantiles), ""
    if surrogate.name in content["vaes"]:
        return None, (
            f"{surrogate.name}: the stored figures of clean pictures were measured with other weights than these and are not "
            "used; measure again with `pca-protect bench check --reference`"
        )
    return None, f"{surrogate.name}: no figures of clean pictures are stored for this encoder"


def measured_reference(
    surrogate: Surrogate, folder: Path, *, on_progress: Callable[[str, int, int], None]
) -> tuple[Reference, tuple[str, ...]]:
    """A reference computed from the pictures of a folder, and a warning for every skipped file.

    Raises:
        UsageError: the folder does not exist or holds fewer than two readable pictures.
    """
    found: list[Figures] = []
    left_out, sides = [], []
    paths = pictures_in(folder, option="--clean")
    for done, path in enumerate(paths):
        on_progress(f"clean pictures with {surrogate.name}", done, len(paths))
        try:
            picture = middle(read_picture(path))
        except PictureError as error:
            left_out.append(f"{error}; left out of `clean`")
            continue
        found.append(figures_of(picture, surrogate))
        sides.append(min(picture.width, picture.height))
    if len(found) < 2:
        raise UsageError(f"`clean={folder}`: holds {len(found)} readable picture; give a folder with two or more")
    return Reference(f"the pictures in {folder}", len(found), int(min(sides) * SMALLER), quantiles_of(found)), tuple(
        left_out
    )


def quantiles_of(found: list[Figures], levels: int | None = None) -> dict[str, tuple[float, ...]]:
    """Figure -> its values in ascending order, or `levels` evenly spaced quantiles of them."""
    rows = [asdict(figures) for figures in found]
    shares = np.linspace(0.0, 1.0, levels or len(found))
    return {figure: tuple(np.quantile([row[figure] for row in rows], shares).tolist()) for figure in FIGURES}
