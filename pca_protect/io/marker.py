"""The one line in an output that says what was done, and by which an output is known again."""

from __future__ import annotations

MARKER_KEY = "pca_protect"
"""PNG text keyword of the note; WebP, TIFF and JPEG carry it in the EXIF tag Software."""

SOFTWARE = 0x0131


def is_marker(software: object) -> bool:
    """Whether an EXIF Software tag is a note of this program: one line of JSON that names the budget."""
    return isinstance(software, str) and software.startswith("{") and '"budget_levels"' in software
