"""The marker: one line of metadata that records how an output was made and identifies it as an output."""

from __future__ import annotations

import json

from pca_protect.io import exif
from pca_protect.io.tiff_directory import ASCII, Value

MARKER_KEY = "pca_protect"
"""PNG text keyword of the marker; WebP, TIFF and JPEG store it at the end of the EXIF tag Software."""

SOFTWARE = exif.SOFTWARE


def is_marker(software: object) -> bool:
    """Whether an EXIF Software tag ends in a marker of this program: one line of JSON with version and budget."""
    return isinstance(software, str) and _split(software)[1] != ""


def facts_of(software: str) -> dict[str, object]:
    """The facts in a marker, after the name of a program or alone; empty without one."""
    marker = _split(software)[1]
    facts: dict[str, object] = json.loads(marker) if marker else {}
    return facts


def with_marker(block: bytes, marker: str) -> bytes:
    """An EXIF block with a marker after the name of the program that wrote the picture, in place of an earlier marker.

    Args:
        block: empty for a new one.
        marker: empty to remove an earlier one only.
    """
    before = exif.software_of(block).decode("latin-1") if block else ""
    program, earlier = _split(before)
    if not marker and not earlier:
        return block
    software = f"{program} {marker}".strip().encode("latin-1")
    return exif.with_values(block, {SOFTWARE: Value(ASCII, len(software) + 1, software + b"\0")})


def _split(software: str) -> tuple[str, str]:
    """The program's name and the marker; an empty marker if there is none."""
    start = software.find("{")
    if start >= 0 and '"budget_levels"' in software:
        try:
            facts = json.loads(software[start:])
        except ValueError:
            return software, ""
        if isinstance(facts, dict) and {"version", "budget_levels"} <= facts.keys():
            return software[:start].strip(), software[start:]
    return software, ""
