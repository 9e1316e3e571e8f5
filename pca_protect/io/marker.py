"""The marker: one line of metadata that records how an output was made and identifies it as an output."""

from __future__ import annotations

MARKER_KEY = "pca_protect"
"""PNG text keyword of the marker; WebP, TIFF and JPEG store it in the EXIF tag Software."""

SOFTWARE = 0x0131


def is_marker(software: object) -> bool:
    """Whether an EXIF Software tag is a marker of this program: one line of JSON with the budget."""
    return isinstance(software, str) and software.startswith("{") and '"budget_levels"' in software
