"""The verdict of one encoder about a picture, and the summary for the user."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pca_protect.eval.check.posterior import FIGURES, Figures, Shift
from pca_protect.eval.check.reference import Reference
from pca_protect.protection import MIN_GAIN

if TYPE_CHECKING:
    from pca_protect.eval.check.edits import Change, Edits
    from pca_protect.eval.check.encoders import EncoderCheck


Looks = Literal["protected", "clean", "unclear"]

WORDS: dict[Looks, str] = {
    "protected": "looks protected",
    "clean": "looks like clean pictures",
    "unclear": "cannot tell",
}

RARE = 0.01
"""`protected` requires that at most this share of clean pictures respond as strongly to smoothing or recompression. It limits
false alarms to 1 %; a few hundred clean pictures cannot resolve a smaller share."""

FEWEST = 99
"""Minimum number of clean pictures; the most extreme of 100 pictures (these and the one checked) has a share of 1 %."""

UNUSUAL = 0.1
"""Mode `concentration` also requires that smoothing raises the norm as much in at most this share of clean pictures. In JPEG
files of quality 75, recompression raises the norm too, but smoothing lowers it."""

SIDE = 0.3
"""`protected` requires that at most this share of clean pictures have a norm as large, or as small. The norm depends on the
content of the picture and decides nothing alone."""

RISE = 1.06
"""Mode `concentration` requires that recompression multiplies the norm by at least this factor. The largest factor on the 400
stored clean pictures was 1.056, over all embedded encoders; smooth photographs rise a little."""

COMMON = 0.02
"""`clean` requires that at least this share of clean pictures are as extreme in every figure. Between this and `RARE` the verdict
is `unclear`."""

FACTOR = 1.25
"""A change counts as protection only if the norm rises or falls by this factor. In eight photographs with raised brightness or
contrast, the loss changed more than under noise, and the norm by a factor of at most 1.15; both modes changed it by 1.4 to 10."""

SIMILAR = 1.25
"""Two distances between edits are called equal within this factor: a verdict has one prompt and one seed."""


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    looks: see `WORDS`.
    mode: the detected mode of a picture that looks protected; None otherwise.
    why: the reason, without a capital or a full stop.
    """

    looks: Looks
    mode: str | None
    why: str


def judge(figures: Figures, reference: Reference | None, *, shorter_side_px: int, shift: Shift | None) -> Verdict:
    """The verdict of one encoder. The change against the original takes precedence over the comparison with clean pictures.

    Args:
        figures: of the picture.
        reference: figures of clean pictures with this encoder; None if unknown.
        shorter_side_px: of the picture.
        shift: effect of the change against the original; None without an original or without a change.
    """
    alone = _alone(figures, reference, shorter_side_px)
    if shift is None:
        return alone
    beside = _beside_original(shift)
    if alone.looks != "protected" or beside.looks == "protected":
        return beside
    if beside.looks == "unclear" and alone.mode == _mode_of_norm(shift):
        return Verdict("protected", alone.mode, f"{alone.why}, and {beside.why}")
    return Verdict("unclear", None, f"{alone.why}, but {beside.why}: the original may itself be protected or unusual")


def _beside_original(shift: Shift) -> Verdict:
    """`MIN_GAIN` is also the threshold below which `protect` warns of a weak protection."""
    mode = _mode_of_norm(shift)
    norm = f"the norm is {shift.norm:.2f} times the original's"
    if mode is None:
        if shift.latent <= shift.noise_latent:
            return Verdict("clean", None, f"the latent shift is at most that of noise of the same size, and {norm}")
        return Verdict("unclear", None, f"the latent shift is above that of noise of the same size, but {norm}")
    gain = f"the latent shift is {shift.gain_over_noise:.2g} times that of noise of the same size"
    if shift.gain_over_noise >= MIN_GAIN:
        return Verdict("protected", mode, f"{gain}, and {norm}")
    return Verdict("unclear", None, f"{norm}, but {gain}, below the threshold of {MIN_GAIN:g}")


def _mode_of_norm(shift: Shift) -> str | None:
    """The mode that changes the norm in this direction; None for a change below `FACTOR`."""
    if shift.norm >= FACTOR:
        return "diffusion"
    return "concentration" if shift.norm <= 1 / FACTOR else None


