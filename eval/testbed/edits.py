"""The embedded editors: does an edit bring a picture closer to the style it asks for?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.metrics.classical import flip, ssim
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.styles import STYLES
from pca_protect.eval.testbed.goals import Row, at_least, row

STRENGTHS = (0.5, 0.6, 0.7)
"""Pictures take them in turns."""

GENTLE = 0.3
"""The strength at which an edit without a prompt has to keep the picture recognisable."""

SUCCEEDED = at_least(0.8)
KEPT = at_least(0.6)

EDITED_STYLES = tuple(style for style in STYLES.values() if style.prompt)


@dataclass(frozen=True)
class EditsOfPicture:
    """Results of one editor on one picture.

    Attributes:
        edited: the style's name -> the edit with its prompt; "none" is the edit without a prompt at the same strength.
        gentle: without a prompt, at strength `GENTLE`.
    """

    edited: dict[str, Rgb]
    gentle: Rgb


def edit_picture(editor: Editor, picture: Rgb, settings: EditSettings, *, seed: int) -> EditsOfPicture:
    """Every style and none, with the same noise."""
    edited = {style.name: editor.edit([picture], style.prompt, settings, seeds=[seed])[0] for style in STYLES.values()}
    gentle = editor.edit([picture], "", replace(settings, strength=GENTLE), seeds=[seed])[0]
    return EditsOfPicture(edited, gentle)


def judge(picture: Rgb, edits: EditsOfPicture) -> dict[str, float]:
    """For each style the FLIP distances to the picture rendered in it, of the edit with its prompt (`to_snow`) and of the
    edit without one (`to_snow_without`); and what is left of the picture after a gentle edit (`kept`, SSIM)."""
    measured = {"kept": ssim(picture, edits.gentle)}
    for style in EDITED_STYLES:
        wanted = style.render(picture)
        measured[f"to_{style.name}"] = flip(wanted, edits.edited[style.name])
        measured[f"to_{style.name}_without"] = flip(wanted, edits.edited["none"])
    return measured


def rows(editor: str, digest: str, measured: Sequence[dict[str, float]]) -> list[Row]:
    """The share of pictures on which each style succeeded, and how recognisable pictures stay."""
    found = [
        row(
            editor,
            digest,
            f"success_{style.name}",
            [_succeeded(picture, style.name) for picture in measured],
            SUCCEEDED,
        )
        for style in EDITED_STYLES
    ]
    return [*found, row(editor, digest, "kept_ssim", [picture["kept"] for picture in measured], KEPT)]


def _succeeded(measured: dict[str, float], style: str) -> float:
    return float(measured[f"to_{style}"] < measured[f"to_{style}_without"])
