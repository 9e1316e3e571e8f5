"""Visibility of the change between a picture and its original, and edits of both and of the original with noise."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from pca_protect.eval.check.posterior import middle
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.registry import EMBEDDED
from pca_protect.eval.known_edits import edits_of
from pca_protect.eval.metrics.classical import psnr
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, square_of
from pca_protect.eval.sheet import contact_sheet
from pca_protect.eval.trial import prompts_for
from pca_protect.evaluation import largest_change
from pca_protect.image.scale_names import Scale
from pca_protect.image.tensors import Mask
from pca_protect.io.picture import Picture
from pca_protect.noise_control import with_noise
from pca_protect.surrogates.registry import REGISTRY


@dataclass(frozen=True)
class Change:
    """Attributes:
    max_change_levels: the largest change of any channel of any pixel, in 8-bit levels; 0 if the pictures are identical.
    psnr_db: of the picture against its original; None if they are identical.
    flip: mean FLIP error in [0, 1]; 0 is invisible. For a large picture, of its centre.
    """

    max_change_levels: int
    psnr_db: float | None
    flip: float


def change_of(picture: Picture, original: Picture) -> Change:
    """The difference between two pictures of equal size."""
    levels = largest_change(original.rgb, picture.rgb)
    if levels == 0:
        return Change(0, None, 0.0)
    return Change(levels, psnr(original.rgb, picture.rgb), visibility(middle(original).rgb, middle(picture).rgb))


_TITLE_LETTERS = 24
"""Maximum length of the sheet's title, per picture in a row."""

ORIGINAL, CHECKED = "original", "checked picture"
EDIT_OF_ORIGINAL, EDIT_OF_CHECKED = "edit of the original", "edit of the checked picture"
EDIT_OF_NOISY, EDIT_AGAIN = "edit of the original with noise", "the original, edited again"
"""Captions. The last is with another seed."""

_MEGAPIXEL_SIDE_PX = 1024
"""Of a square picture at the scale `1mp`."""


@dataclass(frozen=True)
class Edits:
    """Mean FLIP errors in [0, 1] between pictures of the editor's size; 0 is equal.

    Attributes:
        editor, weights_sha256: name and digest of the editor.
        prompt, seed: its inputs.
        size_px: side of the edited squares.
        fitted: whether the picture was cropped or resized to this size.
        trained: False if an embedded editor was not trained on the prompt.
        from_picture: between the edit of the picture and the picture.
        apart: between the edits of picture and original. This and all following are None without an original.
        noise_apart: between the edits of the original with and without noise of the largest change; also None for identical
            pictures.
        seed_apart: between edits of the original with this seed and the next.
        from_original: between the edit of the picture and the original.
        original_from_original: between the edit of the original and the original.
    """

    editor: str
    weights_sha256: str
    prompt: str
    seed: int
    size_px: int
    fitted: bool
    trained: bool
    from_picture: float
    apart: float | None = None
    noise_apart: float | None = None
    seed_apart: float | None = None
    from_original: float | None = None
    original_from_original: float | None = None


@dataclass(frozen=True)
class Instruction:
    """An editor and its prompt.

    Attributes:
        editor: loaded.
        prompt: the text for the editor, with names of styles replaced.
        trained: see `Edits`.
        warnings: for the user, about this choice.
    """

    editor: Editor
    prompt: str
    trained: bool
    warnings: tuple[str, ...]


def instruction_for(editor: Editor, prompt: str) -> Instruction:
    """Args:
        prompt: free text, or the name of a style.

    Raises:
        UsageError: the prompt is empty.
    """
    (asked,) = prompts_for(editor, [prompt])
    warnings: tuple[str, ...] = ()
    trained = editor.name not in EMBEDDED or asked.target is not None
    if editor.name in EMBEDDED:
        warnings = (f"the embedded `{editor.name}` is a test bed: its edits say nothing about real editors",)
        if not trained:
            known = ", ".join(edit.prompt for edit in edits_of(editor.name).values() if edit.prompt)
            warnings += (f"{editor.name} was trained on these prompts only: {known}",)
    return Instruction(editor, asked.text, trained, warnings)


