"""HTML of the parts of the page that change, with all values escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pca_protect.cli import console
from pca_protect.cli.flags import in_flags
from pca_protect.cli.web.form import CLEAR_HIDDEN
from pca_protect.cli.web.job_queue import JobStatus
from pca_protect.cli.web.protect_job import JobResult
from pca_protect.cli.web.protected_file import AMPLIFICATION
from pca_protect.eval.check.verdict import edit_verdict
from pca_protect.io.hidden_colors import HIDDEN
from pca_protect.surrogates.registry import REGISTRY

if TYPE_CHECKING:
    from pca_protect.cli.web.edit_preview import EditPreview
    from pca_protect.io.picture import Picture


@dataclass(frozen=True)
class UploadSummary:
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
    def of(cls, picture: Picture) -> UploadSummary:
        return cls(
            picture.source,
            picture.width,
            picture.height,
            1 + len(picture.following),
            picture.read_warnings,
        )


VISIBILITY = ((0.5, "hard to see"), (1.5, "visible on smooth areas"), (3.0, "clearly visible"))
"""Upper limits of the visibility, in levels of brightness on a flat patch, and their words."""


def _visibility(levels: float) -> str:
    """A visibility in words."""
    return next((word for limit, word in VISIBILITY if levels <= limit), "a strong pattern")


def _time_left(seconds: float) -> str:
    """A duration in steps of 5 s."""
    return console.duration(5 * math.ceil(max(seconds, 1.0) / 5))


def _on_page(sentence: str) -> str:
    """A sentence of the program with the page's inputs, or flags, in place of settings."""
    if sentence == HIDDEN:
        return (
            "fully transparent pixels hold colours that viewers hide and editors can read, and that are not protected; tick "
            f"“{CLEAR_HIDDEN}” under Advanced"
        )
    return in_flags(sentence).replace("`", "")


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "duration": console.duration,
    "edit_verdict": edit_verdict,
    "on_page": _on_page,
    "visibility": _visibility,
    "time_left": _time_left,
}
_environment.globals |= {"amplification": AMPLIFICATION}
_macros = _environment.get_template("templates.html").module


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


def uploads(listed: Sequence[UploadSummary], failed: Sequence[str]) -> str:
    """The uploaded pictures, and the errors of unreadable ones."""
    return _html("uploads", listed, failed)


def announcement(status: JobStatus) -> str:
    """The progress in quarters, for screen readers."""
    if status.stopping or status.jobs_ahead:
        return ""
    return f"{int(4 * status.share) * 25} % done"


def missing_encoders(names: Sequence[str]) -> str:
    """Encoders to be downloaded, with sizes and licences; empty for none."""
    return _html("missing_encoders", [REGISTRY[name] for name in names])


def runs(finished: Sequence[JobResult]) -> str:
    """Downloads, figures and comparisons of all runs, oldest first; the last one is open."""
    return _html("runs", list(finished))


def edit_preview(shown: EditPreview) -> str:
    """Edits side by side, with their distances."""
    return _html("edit_preview", shown)


def _html(macro: str, *values: object) -> str:
    made: Markup = getattr(_macros, macro)(*values)
    return str(made).strip()
