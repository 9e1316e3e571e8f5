"""One self-contained HTML page about finished benchmarks, without external files or network access."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from pca_protect.errors import UsageError
from pca_protect.eval.html import rendered
from pca_protect.eval.report.section import Section
from pca_protect.eval.report.sections import sections_of
from pca_protect.eval.report.strips import Strip, strips_in

_IMAGE_QUALITY = 80


@dataclass(frozen=True)
class Benchmark:
    """A results folder on disk.

    Attributes:
        summary: the contents of its `summary.json`.
        strips: saved pictures with their edits; empty for benchmarks without edits.
    """

    summary: dict[str, Any]
    strips: list[Strip]

    @property
    def sections(self) -> list[Section]:
        return sections_of(self.summary)


def read_benchmark(folder: Path) -> Benchmark:
    """Raises:
    UsageError: the folder holds no results of a benchmark.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        missing = {"command", "config", "environment", "tables"} - summary.keys()
    except OSError as error:
        raise UsageError(f"{folder}: no summary.json in it; give the folder of a finished benchmark") from error
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{folder / 'summary.json'}: is not JSON ({error}); run the benchmark again") from error
    if missing:
        raise UsageError(f"{folder / 'summary.json'}: has no {', '.join(sorted(missing))}; run the benchmark again")
    return Benchmark(summary, strips_in(folder / "pictures"))


def write_report(folders: Sequence[Path], path: Path) -> Path:
    """Write the page about these results folders atomically. Returns its path.

    Raises:
        UsageError: a folder holds no results, or the page cannot be written there.
    """
    html = render([read_benchmark(folder) for folder in folders])
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    return path


def render(benchmarks: Sequence[Benchmark]) -> str:
    """The page as a string."""
    return rendered("pca_protect.eval.report", "page.html", inline=_inline, benchmarks=benchmarks)


def _inline(path: Path) -> str:
    """A picture file as a data URL."""
    data = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(data, "WEBP", quality=_IMAGE_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
