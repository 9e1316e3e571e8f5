"""What a user should take away, in sentences. Nothing is said here that was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pca_protect.eval.check.verdict import WORDS

if TYPE_CHECKING:
    from pca_protect.eval.check.change import Change
    from pca_protect.eval.check.edits import Edits
    from pca_protect.eval.check.encoder_check import EncoderCheck

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
