"""The encoders of a check, and the result of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pca_protect.device_names import Device
from pca_protect.errors import ModelError
from pca_protect.eval.check.posterior import FIGURES, Figures, Shift, figures_of, shift_of
from pca_protect.eval.check.reference import Reference
from pca_protect.eval.check.verdict import RARE, Verdict, judge
from pca_protect.image.scale_names import Scale
from pca_protect.io.picture import Picture
from pca_protect.surrogates.encoder import Surrogate, is_same_encoder
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.load import load_surrogate
from pca_protect.surrogates.registry import REGISTRY, embedded_warning, point_warning


def load_encoders(
    names: Sequence[str], *, device: Device, offline: bool
) -> tuple[tuple[Surrogate, ...], tuple[str, ...]]:
    """Load encoders with distinct weights, independent of the stored precision. All run in fp32, like the stored figures of clean
    pictures.

    Args:
        names: for `load_surrogate`; an encoder that fails to load is an error. If empty, the embedded encoders and those of the
            registry in the local cache; one that fails to load is skipped with a warning.
        offline: do not use the network.

    Returns:
        The encoders, and warnings about them.

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
        # Every summary says that embedded models are a test bed, and a check reads means only.
        known = embedded_warning(surrogate.name), point_warning(surrogate.name)
        warnings += [text for text in surrogate.warnings if text not in known]
    return tuple(loaded), tuple(warnings)


@dataclass(frozen=True)
class Compared:
    """One figure of the picture, compared with clean pictures.

    Attributes:
        low, middle, high: the 1 %, 50 % and 99 % quantiles of clean pictures.
        at_most, at_least: the shares of clean pictures with a value at most, and at least, that of the picture.
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
    embedded: whether it belongs to the test bed.
    figures: of the picture.
    clean_source, clean_pictures: description and number of the reference's pictures; None without a reference.
    compared: figure -> comparison with clean pictures; empty without a reference.
    shift: effect of the change against the original; None without an original or without a change.
    verdict: the conclusion.
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
    pair: tuple[Picture, Picture] | None,
    scales: tuple[Scale, ...],
    levels: int,
    seed: int,
) -> EncoderCheck:
    """Measure a picture with one encoder and compute the verdict.

    Args:
        pair: a picture and its original, of one size, for the effect of the change; None if the original is unknown.
        scales: at which the effect is measured; empty for the size of the pair.
        levels: the largest change of any channel of any pixel against the original.
        seed: of the noise for comparison.
    """
    figures = figures_of(picture, surrogate)
    shift = None
    if pair is not None and levels > 0:
        shift = shift_of(*pair, surrogate, levels=levels, scales=scales, seed=seed)
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
