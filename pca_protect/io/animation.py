"""Composes the frames of GIF and APNG files as browsers do. Pillow blends half-transparent pixels and disposes of frames in ways
of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Piece:
    """What a file stores of one frame.

    Attributes:
        rgba: `(h, w, 4)`, not premultiplied.
        left, top: position on the canvas, in pixels.
        blend: over the canvas, or in place of its pixels, alpha included.
        dispose: before the next frame, the piece stays, its box becomes transparent, or the canvas is as it was before the
            piece.
    """

    rgba: Bytes
    left: int
    top: int
    duration_ms: float
    blend: bool
    dispose: Literal["keep", "clear", "restore"]


def composed(pieces: Iterable[Piece], width: int, height: int) -> Iterator[tuple[Bytes, float]]:
    """Yield each frame, `(height, width, 4)`, with its time in milliseconds. The canvas is transparent at first, and pieces are
    cut at its edges."""
    canvas = np.zeros((height, width, 4), np.uint8)
    for piece in pieces:
        before = canvas.copy() if piece.dispose == "restore" else canvas
        rgba = piece.rgba[: max(0, height - piece.top), : max(0, width - piece.left)]
        box = (slice(piece.top, piece.top + rgba.shape[0]), slice(piece.left, piece.left + rgba.shape[1]))
        canvas[box] = _over(rgba, canvas[box]) if piece.blend else rgba
        yield canvas.copy(), piece.duration_ms
        if piece.dispose == "clear":
            canvas[box] = 0
        elif piece.dispose == "restore":
            canvas = before


def _over(source: Bytes, backdrop: Bytes) -> Bytes:
    """Alpha blending of colours that are not premultiplied (PNG third edition, section 13.16), rounded."""
    front, back = source[..., 3:].astype(np.uint32), backdrop[..., 3:].astype(np.uint32)
    weight_front, weight_back = 255 * front, back * (255 - front)
    total = weight_front + weight_back
    colours = weight_front * source[..., :3] + weight_back * backdrop[..., :3]
    blended = np.concatenate([(colours + total // 2) // np.maximum(total, 1), (total + 127) // 255], axis=2)
    return np.where(front == 0, backdrop, blended.astype(np.uint8))
