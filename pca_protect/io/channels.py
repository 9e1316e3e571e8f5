"""The pixels of one decoded Pillow image, whatever its mode, as 8-bit colour and what goes with it."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pca_protect.errors import PictureError

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Channels:
    """As in `Picture`, as the file stores them: not yet upright."""

    rgb: Bytes
    alpha: Bytes | NDArray[np.uint16] | None = None
    low: Bytes | None = None
    gray: bool = False
    icc_profile: bytes = b""
    note: str = ""


def channels_of(image: Image.Image, source: str, *, gray: bool = False) -> Channels:
    """Args:
        gray: the file holds grey, although Pillow has no mode for it and opens it as colour.

    Raises:
        PictureError: the mode holds numbers that are no colours of a known scale.
    """
    mode = image.mode
    profile = image.info.get("icc_profile") or b""
    if mode.startswith("I;16"):
        return _fitting(_sixteen_bit_gray(_sixteen_bits(image), image.info.get("transparency")), profile)
    if mode in ("I", "F"):
        return _fitting(_numbers(image, source), profile)
    if mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        return _converted(image, profile)
    if mode in ("1", "L", "LA", "La"):
        return _fitting(_gray(image), profile)
    converted = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    colour = Channels(np.ascontiguousarray(converted[..., :3]), _alpha(converted), gray=gray)
    if (mode in ("P", "PA") or image.format == "WEBP") and _space(profile) != b"RGB ":
        colour = replace(colour, gray=is_gray(colour.rgb))  # formats and modes that have no grey of their own
    return _fitting(colour, profile)


def is_gray(rgb: Bytes) -> bool:
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())


def from_sixteen_bits(samples: NDArray[np.uint16], alpha: NDArray[np.uint16] | None = None) -> Channels:
    """High bytes and low bytes of `(H, W)` grey or `(H, W, 3)` colour."""
    gray = samples.ndim == 2
    if gray:
        samples = np.repeat(samples[..., None], 3, axis=2)
    high = (samples >> 8).astype(np.uint8)
    return Channels(high, alpha, (samples & 0xFF).astype(np.uint8), gray)


def _gray(image: Image.Image) -> Channels:
    if image.has_transparency_data:
        array = np.asarray(image.convert("LA"))
        return Channels(_three(array[..., 0]), np.ascontiguousarray(array[..., 1]), gray=True)
    return Channels(_three(np.asarray(image.convert("L"))), gray=True)


_PHOTOMETRIC, _BITS, _WHITE_IS_ZERO = 262, 258, 0
"""TIFF tags that Pillow heeds for 8 bits only."""


def _sixteen_bits(image: Image.Image) -> NDArray[np.uint16]:
    """Samples of which 65535 is white."""
    samples = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, 16)
    bits = bits[0] if isinstance(bits, tuple) else bits
    if 8 < bits < 16:  # the highest bits are repeated below, so that white becomes white
        samples = (samples << (16 - bits)) | (samples >> (2 * bits - 16))
    return 65535 - samples if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else samples


def _sixteen_bit_gray(array: NDArray[Any], transparent: object) -> Channels:
    samples = array.astype(np.uint16)
    alpha = None
    if isinstance(transparent, int):
        alpha = np.where(samples == transparent, 0, 65535).astype(np.uint16)
    return from_sixteen_bits(samples, alpha)


def _numbers(image: Image.Image, source: str) -> Channels:
    """Whole numbers and fractions are pictures where their scale is known: PGM says it, and 0 to 1 is customary."""
    array = np.asarray(image)
    if image.mode == "I":
        if image.format == "PPM":
            return _sixteen_bit_gray(array.clip(0, 65535), None)
        raise PictureError(
            f"{source}: holds 32-bit whole numbers, and what is white among them is not said; save it with 16 bits"
        )
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise PictureError(
            f"{source}: holds fractions outside 0 to 1, and what is white among them is not said; save it with 16 bits"
        )
    grey = _sixteen_bit_gray(np.rint(array.astype(np.float64) * 65535), None)
    return replace(grey, note="it holds fractions from 0 to 1, which were rounded to 16 bits")


def _converted(image: Image.Image, profile: bytes) -> Channels:
    """To sRGB, through the embedded profile if that fits the mode."""
    name = {"LAB": "L*a*b*"}.get(image.mode, image.mode)
    space = {"CMYK": b"CMYK", "LAB": b"Lab "}.get(image.mode)
    given: ImageCms.ImageCmsProfile | None = None
    way = "by its colour profile"
    try:
        if space is not None and _space(profile) == space:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        elif image.mode == "LAB":
            given, way = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "of the standard white point"
        if given is not None:
            converted = ImageCms.profileToProfile(
                image,
                given,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if converted is not None:
                return Channels(np.asarray(converted), note=f"it was {name} and is now sRGB, converted {way}")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        pass  # a damaged profile is as good as none
    note = f"it was {name} without a usable colour profile and is now RGB by the plain formula; colours may differ"
    return Channels(np.asarray(image.convert("RGB")), note=note)


def _fitting(channels: Channels, profile: bytes) -> Channels:
    """A profile describes either grey or colour; one for the other is what a viewer ignores, and is left out."""
    fits = _space(profile) == (b"GRAY" if channels.gray else b"RGB ")
    return replace(channels, icc_profile=bytes(profile) if fits else b"")


def _space(profile: bytes) -> bytes:
    return bytes(profile[16:20])


def _three(gray: NDArray[Any]) -> Bytes:
    return np.repeat(gray[..., None].astype(np.uint8), 3, axis=2)


def _alpha(array: NDArray[np.uint8]) -> Bytes | None:
    return np.ascontiguousarray(array[..., 3]) if array.shape[2] == 4 else None
