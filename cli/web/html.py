"""HTML of the parts of the page that change, with all values escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pca_protect.cli import console
from pca_protect.cli.flags import in_flags
from pca_protect.cli.web.job_queue import JobStatus
from pca_protect.cli.web.protecting import AMPLIFICATION, Results

if TYPE_CHECKING:
    from pca_protect.cli.web.proving import Proof
    from pca_protect.io.picture import Picture


@dataclass(frozen=True)
class Listed:
    """An uploaded picture in the list.

    Attributes:
        read_warnings: see `Picture.read_warnings`.
    """

    name: str
    width: int
    height: int
    frames: int
    read_warnings: tuple[str, ...]

    @classmethod
    def of(cls, picture: Picture) -> Listed:
        return cls(picture.source, picture.width, picture.height, 1 + len(picture.following), picture.read_warnings)


KEPT = "/kept/"
"""URL prefix of the downloads."""

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {"duration": console.duration, "in_flags": in_flags}
_environment.globals |= {"kept": KEPT, "amplification": AMPLIFICATION}
_macros = _environment.get_template("fragments.html").module


def progress(job_status: JobStatus) -> str:
    """The progress of a job."""
    return _html("progress", job_status)


def errors(sentences: Sequence[str]) -> str:
    """Error messages; empty for none."""
    return _html("errors", sentences)


def note(sentence: str) -> str:
    """A remark below an input."""
    return _html("note", sentence)


def notice(sentences: Sequence[str]) -> str:
    """Warnings; empty for none."""
    return _html("notice", sentences)


def pictures(listed: Sequence[Listed], failed: Sequence[str]) -> str:
    """The uploaded pictures, and the errors of unreadable ones."""
    return _html("pictures", listed, failed)


def results(protected: Results) -> str:
    """Downloads, figures and comparisons."""
    return _html("results", protected)


def proof(shown: Proof) -> str:
    """Edits side by side, with their distances."""
    return _html("proof", shown)


def _html(macro: str, *values: object) -> str:
    made: Markup = getattr(_macros, macro)(*values)
    return str(made).strip()
