"""The parts of the page that change while it is used, as HTML with everything escaped."""

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
    from pca_protect.cli.web.proving import Proved
    from pca_protect.io.picture import Picture


@dataclass(frozen=True)
class Listed:
    """What is said of a picture that came.

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
"""Where the server hands out what is among the downloads."""

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
    """How far a job is."""
    return _html("progress", job_status)


def errors(sentences: Sequence[str]) -> str:
    """What went wrong; empty for nothing."""
    return _html("errors", sentences)


def note(sentence: str) -> str:
    """Said beside what it is about."""
    return _html("note", sentence)


def notice(sentences: Sequence[str]) -> str:
    """What somebody has to know; empty for nothing."""
    return _html("notice", sentences)


def pictures(listed: Sequence[Listed], failed: Sequence[str]) -> str:
    """What was uploaded, and what of it cannot be read."""
    return _html("pictures", listed, failed)


def results(found: Results) -> str:
    """Downloads, figures and comparisons."""
    return _html("results", found)


def proof(proved: Proved) -> str:
    """Edits side by side."""
    return _html("proof", proved)


def _html(macro: str, *values: object) -> str:
    made: Markup = getattr(_macros, macro)(*values)
    return str(made).strip()
