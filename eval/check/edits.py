"""The change of a picture against its original as a viewer sees it, and the same edit of both and of the original with noise."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from pca_protect.eval.check.posterior import middle
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.registry import EMBEDDED
from pca_protect.eval.metrics.classical import psnr
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, square_of
from pca_protect.eval.sheet import contact_sheet
from pca_protect.eval.styles import STYLES
from pca_protect.eval.trial import prompts_for
from pca_protect.evaluation import largest_change, with_noise
from pca_protect.image.tensors import Mask
from pca_protect.io.picture import Picture


@dataclass(frozen=True)
class Change:
    """Attributes:
    max_change_levels: the largest change of any channel of any pixel, in 8-bit levels; 0 if the pictures are identical.
    psnr_db: of the picture against its original; None if they are identical.
    flip: mean FLIP error in [0, 1], how visible the change is; 0 is not at all. Of a large picture it is that of the middle.
    """

    max_change_levels: int
    psnr_db: float | None
    flip: float


def change_of(picture: Picture, original: Picture) -> Change:
    """How two pictures of one size differ."""
    levels = largest_change(original.rgb, picture.rgb)
    if levels == 0:
        return Change(0, None, 0.0)
    return Change(levels, psnr(original.rgb, picture.rgb), visibility(middle(original).rgb, middle(picture).rgb))


_TITLE_LETTERS = 24
"""Of the sheet's title for each picture across: what fits above it."""

ORIGINAL, GIVEN = "original", "given"
EDIT_OF_ORIGINAL, EDIT_OF_GIVEN, EDIT_OF_NOISY = "edit of original", "edit of given", "edit of noisy"


@dataclass(frozen=True)
class Edits:
    """Mean FLIP errors in [0, 1] between pictures of the editor's size; 0 is equal.

    Attributes:
        editor, weights_sha256: what edited.
        prompt, seed: what it was given.
        size_px: side of the squares that were edited.
        fitted: whether the picture had to be cropped or resized to that.
        from_picture: the edit of the picture from the picture.
        apart: the edit of the picture from the edit of the original; None without an original, as the following.
        noise_apart: the edit of the original with noise of the largest change from the edit of the original; None too if
            nothing was changed.
        from_original: the edit of the picture from the original.
        original_from_original: the edit of the original from the original.
    """

    editor: str
    weights_sha256: str
    prompt: str
    seed: int
    size_px: int
    fitted: bool
    from_picture: float
    apart: float | None = None
    noise_apart: float | None = None
    from_original: float | None = None
    original_from_original: float | None = None


@dataclass(frozen=True)
class Instruction:
    """An editor and what it is told.

    Attributes:
        editor: loaded.
        prompt: in the words that the editor is given.
        warnings: what the user has to know about this choice.
    """

    editor: Editor
    prompt: str
    warnings: tuple[str, ...]


def instruction_for(editor: Editor, prompt: str) -> Instruction:
    """Args:
        prompt: free text, or the name of a style.

    Raises:
        UsageError: the prompt says nothing.
    """
    (asked,) = prompts_for(editor, [prompt])
    warnings: tuple[str, ...] = ()
    if editor.name in EMBEDDED:
        warnings = (f"the embedded `{editor.name}` is a test bed: what it does says nothing about editors in use",)
        if asked.target is None:
            known = ", ".join(style.prompt for style in STYLES.values() if style.prompt)
            warnings += (f"{editor.name} was trained on these prompts only: {known}",)
    return Instruction(editor, asked.text, warnings)


def edit_both(
    instruction: Instruction,
    picture: Picture,
    original: Picture | None,
    *,
    levels: int,
    seed: int,
    mask: Mask | None = None,
    on_edit: Callable[[int, int], None] = lambda done, edits: None,
) -> tuple[Edits, dict[str, Rgb]]:
    """Edit with the editor's own settings and one seed.

    Args:
        levels: the largest change of the picture against its original; 0 if there is none.
        seed: draws the noise of the edits, and that of the control.
        mask: `(H, W)`, where the picture may have been changed, which is where the control gets noise; None is everywhere.
        on_edit: told before each of how many edits are done, of how many; raising from it ends the work.

    Returns:
        The distances, and pictures of the editor's size by caption.

    Raises:
        ModelError: an edit came out that cannot be used.
    """
    editor, prompt = instruction.editor, instruction.prompt
    given = square_of(picture, editor.size_px).rgb
    edits_in_all = 1 if original is None else 3 if levels else 2
    on_edit(0, edits_in_all)
    edited = _edit(instruction, given, seed)
    alone = Edits(
        editor=editor.name,
        weights_sha256=editor.digest,
        prompt=prompt,
        seed=seed,
        size_px=editor.size_px,
        fitted=(picture.width, picture.height) != (editor.size_px, editor.size_px),
        from_picture=visibility(given, edited),
    )
    if original is None:
        return alone, {GIVEN: given, EDIT_OF_GIVEN: edited}
    clean = square_of(original, editor.size_px).rgb
    on_edit(1, edits_in_all)
    clean_edit = _edit(instruction, clean, seed)
    pictures = {ORIGINAL: clean, GIVEN: given, EDIT_OF_ORIGINAL: clean_edit, EDIT_OF_GIVEN: edited}
    noise_apart = None
    if levels:
        on_edit(2, edits_in_all)
        noisy = square_of(with_noise(original, levels, seed, mask), editor.size_px).rgb
        pictures[EDIT_OF_NOISY] = _edit(instruction, noisy, seed)
        noise_apart = visibility(clean_edit, pictures[EDIT_OF_NOISY])
    edits = replace(
        alone,
        apart=visibility(clean_edit, edited),
        noise_apart=noise_apart,
        from_original=visibility(clean, edited),
        original_from_original=visibility(clean, clean_edit),
    )
    return edits, pictures


def _edit(instruction: Instruction, picture: Rgb, seed: int) -> Rgb:
    return instruction.editor.edit([picture], instruction.prompt, seeds=[seed])[0]


def side_by_side(instruction: Instruction, pictures: dict[str, Rgb]) -> Image.Image:
    """All pictures of `edit_both` under their captions."""
    title = f"{instruction.editor.name}: {instruction.prompt}"
    short = textwrap.shorten(title, _TITLE_LETTERS * len(pictures), placeholder=" ...")
    return contact_sheet({short: [pictures]})
