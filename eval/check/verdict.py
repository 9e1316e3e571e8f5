"""What the measurements of one encoder say about a picture, in one word and one sentence; and what a user should take away."""

from __future__ import annotations

from collections.abc import Sequence
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
"""Of clean pictures at most this share answers smoothing, or recompressing, as strongly as a picture called protected: one
false alarm in a hundred is what a user may be bothered with, and a few hundred clean pictures tell no smaller share."""

FEWEST = 99
"""Clean pictures, among which one that is further out than all of them is one in a hundred."""

UNUSUAL = 0.1
"""Smoothing also raises the norm of a picture called protected by mode `concentration` as it raises that of at most this share of
clean ones. JPEG files of quality 75 rise on recompressing too, but fall on smoothing."""

SIDE = 0.3
"""Of clean pictures at most this share has a norm as large, or as small, as a picture called protected. The norm follows what
is shown and decides nothing alone."""

RISE = 1.06
"""Recompressing has to raise the norm of a picture called protected by mode `concentration` at least so much. It raised that of
none of the 400 stored clean pictures by more than 1.056, to any embedded encoder; smooth photographs rise a little."""

COMMON = 0.02
"""Of clean pictures at least this share is as far out in every figure as a picture called like clean ones: between this and
`RARE` nothing is claimed."""

FACTOR = 1.25
"""By so much the norm has to be above, or below, the original's for a change to be called protection. Of eight photographs made
brighter or more contrasty the loss moved further than noise moves it, and the norm by at most 1.15; both modes moved it by
1.4 to 10."""


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    looks: see `WORDS`.
    mode: of a picture that looks protected, the mode whose traces it has; None otherwise.
    why: the reason, without a capital or a full stop.
    """

    looks: Looks
    mode: str | None
    why: str


def judge(figures: Figures, reference: Reference | None, *, shorter_side_px: int, shift: Shift | None) -> Verdict:
    """What one encoder says. The change against the original counts most: no clean picture is a better yardstick.

    Args:
        figures: of the picture.
        reference: what clean pictures look like to this encoder; None if that is not known.
        shorter_side_px: of the picture.
        shift: what the change against the original did; None without an original, and if nothing was changed.
    """
    alone = _alone(figures, reference, shorter_side_px)
    if shift is None:
        return alone
    beside = _beside_original(shift)
    if alone.looks != "protected" or beside.looks == "protected":
        return beside
    if beside.looks == "unclear" and alone.mode == _mode_of_norm(shift):
        return Verdict("protected", alone.mode, f"{alone.why}, and {beside.why}")
    return Verdict("unclear", None, f"{alone.why}, but {beside.why}: the original may be protected or unusual itself")


def _beside_original(shift: Shift) -> Verdict:
    """`MIN_GAIN` is where `protect` itself stops to warn that it hardly protected."""
    mode = _mode_of_norm(shift)
    norm = f"the norm is {shift.norm:.2f} times the original's"
    if mode is None:
        if shift.latent <= shift.noise_latent:
            return Verdict(
                "clean", None, f"the change moved the latent no further than noise as large does, and {norm}"
            )
        return Verdict("unclear", None, f"the change moved the latent further than noise as large does, but {norm}")
    moved = f"the change moved the latent {shift.gain_over_noise:.2g} times as far as noise as large does"
    if shift.gain_over_noise >= MIN_GAIN:
        return Verdict("protected", mode, f"{moved}, and {norm}")
    return Verdict("unclear", None, f"{norm}, but {moved}, and {MIN_GAIN:g} times count as protection")


def _mode_of_norm(shift: Shift) -> str | None:
    """The mode that changes norms the way this one was changed; None if it was hardly changed."""
    if shift.norm >= FACTOR:
        return "diffusion"
    return "concentration" if shift.norm <= 1 / FACTOR else None


def _alone(figures: Figures, reference: Reference | None, shorter_side_px: int) -> Verdict:
    if reference is None:
        return Verdict("unclear", None, "nothing to compare with; --original helps, and so does --clean")
    if shorter_side_px < reference.smallest_side_px:
        return Verdict(
            "unclear",
            None,
            f"its shorter side of {shorter_side_px} px is too small for a comparison with these clean pictures, which takes "
            f"{reference.smallest_side_px} px; --original helps",
        )
    if reference.pictures < FEWEST:
        few = f"{reference.pictures} clean pictures are too few to compare with, which takes {FEWEST}; --original helps"
        return Verdict("unclear", None, few)
    falls = reference.share_at_most("smoothed", figures.smoothed)
    large = reference.share_at_least("norm", figures.norm)
    if falls <= RARE and large <= SIDE:
        why = f"smoothing takes {1 - figures.smoothed:.0%} of its norm, as of {percent(falls)} of clean pictures"
        return Verdict("protected", "diffusion", f"{why}, and the norm is as large as that of {percent(large)} of them")
    rises = reference.share_at_least("recompressed", figures.recompressed)
    also = reference.share_at_least("smoothed", figures.smoothed)
    small = reference.share_at_most("norm", figures.norm)
    if rises <= RARE and figures.recompressed >= RISE and also <= UNUSUAL and small <= SIDE:
        why = f"recompressing adds {figures.recompressed - 1:.0%} to its norm, as to {percent(rises)} of clean pictures"
        return Verdict(
            "protected", "concentration", f"{why}, and the norm is as small as that of {percent(small)} of them"
        )
    rarest = min(min(reference.shares(figure, getattr(figures, figure))) for figure in FIGURES)
    if rarest >= COMMON:
        return Verdict("clean", None, f"at least {percent(rarest)} of clean pictures are as far out in every figure")
    return Verdict(
        "unclear",
        None,
        f"only {percent(rarest)} of clean pictures are as far out in some figure, but not as protection is",
    )


def percent(share: float) -> str:
    """A share for people."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


