"""What a user asked to be done to many pictures, as one value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig

Existing = Literal["refuse", "overwrite", "skip"]
"""What to do where an output exists: end before any work, replace it unless it is proved finished, or leave it alone."""


@dataclass(frozen=True)
class Request:
    """Attributes:
    names: files, folders and patterns.
    output: the file or folder named with -o.
    recursive: enter subfolders.
    existing: see `Existing`.
    from_file: a list of further pictures, `-` for standard input; see `listing.read_list`.
    errors: where to write what failed; see `listing.write_errors`.
    output_options: metadata and format.
    mask: a picture that is light where each of the others may change.
    offline: touch no network.
    fallback: permit `auto` to take the embedded test model.
    evaluate: measure the finished picture beside noise; False leaves those fields of the record empty.
    max_pixels: larger pictures are refused; None takes the reader's limit.
    """

    names: tuple[str, ...]
    output: Path | None = None
    recursive: bool = False
    existing: Existing = "refuse"
    from_file: Path | None = None
    errors: Path | None = None
    output_options: OutputOptions = field(default_factory=OutputOptions)
    mask: Path | None = None
    offline: bool = False
    fallback: bool = True
    evaluate: bool = True
    max_pixels: int | None = None

    def digest(self, config: ProtectConfig) -> str:
        """SHA-256 in hex of all that decides what becomes of a picture, but for the encoder's weights."""
        asked = self.output_options.digest(config)
        if self.mask is None:
            return asked
        return hashlib.sha256(asked.encode() + self.mask.read_bytes()).hexdigest()
