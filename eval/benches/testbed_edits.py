"""Quality of an embedded editor's edits: the part of `bench testbed` on edits with a known target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pca_protect.eval.benches.goals import at_least, goal_row
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.registry import EDITORS, EditSettings
from pca_protect.eval.known_edits import KNOWN_EDITS, edits_of, reach
from pca_protect.eval.metrics.classical import flip, ssim
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.results import Row

GUIDANCE = 3.0
"""Chosen on four pictures; at 7.5, the default of Stable Diffusion, fewer of their edits succeeded."""

STRENGTHS = (0.5, 0.6, 0.7)
"""Strengths, assigned to pictures in turn."""

GENTLE = 0.3
"""Strength of the edit without a prompt that must keep the picture recognisable."""

SUCCEEDED = at_least(0.8)
KEPT = at_least(0.6)
REACHED = at_least(0.85)
"""Mean of `reach`; for instruction editors, which see the picture."""
LIKE_TARGET = at_least(0.7)
"""Mean SSIM with the rendering; for instruction editors, too."""


@dataclass(frozen=True)
class EditsOfPicture:
    """Results of one editor on one picture.

    Attributes:
        edited: the edit's name -> the edit with its prompt; "none" is the edit without a prompt and with the same settings.
        gentle: without a prompt, at strength `GENTLE` if the editor has a strength.
    """

    edited: dict[str, Rgb]
    gentle: Rgb


def edit_picture(editor: Editor, picture: Rgb, settings: EditSettings, *, seed: int) -> EditsOfPicture:
    """All edits that the editor was trained on, without a prompt too, from the same noise."""
    edited = {
        name: editor.edit([picture], known.prompt, settings, seeds=[seed])[0]
        for name, known in edits_of(editor.name).items()
    }
    if settings.strength is None:
        return EditsOfPicture(edited, edited["none"])
    gentle = editor.edit([picture], "", replace(settings, strength=GENTLE), seeds=[seed])[0]
    return EditsOfPicture(edited, gentle)


def judge(picture: Rgb, edits: EditsOfPicture) -> dict[str, float]:
    """Measurements of one picture, without edits whose rendering hardly differs from it.

    Returns:
        `to_EDIT`, `to_EDIT_without`: FLIP between the rendering and the edit with its prompt, or without a prompt.
        `reach_EDIT`, `like_EDIT`: `reach` of the edit, and its SSIM with the rendering.
        `kept`: SSIM between the picture and its gentle edit.
    """
    measured = {"kept": ssim(picture, edits.gentle)}
    for name, edit in edits.edited.items():
        wanted = KNOWN_EDITS[name].render(picture)
        reached = reach(picture, edit, wanted)
        if reached is None:
            continue
        measured[f"to_{name}"] = flip(wanted, edit)
        measured[f"to_{name}_without"] = flip(wanted, edits.edited["none"])
        measured[f"reach_{name}"] = reached
        measured[f"like_{name}"] = ssim(wanted, edit)
    return measured


def edit_rows(editor: str, digest: str, measured: Sequence[dict[str, float]]) -> list[Row]:
    """The share of pictures with a successful edit of each kind and the mean SSIM of gentle edits; for instruction editors also
    the mean share of the way to the rendering, and SSIM with it."""
    rows = []
    for name in edits_of(editor):
        applied = [picture for picture in measured if f"to_{name}" in picture]
        if not applied:
            continue
        success = [float(picture[f"to_{name}"] < picture[f"to_{name}_without"]) for picture in applied]
        rows.append(goal_row(editor, digest, f"success_{name}", success, SUCCEEDED))
        if EDITORS[editor].kind == "instruct":
            for metric, goal in (("reach", REACHED), ("like", LIKE_TARGET)):
                values = [picture[f"{metric}_{name}"] for picture in applied]
                rows.append(goal_row(editor, digest, f"{metric}_{name}", values, goal))
    return [*rows, goal_row(editor, digest, "kept_ssim", [picture["kept"] for picture in measured], KEPT)]


def settings_of(editor: Editor, strength: float, steps: int) -> EditSettings:
    """The same guidance for all image-to-image editors; instruction editors have settings of their own."""
    if editor.settings.strength is None:
        return replace(editor.settings, steps=steps)
    return EditSettings(strength, GUIDANCE, steps)
