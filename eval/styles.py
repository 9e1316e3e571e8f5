"""Styles rendered onto photographs: training targets of the pocket editors and known targets of edits.

A rendering moves no object and is deterministic in the picture and the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from pca_protect.errors import UsageError
from pca_protect.eval.pictures import Rgb

_Unit = NDArray[np.floating[Any]]
"""A picture, `(H, W, 3)`, or one channel of it, `(H, W)`, in [0, 1]."""

_LUMA = np.array((0.299, 0.587, 0.114), dtype=np.float32)


@dataclass(frozen=True)
class Style:
    """One edit.

    Attributes:
        name: one word, for files and tables.
        prompt: the editor's instruction; empty for no edit.
    """

    name: str
    prompt: str
    _apply: Callable[[_Unit, np.random.Generator], _Unit]

    def render(self, rgb: Rgb, seed: int = 0) -> Rgb:
        """The picture `(H, W, 3)` in this style, of the same size. The same for the same picture and seed.

        Raises:
            UsageError: the array is not an 8-bit RGB picture.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise UsageError(f"an array of {rgb.dtype} {rgb.shape} cannot be styled; give uint8 (H, W, 3)")
        rgb = np.ascontiguousarray(rgb)
        digest = hashlib.sha256(rgb.tobytes()).digest()
        generator = np.random.default_rng((seed, int.from_bytes(digest[:8], "little")))
        styled = self._apply(rgb.astype(np.float32) / 255, generator)
        return (styled.clip(0, 1) * 255).round().astype(np.uint8)


def _none(picture: _Unit, generator: np.random.Generator) -> _Unit:
    return picture


def _snow(picture: _Unit, generator: np.random.Generator) -> _Unit:
    """Pale and cold: snow on upward-facing edges, thicker near the ground, and falling flakes."""
    grey = _grey(picture)
    pale = 0.55 * picture + 0.45 * grey * np.array((0.96, 1.0, 1.06), dtype=np.float32)
    smooth = _blurred(grey[..., 0], _side(picture) / 100)
    facing_up = np.maximum(np.roll(smooth, -1, axis=0) - np.roll(smooth, 1, axis=0), 0)
    height = np.linspace(0, 1, picture.shape[0], dtype=np.float32)[:, None]
    drift = _blurred(generator.random(picture.shape[:2], dtype=np.float32), _side(picture) / 12)
    drift = (drift - drift.mean()) / (drift.std() + 1e-6)
    cover = 8 * facing_up + 1.1 * (height + 0.10 * drift - 0.55).clip(0, 1) + 0.45 * smooth.clip(0.25, 1)
    cover = _blurred(cover, _side(picture) / 250).clip(0, 0.92)[..., None]
    snow = np.array((0.93, 0.96, 1.0), dtype=np.float32) * (0.86 + 0.14 * grey)
    flakes = np.zeros(picture.shape[:2], dtype=np.float32)
    for radius, share in ((_side(picture) / 420, 0.004), (_side(picture) / 200, 0.0012)):
        seeds = (generator.random(flakes.shape) < share).astype(np.float32)
        flakes += 6.5 * max(radius, 0.6) ** 2 * _blurred(seeds, max(radius, 0.6))
    flakes = flakes.clip(0, 0.95)[..., None]
    covered = pale * (1 - cover) + snow * cover
    rendered: _Unit = covered * (1 - flakes) + flakes
    return rendered


def _sunset(picture: _Unit, generator: np.random.Generator) -> _Unit:
    """A low orange light from one side, violet shadows, a glow along the horizon."""
    height = np.linspace(0, 1, picture.shape[0], dtype=np.float32)[:, None]
    across = np.linspace(0, 1, picture.shape[1], dtype=np.float32)[None]
    if generator.random() < 0.5:
        across = 1 - across
    grey = _grey(picture)
    light = np.array((1.16, 0.68, 0.36), dtype=np.float32)
    shade = np.array((0.66, 0.42, 0.60), dtype=np.float32)
    weight = (0.25 + 0.75 * grey) * (1 - 0.35 * across)[..., None]
    warm = (0.72 * picture + 0.28 * grey) * (shade * (1 - weight) + light * weight) * 1.12
    glow = np.exp(-(((height - 0.42) / 0.30) ** 2 + (across / 0.75) ** 2))[..., None]
    sun = np.array((1.0, 0.60, 0.22), dtype=np.float32)
    rendered: _Unit = 1 - (1 - warm.clip(0, 1)) * (1 - 0.50 * glow * sun)
    return rendered


