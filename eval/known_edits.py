"""Edits whose result is known: what each embedded editor was trained on, and how much of such an edit a picture shows."""

from __future__ import annotations

import numpy as np

from pca_protect.eval.editors.registry import EDITORS, EMBEDDED
from pca_protect.eval.local_edits import LOCAL_EDITS
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.styles import STYLES, Style

KNOWN_EDITS: dict[str, Style] = STYLES | LOCAL_EDITS
"""By name; `none` is the empty instruction."""

_LEAST_CHANGE = 4.0
"""RMS in 8-bit levels below which a rendering counts as unchanged."""


def edits_of(editor: str) -> dict[str, Style]:
    """The edits that an embedded editor was trained on, by name; empty for other editors."""
    if editor not in EMBEDDED:
        return {}
    return KNOWN_EDITS if EDITORS[editor].kind == "instruct" else STYLES


def reach(original: Rgb, edit: Rgb, wanted: Rgb) -> float | None:
    """The share of the way from the original to the wanted picture that an edit went: its change projected on the wanted change,
    <edit - original, wanted - original> / |wanted - original|^2 over all pixel values. 0 is no edit, 1 the whole one.

    Returns:
        None if the wanted picture hardly differs from the original, such as a picture without sky under `red-sky`.
    """
    change = wanted.astype(np.float64) - original
    power = float(np.square(change).sum())
    if power < _LEAST_CHANGE**2 * change.size:
        return None
    return float(((edit.astype(np.float64) - original) * change).sum()) / power
