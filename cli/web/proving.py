"""The proof: the same edit of the original, of the protected picture, and of the original with noise as large."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

from PIL import Image

from pca_protect.cli.web.desk import Job
from pca_protect.cli.web.models import Models
from pca_protect.cli.web.protecting import Result
from pca_protect.cli.web.shelf import Shelf
from pca_protect.errors import UsageError
from pca_protect.eval.check.edits import EDIT_OF_GIVEN, EDIT_OF_NOISY, EDIT_OF_ORIGINAL, ORIGINAL, Edits, edit_both
from pca_protect.eval.editors.registry import EDITORS, EMBEDDED
from pca_protect.eval.pictures import Rgb
from pca_protect.io.picture import Picture
from pca_protect.io.read import decode_picture
from pca_protect.surrogates.hub import cached

_CAPTIONS = {
    ORIGINAL: "Original",
    EDIT_OF_ORIGINAL: "Edit of the original",
    EDIT_OF_GIVEN: "Edit of the protected picture",
    EDIT_OF_NOISY: "Edit of the original with plain noise as large",
}


@dataclass(frozen=True)
class Proved:
    """Attributes:
    edits: how far the edits are apart.
    pictures: tokens on the shelf by caption.
    warnings: about the editor.
    """

    edits: Edits
    pictures: dict[str, str]
    warnings: tuple[str, ...]


def editors_here() -> list[tuple[str, str]]:
    """Editors that need no download, with what they are."""
    found = []
    for entry in EDITORS.values():
        if entry.name in EMBEDDED:
            found.append((f"{entry.name}: built in for tests, five styles", entry.name))
        elif cached(entry.repo_id, "model_index.json") is not None:
            found.append((f"{entry.name}: installed", entry.name))
    return found


def prove_edits(
    job: Job[Proved], visit: str, result: Result, *, editor: str, prompt: str, models: Models, shelf: Shelf
) -> Proved:
    """Raises:
    Cancelled: the job was.
    UsageError, ModelError, DeviceError: from the editor.
    """
    job.report("Loading the editor")
    instruction = models.instruction(editor, prompt)
    edits, pictures = edit_both(
        instruction,
        _from(shelf, result.file, result.name),
        _from(shelf, result.before, result.name),
        levels=result.record.max_change_levels,
        seed=0,
        on_edit=lambda done, of: job.report(f"Edit {done + 1} of {of}", (done + 0.01) / of),
    )
    job.report("Keeping the pictures")
    kept = {
        caption: shelf.keep(visit, _png(pictures[name]), media_type="image/png")
        for name, caption in _CAPTIONS.items()
        if name in pictures
    }
    return Proved(edits, kept, instruction.warnings)


def _from(shelf: Shelf, token: str, name: str) -> Picture:
    opened = shelf.open(token)
    if opened is None:
        raise UsageError(f"{name}: is not kept any more; protect it again")
    with opened.file as file:
        return decode_picture(file.read(), name, max_pixels=sys.maxsize)  # it was let in before


def _png(rgb: Rgb) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()
