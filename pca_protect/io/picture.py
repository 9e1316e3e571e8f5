"""A picture as the rest of the program sees it: 8-bit colour, and everything else carried along untouched."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """Decoded pixels and what came with them.

    Attributes:
        rgb: `(H, W, 3)` uint8, upright (EXIF orientation applied).
        alpha: `(H, W)` uint8, or None.
        icc_profile: colour profile of `rgb`, kept byte for byte; empty if none.
        exif: EXIF block with its orientation reset; empty if none.
        xmp: XMP packet; empty if none.
        text: PNG text chunks by keyword.
        digest: SHA-256 in hex of the file it was read from; empty for pictures that never were a file.
        source: path or description for messages.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    icc_profile: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    text: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    source: str = "picture"

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])
