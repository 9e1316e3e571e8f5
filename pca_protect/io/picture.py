"""A picture as the rest of the program sees it: 8-bit colour, and everything else carried along untouched."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """Decoded pixels and what came with them.

    Attributes:
        rgb: `(H, W, 3)` uint8, upright (EXIF orientation applied). Of 16-bit pictures the high bytes; of grey ones three
            equal channels.
        alpha: `(H, W)` uint8, uint16 where `low` is there, or None.
        low: `(H, W, 3)` uint8, the low bytes of a 16-bit picture, which nothing changes; None for 8-bit ones.
        gray: the file holds one channel, and the protected one has to as well.
        icc_profile: colour profile of `rgb`, kept byte for byte; empty if none.
        exif: EXIF block with its orientation reset; empty if none.
        xmp: XMP packet; empty if none.
        iptc: IPTC-IIM records; empty if none.
        text: PNG text chunks by keyword.
        digest: SHA-256 in hex of the file it was read from; empty for pictures that never were a file.
        source: path or description for messages.
        read_warnings: what the user has to know about reading it, one sentence each: a conversion, a second picture left out.
        following: the frames or pages after this one, in order; their own `following` is empty, and so is their metadata.
        duration_ms: how long this frame is shown; 0 for pages and single pictures.
        loop: how often an animation plays; 0 is forever.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None = None
    low: NDArray[np.uint8] | None = None
    gray: bool = False
    icc_profile: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    text: dict[str, str] = field(default_factory=dict)
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
        """Everything a file stores for each pixel: `(H, W, C)` uint8, or uint16 where `low` is there; C is 1 for grey
        or 3 for colour, and one more with alpha."""
        colour = self.rgb[..., :1] if self.gray else self.rgb
        if self.low is None:
            parts = [colour] if self.alpha is None else [colour, self.alpha[..., None].astype(np.uint8)]
            return np.ascontiguousarray(np.concatenate(parts, axis=2))
        wide = (colour.astype(np.uint16) << 8 | self.low[..., : colour.shape[2]]).astype(np.uint16)
        wides = [wide] if self.alpha is None else [wide, self.alpha[..., None].astype(np.uint16)]
        return np.ascontiguousarray(np.concatenate(wides, axis=2))
