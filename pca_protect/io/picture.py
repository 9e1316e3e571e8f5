"""The decoded picture: 8-bit RGB to protect, and everything else to write back unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Text:
    """One text chunk of a PNG, or the comment of another format. A keyword may occur repeatedly."""

    keyword: str
    text: str
    language: str = ""
    translated_keyword: str = ""


@dataclass(frozen=True)
class Density:
    """Resolution in pixels per `unit`; without a unit, the ratio of `x` to `y` is the inverse aspect ratio of a pixel."""

    x: Fraction
    y: Fraction
    unit: Literal["inch", "cm", ""]


@dataclass(frozen=True)
class Picture:
    """Decoded pixels, metadata and further frames.

    Attributes:
        rgb: `(H, W, 3)` uint8, upright (EXIF orientation applied): the high bytes of 16-bit pictures, three equal channels
            for greyscale.
        alpha: `(H, W)` uint8, or uint16 if `low` is not None; None without transparency.
        low: `(H, W, 3)` uint8, the low bytes of a 16-bit picture, written back unchanged; None for 8-bit pictures.
        gray: the file has one colour channel, and the output has one too.
        icc_profile: colour profile of `rgb`, kept byte for byte; empty if none.
        color_chunks: PNG chunks, by name, that define the colours beside the profile: sRGB, gAMA, cHRM, cICP and others.
        exif: EXIF block with orientation 1, without the prefix `Exif\\0\\0`; empty if none.
        xmp: XMP packet in UTF-8; empty if none.
        iptc: IPTC-IIM records; empty if none.
        text: text chunks and comments, in the order of the file.
        density: resolution; None if unknown.
        digest: SHA-256 of the source file in hex; empty if not read from a file.
        source: path or description for messages.
        read_warnings: conversions and omissions while reading, one sentence each.
        following: later frames or pages, in order, with empty `following` and metadata.
        duration_ms: display time of this frame; 0 for pages and single pictures.
        loop: number of times an animation plays; 0 is forever.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None = None
    low: NDArray[np.uint8] | None = None
    gray: bool = False
    icc_profile: bytes = b""
    color_chunks: tuple[tuple[str, bytes], ...] = ()
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    text: tuple[Text, ...] = ()
    density: Density | None = None
    digest: str = ""
    source: str = "picture"
    read_warnings: tuple[str, ...] = ()
    following: tuple[Picture, ...] = ()
    duration_ms: float = 0.0
    loop: int = 0

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    def samples(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """All samples to store: `(H, W, C)` uint8, or uint16 if `low` is not None. C is 1 for greyscale or 3 for colour, plus
        1 with alpha."""
        colour = self.rgb[..., :1] if self.gray else self.rgb
        if self.low is None:
            parts = [colour] if self.alpha is None else [colour, self.alpha[..., None].astype(np.uint8)]
            return np.ascontiguousarray(np.concatenate(parts, axis=2))
        wide = (colour.astype(np.uint16) << 8 | self.low[..., : colour.shape[2]]).astype(np.uint16)
        wides = [wide] if self.alpha is None else [wide, self.alpha[..., None].astype(np.uint16)]
        return np.ascontiguousarray(np.concatenate(wides, axis=2))
