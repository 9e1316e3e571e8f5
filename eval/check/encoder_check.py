"""What one encoder says about a picture."""

from __future__ import annotations

from dataclasses import dataclass

from pca_protect.eval.check.posterior import FIGURES, Figures, figures_of
from pca_protect.eval.check.reference import Reference
from pca_protect.eval.check.shift import Shift, shift_of
from pca_protect.eval.check.verdict import RARE, Verdict, judge
from pca_protect.io.picture import Picture
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.registry import REGISTRY


@dataclass(frozen=True)
class Compared:
    """One figure of the picture among those of clean pictures.

    Attributes:
        low, middle, high: what 1 %, half and 99 % of clean pictures stay below.
        at_most, at_least: the share of clean pictures with such a value or a smaller one, and with a larger one.
    """

    low: float
    middle: float
    high: float
    at_most: float
    at_least: float


@dataclass(frozen=True)
class EncoderCheck:
    """Attributes:
    name, weights_sha256: of the encoder.
    embedded: whether it is one of the test bed's.
    figures: of the picture.
    clean_source, clean_pictures: what it was compared with, and how many; None if there was nothing.
    compared: figure -> where it lies among those of clean pictures; empty without any.
    shift: what the change against the original did; None without an original, and if nothing was changed.
    verdict: all of it in a word and a sentence.
    """

    name: str
    weights_sha256: str
    embedded: bool
    figures: Figures
    clean_source: str | None
    clean_pictures: int | None
    compared: dict[str, Compared]
    shift: Shift | None
    verdict: Verdict


def check_with(
    surrogate: Surrogate,
    picture: Picture,
    *,
    reference: Reference | None,
    original: Picture | None,
    levels: int,
    seed: int,
) -> EncoderCheck:
    """Measure a picture with one encoder, and judge.

    Args:
        original: of the same size, if there is one.
        levels: the largest change of any channel of any pixel against the original.
        seed: draws the noise that the change is compared with.
    """
    figures = figures_of(picture, surrogate)
    shift = None
    if original is not None and levels > 0:
        shift = shift_of(picture, original, surrogate, levels=levels, seed=seed)
    entry = REGISTRY.get(surrogate.name)
    return EncoderCheck(
        name=surrogate.name,
        weights_sha256=surrogate.digest,
        embedded=entry is not None and entry.embedded,
        figures=figures,
        clean_source=reference.source if reference else None,
        clean_pictures=reference.pictures if reference else None,
        compared={figure: _compared(reference, figure, getattr(figures, figure)) for figure in FIGURES if reference},
        shift=shift,
        verdict=judge(figures, reference, shorter_side_px=min(picture.width, picture.height), shift=shift),
    )


def _compared(reference: Reference, figure: str, value: float) -> Compared:
    low, middle, high = (reference.value_at(figure, share) for share in (RARE, 0.5, 1 - RARE))
    return Compared(low, middle, high, *reference.shares(figure, value))
