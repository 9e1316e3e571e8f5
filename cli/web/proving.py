"""The proof: the same edit of the original, of the protected picture, and of the original with noise as large."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from pca_protect.cli.web.downloads import Downloads
from pca_protect.cli.web.job_queue import Job
from pca_protect.cli.web.models import Models
from pca_protect.cli.web.protecting import MASK_NAME, Result
from pca_protect.errors import UsageError
from pca_protect.eval.check.edits import (
    EDIT_OF_GIVEN,
    EDIT_OF_NOISY,
    EDIT_OF_ORIGINAL,
    ORIGINAL,
    Edits,
    edit_both,
    instruction_for,
)
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.registry import EDITORS, EMBEDDED
from pca_protect.image.masks import editable_mask, mask_of
from pca_protect.io.picture import Picture
from pca_protect.io.read import decode_picture
from pca_protect.io.write import encode_picture
from pca_protect.surrogates.hub import cached

_CAPTIONS = {
    ORIGINAL: "Original",
    EDIT_OF_ORIGINAL: "Edit of the original",
    EDIT_OF_GIVEN: "Edit of the protected picture",
    EDIT_OF_NOISY: "Edit of the original with plain noise as large",
}


_MEGAPIXEL_SIDE_PX = 1024
"""Of a square picture at the scale `1mp`."""
_BEGUN = 0.01
"""Of an edit that has just begun; time is counted from the first share above 0."""


@dataclass(frozen=True)
class Proved:
    """Attributes:
    edits: how far the edits are apart.
    pictures: tokens among the downloads by caption.
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
            found.append((f"{entry.name}: for tests, five styles", entry.name))
        elif cached(entry.repo_id, "model_index.json") is not None:
            found.append((f"{entry.name}: installed", entry.name))
    return found


def prove_edits(
    job: Job[Proved], visit: str, result: Result, *, editor: str, prompt: str, models: Models, downloads: Downloads
) -> Proved:
    """Raises:
    Cancelled: the job was.
    UsageError, ModelError, DeviceError: from the editor.
    """
    if not prompt:
        raise UsageError("nothing is said to the editor; give it an instruction")
    job.report("Loading the editor")
    instruction = instruction_for(models.editor(editor), prompt)
    original = _from(downloads, result.before, result.name)
    mask = mask_of(_from(downloads, result.painted, MASK_NAME)) if result.painted else None
    region = result.record.config["region"]
    edits, pictures = edit_both(
        instruction,
        _from(downloads, result.after, result.name),
        original,
        levels=result.record.max_change_levels,
        seed=0,
        mask=editable_mask(original, None if region is None else str(region), mask),
        on_edit=lambda done, of: job.report(f"Edit {done + 1} of {of}", (done + _BEGUN) / of),
    )
    job.report("Keeping the pictures")
    kept = {
        caption: downloads.keep(visit, encode_picture(Picture(pictures[name]), "PNG"), media_type="image/png")
        for name, caption in _CAPTIONS.items()
        if name in pictures
    }
    return Proved(edits, kept, (*instruction.warnings, *_doubts(instruction.editor, result, original)))


def _doubts(editor: Editor, result: Result, original: Picture) -> Iterator[str]:
    if editor.surrogate.digest not in result.against:
        yield (
            f"{editor.name} reads pictures with the encoder {editor.surrogate.name}, and this picture was protected against "
            f"{result.record.vae['name']}: what the edit shows is how far that carries over, not how well it protects"
        )
    scales = result.record.config["scales"]
    assert isinstance(scales, tuple)
    seen = editor.size_px in scales or (editor.size_px == _MEGAPIXEL_SIDE_PX and "1mp" in scales)
    if min(original.width, original.height) > editor.size_px and not seen:
        yield (
            f"{editor.name} was given the picture at {editor.size_px}x{editor.size_px} px, and making it smaller takes most of a "
            "fine change with it; choose under 6 the size at which editors see it"
        )


def _from(downloads: Downloads, token: str, name: str) -> Picture:
    return decode_picture(downloads.read(token, name), name, max_pixels=sys.maxsize)  # it was let in before