TEST_BED = (
    "The embedded pocket models are a test bed: what they say holds for them alone and says nothing about Stable Diffusion or "
    "any other editor in use; --vae sd asks its encoder."
)
REMOVABLE = (
    "Whatever protection there is can be removed: by purifiers made for it, and in part by compression and resizing."
)
NO_PROOF = (
    "That a picture looks like clean ones is no proof that it is unprotected: a perturbation made for an encoder that was not "
    "asked, or one that was weakened since, need not show here."
)


_LEAVE_ALIKE = {"diffusion": "modes diffusion and subtle leave"}
"""Both make the latent grow, and are not told apart."""


def summary(encoders: Sequence[EncoderCheck], change: Change | None, edits: Edits | None) -> tuple[str, ...]:
    """What was found, then what that does not mean."""
    found = [_of_encoder(encoder) for encoder in encoders]
    if change is not None and change.max_change_levels == 0:
        found.insert(0, "The picture and its original are identical: no pixel differs, so nothing was added to it.")
    if edits is not None:
        found.append(_of_edits(edits))
    if any(encoder.verdict.looks == "clean" for encoder in encoders):
        found.append(NO_PROOF)
    return (*found, TEST_BED, REMOVABLE)


def _of_encoder(encoder: EncoderCheck) -> str:
    verdict = encoder.verdict
    as_mode = f", as {_LEAVE_ALIKE.get(verdict.mode, f'mode {verdict.mode} leaves')} pictures" if verdict.mode else ""
    return f"{encoder.name}: {WORDS[verdict.looks]}{as_mode}; {verdict.why}."


def _of_edits(edits: Edits) -> str:
    fitted = f", on squares of {edits.size_px} px that pictures were cropped and resized to," if edits.fitted else ""
    how = f"by {edits.editor} with `{edits.prompt}`{fitted}"
    if edits.apart is None:
        return (
            f"The edit {how} is FLIP {edits.from_picture:.3f} from the picture; only --original tells what that means."
        )
    noise = "" if edits.noise_apart is None else f", where noise as large puts them {edits.noise_apart:.3f} apart"
    return f"The edits of picture and original {how} are FLIP {edits.apart:.3f} apart{noise}; that is one prompt, one seed."