def _watercolor(picture: _Unit, generator: np.random.Generator) -> _Unit:
    """Posterised washes with darker rims, on grained paper that shows at the borders."""
    side = _side(picture)
    image = _image(picture)
    for _ in range(3):
        image = image.filter(ImageFilter.MedianFilter(max(3, round(side / 50) | 1)))
    wash = _array(image)
    grey = _grey(wash)
    wash = (grey + 1.5 * (wash - grey)).clip(0, 1) ** 0.72
    tones = 7
    wash = 0.35 * wash + 0.65 * (np.floor(wash * tones) + _smooth_step(wash * tones % 1)) / tones
    rims = _edges(_grey(wash)[..., 0])[..., None]
    blotches = _blurred(generator.random(picture.shape[:2], dtype=np.float32), side / 40)
    blotches = ((blotches - blotches.mean()) / (blotches.std() + 1e-6))[..., None]
    grain = _blurred(generator.random(picture.shape[:2], dtype=np.float32), 0.8)[..., None] - 0.5
    paper = np.array((0.985, 0.97, 0.93), dtype=np.float32)
    painted = wash * (1 - 0.9 * rims) + 0.03 * blotches
    down, across = (np.minimum(np.linspace(0, 1, n), np.linspace(1, 0, n)) for n in picture.shape[:2])
    border = np.minimum(down[:, None], across[None]).astype(np.float32)
    inside = _smooth_step(((border + 0.012 * blotches[..., 0]) / 0.05).clip(0, 1))[..., None]
    rendered: _Unit = (paper * (1 - inside) + paper * (0.10 + 0.90 * painted) * inside) + 0.16 * grain
    return rendered


def _night(picture: _Unit, generator: np.random.Generator) -> _Unit:
    """Moonlight: dark, blue, low saturation; highlights keep a warm glow."""
    grey = _grey(picture)
    muted = 0.45 * picture + 0.55 * grey
    moonlit = muted**1.25 * np.array((0.30, 0.42, 0.68), dtype=np.float32)
    height, across = (np.linspace(-1, 1, n, dtype=np.float32) for n in picture.shape[:2])
    vignette = 1 - 0.35 * (height[:, None] ** 2 + across[None] ** 2)[..., None] / 2
    shine = _blurred(((grey[..., 0] - 0.80) / 0.2).clip(0, 1), _side(picture) / 60)[..., None]
    return moonlit * vignette + 0.22 * shine * np.array((1.0, 0.82, 0.50), dtype=np.float32) * grey


def _sketch(picture: _Unit, generator: np.random.Generator) -> _Unit:
    """Graphite lines by dodging the picture with its own blurred negative, light hatching in the shadows, on paper."""
    grey = _grey(picture)[..., 0]
    negative = _blurred(1 - grey, _side(picture) / 70)
    lines = (grey / (1 - negative + 1e-3)).clip(0, 1) ** 2.2
    down, across = np.indices(grey.shape, dtype=np.float32)
    period = max(4.0, _side(picture) / 48)
    hatching = 0.5 + 0.5 * np.sin((down + across) * (2 * np.pi / period))
    shadow = (0.55 - _blurred(grey, _side(picture) / 120)).clip(0, 1)
    grain = _blurred(generator.random(grey.shape, dtype=np.float32), 0.7) - 0.5
    graphite = (lines * (1 - 0.75 * shadow * hatching) + 0.10 * grain).clip(0.08, 1)
    rendered: _Unit = graphite[..., None] * np.array((0.97, 0.96, 0.93), dtype=np.float32)
    return rendered


STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style("none", "", _none),
        Style("snow", "add some snow", _snow),
        Style("sunset", "apply sunset lighting", _sunset),
        Style("watercolor", "make it like a watercolor painting", _watercolor),
        Style("night", "at night", _night),
        Style("sketch", "as a pencil sketch", _sketch),
    )
}
"""By name. `snow`, `sunset` and `watercolor` have the prompts of the paper."""


def _side(picture: _Unit) -> float:
    """The shorter side in pixels, the unit of lengths in styles."""
    return float(min(picture.shape[:2]))


def _grey(picture: _Unit) -> _Unit:
    """Luma, `(H, W, 1)`."""
    return (picture @ _LUMA)[..., None]


def _image(picture: _Unit) -> Image.Image:
    return Image.fromarray((picture * 255).round().astype(np.uint8))


def _array(image: Image.Image) -> _Unit:
    return np.asarray(image, dtype=np.float32) / 255


def _blurred(channel: _Unit, sigma_px: float) -> _Unit:
    """Gaussian blur of one channel `(H, W)` with reflected borders."""
    blurred: _Unit = gaussian_filter(channel.astype(np.float32), sigma_px, mode="reflect", truncate=3.0)
    return blurred


def _smooth_step(x: _Unit) -> _Unit:
    return x * x * (3 - 2 * x)


def _edges(channel: _Unit) -> _Unit:
    """Gradient magnitude of one channel `(H, W)`, 0 at the border."""
    down, across = np.gradient(_blurred(channel, 1.0))
    rendered: _Unit = (4 * np.hypot(down, across)).clip(0, 0.6)
    return rendered
