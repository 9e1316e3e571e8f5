"""The documents, taken apart: commands, Python, links, headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
    ROOT / "examples" / "README.md",
)

PROGRAMS = ("protect", "pca-protect", "python", "pip", "make")
"""What a command begins with where nothing but its indentation says that it is one."""

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:^ {4,}\S[^\n]*\n?)+", re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run: *(.*?) *-->\s*$", re.DOTALL)
_VARIABLES = r"(?:[A-Z_]+=\S+ )*"


@dataclass(frozen=True)
class Block:
    """Attributes:
    language: of a fence; empty for indented ones.
    why_not_run: what `<!-- not run: ... -->` right before it says; None where there is none.
    """

    document: Path
    language: str
    text: str
    why_not_run: str | None

    @property
    def commands(self) -> list[str]:
        """One a line, without comments and variables; in a fence for shells every line is one."""
        lines = [line.strip() for line in self.text.replace("\\\n", " ").splitlines()]
        lines = [re.sub(rf"^(\$ )?{_VARIABLES}", "", re.sub(r"(^|\s)#.*", "", line)).strip() for line in lines]
        if self.language in ("sh", "bash", "shell", "console"):
            return [line for line in lines if line]
        if self.language:
            return []
        return [line for line in lines if line.startswith(tuple(f"{program} " for program in PROGRAMS))]


def blocks_of(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    found = []

    def take(language: str, body: str, start: int) -> str:
        why_not = _NOT_RUN.search(text[:start])
        found.append(Block(document, language, body, why_not[1] if why_not else None))
        return ""

    without = _FENCE.sub(lambda fence: take(fence[2], fence[3], fence.start()) + re.sub(r"[^\n]", "~", fence[0]), text)
    for indented in _INDENTED.finditer(without):
        take("", indented[0], indented.start())
    return found


def prose_of(document: Path) -> str:
    """Without fenced blocks and comments."""
    return re.sub(r"<!--.*?-->", "", _FENCE.sub("", document.read_text(encoding="utf-8")), flags=re.DOTALL)


def spoken_commands(document: Path) -> list[str]:
    """Commands within sentences: what stands between single backticks and begins with one of the programs, installed anywhere
    or in `.venv`."""
    return re.findall(rf"(?<!`)`(?:\.venv/bin/)?((?:{'|'.join(PROGRAMS)}) [^`]+)`(?!`)", prose_of(document))


def links_of(document: Path) -> list[str]:
    """Targets of links and pictures, those in code left out."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(`+).+?\1", "", prose_of(document)))


def anchors_of(document: Path) -> set[str]:
    """What GitHub makes of its headings."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.*?) *$", prose_of(document), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(plain if plain not in found else f"{plain}-{found.count(plain)}")
    return set(found)