def _alone(figures: Figures, reference: Reference | None, shorter_side_px: int) -> Verdict:
    if reference is None:
        return Verdict("unclear", None, "nothing to compare with; `original` helps, and so does `clean`")
    if shorter_side_px < reference.smallest_side_px:
        return Verdict(
            "unclear",
            None,
            f"its shorter side of {shorter_side_px} px is too small for a comparison with these clean pictures, which needs "
            f"{reference.smallest_side_px} px; `original` helps",
        )
    if reference.pictures < FEWEST:
        few = f"{reference.pictures} clean pictures are too few, a comparison needs {FEWEST}; `original` helps"
        return Verdict("unclear", None, few)
    falls = reference.share_at_most("smoothed", figures.smoothed)
    large = reference.share_at_least("norm", figures.norm)
    if falls <= RARE and large <= SIDE:
        why = f"smoothing lowers the norm by {1 - figures.smoothed:.0%}, as in {percent(falls)} of clean pictures"
        return Verdict("protected", "diffusion", f"{why}, and the norm is as large in only {percent(large)} of them")
    rises = reference.share_at_least("recompressed", figures.recompressed)
    also = reference.share_at_least("smoothed", figures.smoothed)
    small = reference.share_at_most("norm", figures.norm)
    if rises <= RARE and figures.recompressed >= RISE and also <= UNUSUAL and small <= SIDE:
        why = (
            f"recompression raises the norm by {figures.recompressed - 1:.0%}, as in {percent(rises)} of clean pictures"
        )
        return Verdict(
            "protected", "concentration", f"{why}, and the norm is as small in only {percent(small)} of them"
        )
    rarest = min(min(reference.shares(figure, getattr(figures, figure))) for figure in FIGURES)
    if rarest >= COMMON:
        return Verdict("clean", None, f"at least {percent(rarest)} of clean pictures are as extreme in every figure")
    return Verdict(
        "unclear",
        None,
        f"only {percent(rarest)} of clean pictures are as extreme in some figure, but it lacks the pattern of a protection",
    )


def percent(share: float) -> str:
    """A share as text, with one digit after the point below 10 %."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


TEST_BED = (
    "The embedded pocket models are a test bed: their verdicts do not apply to Stable Diffusion or any other real editor; "
    "`vae=sd` checks with its encoder."
)
REMOVABLE = "Any protection can be removed by dedicated purifiers, and in part by compression and resizing."
NO_PROOF = (
    "A picture that looks clean may still be protected: a perturbation against another encoder, or one weakened by later "
    "processing, need not show here."
)


def summary(encoders: Sequence[EncoderCheck], change: Change | None, edits: Edits | None) -> tuple[str, ...]:
    """The results in plain words, then their limitations."""
    found = [] if edits is None else [_of_edits(edits)]
    found += _by_verdict(encoders)
    if change is not None and change.max_change_levels == 0:
        found.insert(0, "The picture and its original are identical: no pixel differs, so nothing was added to it.")
    if change is None:
        found.append("Without the original this is a hint; `original` measures the change itself.")
    if any(encoder.verdict.looks == "clean" for encoder in encoders):
        found.append(NO_PROOF)
    if any(encoder.embedded for encoder in encoders):
        found.append(TEST_BED)
    return (*found, REMOVABLE)


def edit_verdict(edits: Edits) -> str:
    """What the distances between the edits say, in a sentence; empty without an original or without a change."""
    if edits.apart is None or edits.noise_apart is None or edits.seed_apart is None:
        return ""
    if not edits.trained:
        return f"No verdict on this edit: {edits.editor} was not trained on its prompt."
    if edits.apart <= edits.noise_apart:
        return "No effect shown: this edit was disturbed no more than by random noise."
    beside_seed = edits.apart / edits.seed_apart if edits.seed_apart else math.inf
    times = f"{edits.apart / edits.noise_apart:.2g} times as much as by random noise"
    if beside_seed < 1 / SIMILAR:
        return f"No effect shown: this edit was disturbed less than it differs when it is tried twice ({times})."
    if beside_seed <= SIMILAR:
        return f"Effect unclear: this edit was disturbed about as much as it differs when it is tried twice ({times})."
    twice = f"{beside_seed:.2g} times as much as it differs when it is tried twice"
    return f"Effect shown: this edit was disturbed {twice}, and {times}."


_SAYS: dict[Looks, str] = {
    "protected": "Encoders that see a protection:",
    "clean": "Encoders that see a clean picture:",
    "unclear": "Encoders without a verdict:",
}


def _by_verdict(encoders: Sequence[EncoderCheck]) -> Iterator[str]:
    """A sentence per verdict, with its encoders and their effect beside noise."""
    for looks, says in _SAYS.items():
        named = [_with_gain(encoder) for encoder in encoders if encoder.verdict.looks == looks]
        if named:
            yield f"{says} {', '.join(named)}."


def _with_gain(encoder: EncoderCheck) -> str:
    gain = "" if encoder.shift is None else f" ({encoder.shift.gain_over_noise:.2g} times the shift by random noise)"
    return f"{encoder.name}{gain}"


def _of_edits(edits: Edits) -> str:
    fitted = f", cropped and resized to {edits.size_px} px" if edits.fitted else ""
    how = f"by {edits.editor} with `{edits.prompt}`{fitted}"
    if edits.apart is None:
        return (
            f"The edit {how} is FLIP {edits.from_picture:.3f} from the picture; `original` is needed to interpret this."
        )
    said = edit_verdict(edits) or f"The edits of picture and original are FLIP {edits.apart:.3f} apart."
    return f"{said} It is one prompt and one seed, {how}; try others, and count all of them."
