"""The request for a run over many pictures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig

Existing = Literal["refuse", "overwrite", "skip"]
"""Treatment of existing outputs: raise before any work, replace unless proved finished, or keep."""


@dataclass(frozen=True)
class Request:
    """Attributes:
    names: files, folders and patterns.
    output: output file or folder (-o).
    recursive: enter subfolders.
    existing: see `Existing`.
    from_file: a list of further pictures, `-` for standard input; see `listing.read_list`.
    errors: file for the list of failures; see `listing.write_errors`.
    output_options: metadata and format.
    mask: a picture whose light areas mark where the others may change.
    offline: use no network.
    fallback: permit `auto` to take the embedded test model.
    evaluate: compare the finished picture with random noise; False leaves those fields of the record empty.
    max_pixels: limit on picture size; None for the reader's default.
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
        """SHA-256 in hex of everything that determines an output, except the picture and the encoder's weights."""
        digest = self.output_options.digest(config)
        if self.mask is None:
            return digest
        return hashlib.sha256(digest.encode() + self.mask.read_bytes()).hexdigest()
