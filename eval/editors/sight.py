"""Whether an editor sees the picture at all: some settings make it start from pure noise."""

from __future__ import annotations

import numpy as np

from pca_protect.errors import ModelError
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.pictures import Rgb


def require_sight(editor: Editor, settings: EditSettings, picture: Rgb, prompt: str) -> None:
    """Compare the edits of a picture and of its negative, with the same prompt and noise. An editor whose edits fail passes: the
    failure of every picture is reported when it is measured.

    Args:
        picture: `(size_px, size_px, 3)`.

    Raises:
        ModelError: both edits are equal.
    """
    try:
        one, other = editor.edit_or_block([picture, 255 - picture], prompt, settings, seeds=[0, 0])
    except ModelError:
        return
    if one is not None and other is not None and np.array_equal(one, other):
        raise ModelError(
            f"{editor.name}: its edits of two different pictures are equal, so it ignores the picture; use a lower strength, "
            "or another editor"
        )
