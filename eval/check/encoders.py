"""Which encoders a picture is checked with, and what each of them says about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pca_protect.config import Device
from pca_protect.errors import ModelError
from pca_protect.eval.check.posterior import FIGURES, Figures, Shift, figures_of, shift_of
from pca_protect.eval.check.reference import Reference
from pca_protect.eval.check.verdict import RARE, Verdict, judge
from pca_protect.io.picture import Picture
from pca_protect.surrogates.encoder import Surrogate, is_same_encoder
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.load import load_surrogate
from pca_protect.surrogates.registry import REGISTRY, embedded_warning


def load_encoders(
    names: Sequence[str], *, device: Device, offline: bool
) -> tuple[tuple[Surrogate, ...], tuple[str, ...]]:
    """Encoders with different weights, whatever precision they were saved in. All run in fp32, as the stored figures of clean
    pictures were measured.

    Args:
        names: what `load_surrogate` takes; if empty, the embedded ones and those of the registry in the local cache. Of
            those one that does not load is left out, of the former it is an error.
        offline: touch no network.

    Returns:
        The encoders, and what has to be said about them.

    Raises:
        UsageError, ModelError, DeviceError: see `load_surrogate`.
    """
    loaded: list[Surrogate] = []
    warnings: list[str] = []
    for name in names or [entry.name for entry in REGISTRY.values() if is_cached(entry)]:
        try:
            surrogate = load_surrogate(name, device=device, precision="fp32", offline=offline or not names)
        except ModelError as error:
            if names:
                raise
            warnings.append(f"{name} is left out: {error}")
            continue
        same = next((earlier for earlier in loaded if is_same_encoder(earlier, surrogate)), None)
        if same is not None:
            warnings.append(f"{name} has the weights of {same.name} and is not checked again")
            continue
        loaded.append(surrogate)
        # That embedded models are a test bed is part of every answer.
        warnings += [text for text in surrogate.warnings if text != embedded_warning(surrogate.name)]
    return tuple(loaded), tuple(warnings)


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
