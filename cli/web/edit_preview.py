"""Edits of the original, the protected picture and the noisy original, see `edit_both`, as a job of the page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from pca_protect.cli.web.files import FileStore
from pca_protect.cli.web.job_queue import Job
from pca_protect.cli.web.model_cache import ModelCache
from pca_protect.cli.web.protected_file import MASK_NAME, ProtectedFile
from pca_protect.errors import UsageError
from pca_protect.eval.check.edits import (
    EDIT_AGAIN,
    EDIT_OF_CHECKED,
    EDIT_OF_NOISY,
    EDIT_OF_ORIGINAL,
    ORIGINAL,
    Edits,
    edit_both,
    instruction_for,
    size_warning,
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
    EDIT_AGAIN: "Edit of the original, another seed",
    EDIT_OF_CHECKED: "Edit of the protected picture",
    EDIT_OF_NOISY: "Edit of the original with random noise of the same size",
}
_SEED = 0

_BEGUN = 0.01
"""Share of an edit that has just begun: `Job` measures the rate from the first share above 0."""


@dataclass(frozen=True)
class EditPreview:
    """Attributes:
    edits: distances between the edits.
    pictures: download tokens by caption.
    warnings: about the editor.
    """

    edits: Edits
    pictures: dict[str, str]
    warnings: tuple[str, ...]


def local_editors() -> list[tuple[str, str]]:
    """Labels and names of the editors that need no download."""
    editors = []
    for entry in EDITORS.values():
        if entry.name in EMBEDDED:
            editors.append((f"{entry.name}: for tests, five styles", entry.name))
        elif cached(entry.repo_id, "model_index.json") is not None:
            editors.append((f"{entry.name}: installed", entry.name))
    return editors


def preview_edits(
    job: Job[EditPreview],
    session_id: str,
    result: ProtectedFile,
    *,
    editor: str,
    prompt: str,
    models: ModelCache,
    files: FileStore,
) -> EditPreview:
    """Raises:
    Cancelled: the job was cancelled.
    UsageError, ModelError, DeviceError: from the editor.
    """
    if not prompt:
        raise UsageError("the prompt is empty; give the editor an instruction")
    job.set_progress("Loading the editor")
    instruction = instruction_for(models.editor(editor), prompt)
    original = _load_picture(files, result.before, result.name)
    mask = mask_of(_load_picture(files, result.mask, MASK_NAME)) if result.mask else None
    region = result.record.config["region"]

    def on_edit(done: int, of: int) -> None:
        job.set_progress(f"Edit {done + 1} of {of}", (done + _BEGUN) / of)

    def on_step() -> None:
        job.set_progress("Editing")

    edits, pictures = edit_both(
        instruction,
        _load_picture(files, result.after, result.name),
        original,
        levels=result.record.max_change_levels,
        seed=_SEED,
        mask=editable_mask(original, None if region is None else str(region), mask),
        on_edit=on_edit,
        on_step=on_step,
    )
    job.set_progress("Storing the edits")
    tokens = {
        caption: files.put(session_id, encode_picture(Picture(pictures[name]), "PNG"), media_type="image/png")
        for name, caption in _CAPTIONS.items()
        if name in pictures
    }
    return EditPreview(
        edits,
        tokens,
        (*instruction.warnings, *_warnings(instruction.editor, result, original)),
    )


def _warnings(editor: Editor, result: ProtectedFile, original: Picture) -> Iterator[str]:
    if editor.surrogate.digest not in result.encoder_digests:
        yield (
            f"{editor.name} uses the encoder {editor.surrogate.name}, but the picture is protected against "
            f"{result.record.vae['name']}: the edit shows the transfer to another encoder; choose "
            f"{editor.surrogate.name} under Advanced and protect again"
        )
    scales = result.record.config["scales"]
    assert isinstance(scales, tuple)
    if lost := size_warning(editor, original, scales):
        yield lost


def _load_picture(files: FileStore, token: str, name: str) -> Picture:
    return decode_picture(files.read(token, name), name, max_pixels=sys.maxsize)  # the upload was checked
