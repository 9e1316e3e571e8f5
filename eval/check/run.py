"""`pca-protect check`: all measurements of one picture's protection."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pca_protect.device import resolve_device
from pca_protect.device_names import Device
from pca_protect.eval.check.encoders import EncoderCheck, check_with, load_encoders
from pca_protect.eval.check.posterior import middle, require_same_size
from pca_protect.eval.check.protection import UNKNOWN, Protection, at_largest
from pca_protect.eval.check.reference import Reference, measured_reference, stored_reference
from pca_protect.eval.check.verdict import summary
from pca_protect.eval.editors.registry import SHOWN_EDITOR
from pca_protect.eval.pictures import pictures_in
from pca_protect.io.picture import Picture
from pca_protect.record import versions
from pca_protect.surrogates.encoder import Surrogate

if TYPE_CHECKING:
    from PIL import Image

    from pca_protect.eval.check.edits import Change, Edits

OnProgress = Callable[[str, int, int], None]
"""Called with (label, units done, total units)."""


@dataclass(frozen=True)
class Check:
    """Attributes:
    picture, original: paths; `original` is None without one.
    width_px, height_px: of the picture.
    seen_px: width and height at which it was measured: the size that it was protected for, else its own.
    looked_at_px: width and height of the measured centre; `seen_px` unless that is large.
    change: against the original; None without one.
    vaes: the result of each encoder.
    edits: distances between edits; None without a prompt.
    summary: the results in sentences.
    warnings: further notes for the user.
    seed, device, versions: needed to reproduce the results.
    """

    picture: str
    original: str | None
    width_px: int
    height_px: int
    seen_px: tuple[int, int]
    looked_at_px: tuple[int, int]
    change: Change | None
    vaes: tuple[EncoderCheck, ...]
    edits: Edits | None
    summary: tuple[str, ...]
    warnings: tuple[str, ...]
    seed: int
    device: str
    versions: dict[str, str]

    def as_json(self, *, sheet: Path | None = None) -> str:
        """One line of JSON, with the path of the contact sheet."""
        return json.dumps({**asdict(self), "sheet": None if sheet is None else str(sheet)}, allow_nan=False)


def check_picture(
    picture: Picture,
    original: Picture | None = None,
    *,
    vaes: Sequence[str] = (),
    surrogates: Sequence[Surrogate] = (),
    clean: Path | None = None,
    prompt: str | None = None,
    editor: str = SHOWN_EDITOR,
    protection: Protection = UNKNOWN,
    seed: int = 0,
    device: Device = "auto",
    offline: bool = False,
    on_progress: OnProgress | None = None,
) -> tuple[Check, Image.Image | None]:
    """Compare a picture with clean pictures and, if given, with its original and random noise.

    Args:
        original: the same picture before it was protected.
        vaes: encoders; if empty, the embedded ones and those of the registry in the local cache.
        surrogates: loaded encoders, in place of `vaes`; measured in fp32 on their device.
        clean: a folder of clean pictures, for encoders without stored figures.
        prompt: an instruction for the editor, or the name of a style.
        editor: see `load_editor`.
        protection: see `protection_of`. The picture is measured at its own size if that is among its scales or if they are
            unknown, else at the largest.
        seed: of the noise of the control and of the edits.
        offline: do not use the network.

    Returns:
        The results, and a contact sheet of the edits if a prompt was given.

    Raises:
        UsageError: the sizes differ, a name is unknown, or `clean` holds too few pictures.
        ModelError, DeviceError: a model or the device is unavailable.
    """
    report = on_progress or (lambda label, done, in_all: None)
    report("loading encoders", 0, 1)
    if clean is not None:
        pictures_in(clean, option="--clean")
    change = None
    if original is not None:
        require_same_size(picture, original)
        from pca_protect.eval.check.edits import change_of  # noqa: PLC0415 - needs the extra `eval`

        change = change_of(picture, original)
    levels = change.max_change_levels if change else 0
    encoders, warnings = _encoders(vaes, surrogates, device=device, offline=offline)
    measured = () if "native" in protection.scales else protection.scales
    seen = at_largest(picture, measured)
    part = middle(seen)
    pair = None
    if original is not None:
        pair = (picture, original) if measured else (part, middle(original))
    edits, sheet = None, None
    if prompt is not None:
        from pca_protect.eval.check.edits import (  # noqa: PLC0415 - needs the extra `eval`
            edit_both,
            encoder_warning,
            instruction_for,
            side_by_side,
            size_warning,
        )
        from pca_protect.eval.editors.load import load_editor  # noqa: PLC0415

        report(f"loading {editor}", 0, 1)
        instruction = instruction_for(load_editor(editor, device=device, offline=offline), prompt)
        lost = (
            encoder_warning(instruction.editor, protection.vae),
            size_warning(instruction.editor, picture, protection.scales),
        )
        warnings += (*instruction.warnings, *filter(None, lost))
    checked = []
    for done, surrogate in enumerate(encoders):
        reference, notes = _reference(surrogate, clean, report)
        warnings += notes
        report(f"measuring with {surrogate.name}", done, len(encoders))
        checked.append(
            check_with(surrogate, part, reference=reference, pair=pair, scales=measured, levels=levels, seed=seed)
        )
    if clean is not None and all(stored_reference(surrogate)[0] for surrogate in encoders):
        warnings += (f"`clean={clean}` was not used: figures of clean pictures are stored for every encoder here",)
    if prompt is not None:
        edits, pictures = edit_both(
            instruction,
            picture,
            original,
            levels=levels,
            seed=seed,
            on_edit=lambda done, of: report(f"edit {done + 1}", done, of),
        )
        sheet = side_by_side(instruction, edits, pictures)
    check = Check(
        picture=picture.source,
        original=original.source if original else None,
        width_px=picture.width,
        height_px=picture.height,
        seen_px=(seen.width, seen.height),
        looked_at_px=(part.width, part.height),
        change=change,
        vaes=tuple(checked),
        edits=edits,
        summary=summary(checked, change, edits),
        warnings=warnings,
        seed=seed,
        device=str(resolve_device(device)),
        versions=versions(),
    )
    return check, sheet


def _encoders(
    names: Sequence[str], loaded: Sequence[Surrogate], *, device: Device, offline: bool
) -> tuple[tuple[Surrogate, ...], tuple[str, ...]]:
    """The encoders of a check in fp32, and warnings about them; see `load_encoders`."""
    if loaded:
        return tuple(surrogate.in_fp32 for surrogate in loaded), ()
    return load_encoders(names, device=device, offline=offline)


def _reference(
    surrogate: Surrogate, clean: Path | None, report: OnProgress
) -> tuple[Reference | None, tuple[str, ...]]:
    """The reference of an encoder, and warnings about it. The folder `clean` is only for encoders without stored figures."""
    stored, why_not = stored_reference(surrogate)
    if stored is not None:
        return stored, ()
    if clean is None:
        return None, (why_not,)
    return measured_reference(surrogate, clean, on_progress=report)