def edit_both(
    instruction: Instruction,
    picture: Picture,
    original: Picture | None,
    *,
    levels: int,
    seed: int,
    mask: Mask | None = None,
    on_edit: Callable[[int, int], None] = lambda done, edits: None,
    on_step: Callable[[], None] | None = None,
) -> tuple[Edits, dict[str, Rgb]]:
    """Edit with the editor's default settings and one seed, and the original with another seed too.

    Args:
        levels: the largest change of the picture against its original; 0 for none.
        seed: of the noise of the edits and of the control.
        mask: `(H, W)`, the region of the control's noise, where the picture may have changed; None for everywhere.
        on_edit: called before each edit with (edits done, total); an exception from it stops the work.
        on_step: see `Editor.edit`.

    Returns:
        The distances, and pictures of the editor's size by caption.

    Raises:
        ModelError: the editor returned an invalid picture.
    """
    editor, prompt = instruction.editor, instruction.prompt
    given = square_of(picture, editor.size_px).rgb
    edits_in_all = 1 if original is None else 4 if levels else 3
    on_edit(0, edits_in_all)
    edited = _edit(instruction, given, seed, on_step)
    alone = Edits(
        editor=editor.name,
        weights_sha256=editor.digest,
        prompt=prompt,
        seed=seed,
        size_px=editor.size_px,
        fitted=(picture.width, picture.height) != (editor.size_px, editor.size_px),
        trained=instruction.trained,
        from_picture=visibility(given, edited),
    )
    if original is None:
        return alone, {CHECKED: given, EDIT_OF_CHECKED: edited}
    clean = square_of(original, editor.size_px).rgb
    on_edit(1, edits_in_all)
    clean_edit = _edit(instruction, clean, seed, on_step)
    on_edit(2, edits_in_all)
    again = _edit(instruction, clean, seed + 1, on_step)
    pictures = {
        ORIGINAL: clean,
        CHECKED: given,
        EDIT_OF_ORIGINAL: clean_edit,
        EDIT_AGAIN: again,
        EDIT_OF_CHECKED: edited,
    }
    noise_apart = None
    if levels:
        on_edit(3, edits_in_all)
        noisy = square_of(with_noise(original, levels, seed, mask), editor.size_px).rgb
        pictures[EDIT_OF_NOISY] = _edit(instruction, noisy, seed, on_step)
        noise_apart = visibility(clean_edit, pictures[EDIT_OF_NOISY])
    edits = replace(
        alone,
        apart=visibility(clean_edit, edited),
        noise_apart=noise_apart,
        seed_apart=visibility(clean_edit, again),
        from_original=visibility(clean, edited),
        original_from_original=visibility(clean, clean_edit),
    )
    return edits, pictures


def _edit(instruction: Instruction, picture: Rgb, seed: int, on_step: Callable[[], None] | None) -> Rgb:
    return instruction.editor.edit([picture], instruction.prompt, seeds=[seed], on_step=on_step)[0]


def encoder_warning(editor: Editor, vae: str) -> str:
    """A warning if a test editor edits a picture that is protected against real encoders, or the other way round; empty if not.

    Args:
        vae: see `Protection`.
    """
    names = vae.split(" + ")
    known = {name: REGISTRY[name].embedded for name in names if name in REGISTRY}
    if editor.name in EMBEDDED:
        is_other = bool(vae) and editor.surrogate.name not in names
    else:
        is_other = len(known) == len(names) and all(known.values())
    if not is_other:
        return ""
    return (
        f"{editor.name} uses the encoder {editor.surrogate.name}, but the picture is protected against {vae}: the edit shows the "
        "transfer to another encoder, not the protection"
    )


def size_warning(editor: Editor, picture: Picture, scales: Sequence[Scale] = ()) -> str:
    """A warning if the editor works on a smaller picture and the protection may be lost by downscaling; empty if not.

    Args:
        scales: at which the picture was protected; empty if unknown.
    """
    side_px = editor.size_px
    if is_protected_at(side_px, scales) or min(picture.width, picture.height) <= side_px:
        return ""
    return (
        f"{editor.name} edits at {side_px}x{side_px} px; downscaling removes most of a perturbation that was not made for this "
        f"size; protect with `scales={side_px},native`"
    )


def is_protected_at(side_px: int, scales: Sequence[Scale]) -> bool:
    """Whether the loss included the picture at the side of an editor's square pictures."""
    return side_px in scales or (side_px == _MEGAPIXEL_SIDE_PX and "1mp" in scales)


def side_by_side(instruction: Instruction, edits: Edits, pictures: dict[str, Rgb]) -> Image.Image:
    """A contact sheet of the pictures of `edit_both`, with captions and distances."""
    title = f"{instruction.editor.name}: {instruction.prompt}"
    short = textwrap.shorten(title, _TITLE_LETTERS * len(pictures), placeholder=" ...")
    apart = {EDIT_OF_CHECKED: edits.apart, EDIT_AGAIN: edits.seed_apart, EDIT_OF_NOISY: edits.noise_apart}
    return contact_sheet({short: [{_captioned(name, apart.get(name)): shown for name, shown in pictures.items()}]})


def _captioned(name: str, apart: float | None) -> str:
    return name if apart is None else f"{name}\nFLIP {apart:.3f} from edit of original"
