"""The same edit of a picture, of its original and of the original with noise: how far the edits are apart, side by side."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace

from PIL import Image

from pca_protect.config import Device
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EMBEDDED
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, square_of
from pca_protect.eval.styles import STYLES
from pca_protect.eval.testbed.sheet import contact_sheet
from pca_protect.eval.trial import prompts_for
from pca_protect.io.picture import Picture
from pca_protect.proof import with_noise

_TITLE_LETTERS = 24
"""Of the sheet's title for each picture across: what fits above it."""


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
    """An editor, loaded, and what it is told.

    Attributes:
        prompt: in the words that the editor is given.
        warnings: what the user has to know about this choice.
    """

    editor: Editor
    prompt: str
    warnings: tuple[str, ...]


def load_instruction(editor_name: str, prompt: str, *, device: Device, offline: bool) -> Instruction:
    """Args:
        prompt: free text, or the name of a style.

    Raises:
        UsageError: the editor's name means nothing, or the prompt says nothing.
        ModelError, DeviceError: the editor or the device cannot be had.
    """
    editor = load_editor(editor_name, device=device, offline=offline)
    (asked,) = prompts_for(editor, [prompt])
    warnings: tuple[str, ...] = ()
    if editor.name in EMBEDDED:
        warnings = (f"the embedded `{editor.name}` is a test bed: what it does says nothing about editors in use",)
        if asked.target is None:
            known = ", ".join(style.prompt for style in STYLES.values() if style.prompt)
            warnings += (f"{editor.name} was trained on these prompts only: {known}",)
    return Instruction(editor, asked.text, warnings)


def edit_both(
    instruction: Instruction, picture: Picture, original: Picture | None, *, levels: int, seed: int
) -> tuple[Edits, Image.Image]:
    """Edit with the editor's own settings and one seed.

    Args:
        levels: the largest change of the picture against its original; 0 if there is none.
        seed: draws the noise of the edits, and that of the control.

    Returns:
        The distances, and all pictures side by side.

    Raises:
        ModelError: an edit came out that cannot be used.
    """
    editor, prompt = instruction.editor, instruction.prompt
    title = f"{editor.name}: {prompt}"
    given = square_of(picture, editor.size_px).rgb
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
        return alone, _sheet(title, {"given": given, "edit of given": edited})
    clean = square_of(original, editor.size_px).rgb
    clean_edit = _edit(instruction, clean, seed)
    edits = replace(
        alone,
        apart=visibility(clean_edit, edited),
        noise_apart=_noise_apart(instruction, original, clean_edit, levels=levels, seed=seed) if levels else None,
        from_original=visibility(clean, edited),
        original_from_original=visibility(clean, clean_edit),
    )
    pictures = {"original": clean, "given": given, "edit of original": clean_edit, "edit of given": edited}
    return edits, _sheet(title, pictures)


def _noise_apart(instruction: Instruction, original: Picture, clean_edit: Rgb, *, levels: int, seed: int) -> float:
    noisy = square_of(with_noise(original, levels, seed), instruction.editor.size_px).rgb
    return visibility(clean_edit, _edit(instruction, noisy, seed))


def _edit(instruction: Instruction, picture: Rgb, seed: int) -> Rgb:
    return instruction.editor.edit([picture], instruction.prompt, seeds=[seed])[0]


def _sheet(title: str, pictures: dict[str, Rgb]) -> Image.Image:
    short = textwrap.shorten(title, _TITLE_LETTERS * len(pictures), placeholder=" ...")
    return contact_sheet({short: [pictures]})
