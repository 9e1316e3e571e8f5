"""The result of encoding a picture file, and the metadata that several formats cannot store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pca_protect.io.picture import Picture


class Encoded(NamedTuple):
    """A file, and one sentence on each part of the metadata that its format cannot store."""

    data: bytes
    left_out: tuple[str, ...]


def sentence(what: str, format_name: str) -> str:
    """`what` in the plural, such as "the file's comments"."""
    return f"{what} cannot be stored in {format_name} and were left out"


def unstorable(picture: Picture, format_name: str, *, comments: bool = False) -> Iterator[str]:
    """Sentences on parts that PNG alone can store.

    Args:
        comments: the format stores text with the keyword `Comment`.
    """
    if any(not comments or text.keyword != "Comment" for text in picture.text):
        yield sentence("the file's text chunks", format_name)
    if any(name != "sRGB" for name, _ in picture.color_chunks) and not picture.icc_profile:
        yield f"the file's colour coding cannot be stored in {format_name} and was left out, so colours may look different"
