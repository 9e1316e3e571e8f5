"""Converts a decoded Pillow image of any mode to 8-bit RGB, with alpha, low bytes and the colour profile."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pca_protect.errors import PictureError, quoted

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Channels:
    """Fields of `Picture` in the orientation of the file; `notes` are warnings about conversions."""

    rgb: Bytes
    alpha: Bytes | NDArray[np.uint16] | None = None
    low: Bytes | None = None
    gray: bool = False
    icc_profile: bytes = b""
    notes: tuple[str, ...] = ()


def channels_of(
    image: Image.Image, source: str, *, gray: bool = False, palette: bool = False, bits: int = 8
) -> Channels:
    """Convert a decoded image.

    Args:
        source: names the picture in messages.
        palette: the file has a palette although the image has not; its colours may all be grey.
        bits: bits of a stored greyscale sample, if fewer than 8.
        gray: the file is greyscale although Pillow opens it as colour, for lack of a matching mode.

    Raises:
        PictureError: the samples are integers or floats without a defined white level.
    """
    mode = image.mode
    tags = getattr(image, "tag_v2", None)  # of this page; `info` may be of the one before
    profile = (image.info.get("icc_profile") if tags is None else tags.get(_PROFILE)) or b""
    if mode.startswith("I;16"):
        return _with_matching_profile(_sixteen_bit_gray(_sixteen_bits(image), image.info.get("transparency")), profile)
    if mode in ("I", "F"):
        return _with_matching_profile(_integer_or_float(image, source), profile)
    if mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        return _converted(image, profile)
    if mode in ("1", "L", "LA", "La"):
        return _with_matching_profile(_gray(image, 255 // (2**bits - 1)), profile)
    if mode == "P" and (small := _unscaled_palette(image)):
        image.putpalette(small)
    converted = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    colour = Channels(np.ascontiguousarray(converted[..., :3]), _alpha(converted), gray=gray)
    if image.format == "TGA" and colour.alpha is not None and not colour.alpha.any():
        colour = replace(colour, alpha=None)  # many programs leave the unused fourth byte 0
    if (palette or mode in ("P", "PA") or image.format == "WEBP") and _colour_space(profile) != b"RGB ":
        colour = replace(colour, gray=is_gray(colour.rgb))  # these formats and modes have no greyscale variant
    return _with_matching_profile(colour, profile)


def is_gray(rgb: Bytes) -> bool:
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())


def from_sixteen_bits(samples: NDArray[np.uint16], alpha: NDArray[np.uint16] | None = None) -> Channels:
    """Split `(H, W)` grey or `(H, W, 3)` colour into high and low bytes."""
    gray = samples.ndim == 2
    if gray:
        samples = np.repeat(samples[..., None], 3, axis=2)
    high = (samples >> 8).astype(np.uint8)
    return Channels(high, alpha, (samples & 0xFF).astype(np.uint8), gray)


def _unscaled_palette(image: Image.Image) -> bytes:
    """The palette of a TIFF that holds 8-bit values in its 16-bit entries, against the specification; empty for others."""
    values = getattr(image, "tag_v2", {}).get(_COLOR_MAP, ())
    if not values or max(values) > 255 or len(values) % 3:
        return b""
    return np.array(values, np.uint8).reshape(3, -1).T.tobytes()


def _gray(image: Image.Image, scale: int) -> Channels:
    """`scale` is the factor from stored levels to 8 bits, which Pillow applies to the samples alone."""
    level = image.info.get("transparency")
    if isinstance(level, int):
        samples = np.asarray(image.convert("L"))
        return Channels(
            _repeated_to_rgb(samples), np.where(samples == min(level * scale, 255), 0, 255).astype(np.uint8), gray=True
        )
    if image.has_transparency_data:
        array = np.asarray(image.convert("LA"))
        return Channels(_repeated_to_rgb(array[..., 0]), np.ascontiguousarray(array[..., 1]), gray=True)
    return Channels(_repeated_to_rgb(np.asarray(image.convert("L"))), gray=True)


_PROFILE, _COLOR_MAP = 34675, 320
_PHOTOMETRIC, _BITS, _WHITE_IS_ZERO = 262, 258, 0
"""TIFF tags that Pillow applies to 8-bit samples only."""


def _sixteen_bits(image: Image.Image) -> NDArray[np.uint16]:
    """Samples scaled so that 65535 is white."""
    samples = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, 16)
    bits = bits[0] if isinstance(bits, tuple) else bits
    if 8 < bits < 16:  # bit replication maps white to 65535
        samples = (samples << (16 - bits)) | (samples >> (2 * bits - 16))
    return 65535 - samples if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else samples


def _sixteen_bit_gray(array: NDArray[Any], transparent: object) -> Channels:
    samples = array.astype(np.uint16)
    alpha = None
    if isinstance(transparent, int):
        alpha = np.where(samples == transparent, 0, 65535).astype(np.uint16)
    return from_sixteen_bits(samples, alpha)


def _integer_or_float(image: Image.Image, source: str) -> Channels:
    """Convert modes I and F. The white level is known for PGM (in its header) and for floats in 0 to 1 (by convention)."""
    array = np.asarray(image)
    if image.mode == "I":
        if image.format == "PPM":
            return _sixteen_bit_gray(array.clip(0, 65535), None)
        raise PictureError(
            f"{source}: has signed or 32-bit integer samples without a defined white level; save it with 16 unsigned bits"
        )
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise PictureError(
            f"{source}: has float samples outside 0 to 1, without a defined white level; save it with 16 bits"
        )
    grey = _sixteen_bit_gray(np.rint(array.astype(np.float64) * 65535), None)
    return replace(grey, notes=("float samples from 0 to 1 were rounded to 16 bits",))


def _converted(image: Image.Image, profile: bytes) -> Channels:
    """Convert to sRGB through the embedded profile if its colour space matches the mode."""
    name = {"LAB": "L*a*b*"}.get(image.mode, image.mode)
    space = {"CMYK": b"CMYK", "LAB": b"Lab "}.get(image.mode)
    source_profile: ImageCms.ImageCmsProfile | None = None
    method = "with its colour profile"
    try:
        if space is not None and _colour_space(profile) == space:
            source_profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        elif image.mode == "LAB":
            source_profile, method = (
                ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")),
                "with the standard white point",
            )
        if source_profile is not None:
            converted = ImageCms.profileToProfile(
                image,
                source_profile,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if converted is not None:
                return Channels(np.asarray(converted), notes=(f"converted from {name} to sRGB {method}",))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        pass  # treat a damaged profile as missing
    note = f"converted from {name} to RGB without a usable colour profile; colours may differ"
    return Channels(np.asarray(image.convert("RGB")), notes=(note,))


def _with_matching_profile(channels: Channels, profile: bytes) -> Channels:
    """Attach the profile if it is for greyscale or RGB as the pixels are; viewers ignore a mismatched one."""
    if not profile or _colour_space(profile) == (b"GRAY" if channels.gray else b"RGB "):
        return replace(channels, icc_profile=bytes(profile))
    space = quoted(_colour_space(profile).decode("latin-1").strip(), 4)
    pixels = "grey" if channels.gray else "RGB"
    note = f"the colour profile is for {space or 'no'} colours, but the pixels are {pixels}; the profile was left out"
    return replace(channels, notes=(*channels.notes, note))


def _colour_space(profile: bytes) -> bytes:
    return bytes(profile[16:20])


def _repeated_to_rgb(gray: NDArray[Any]) -> Bytes:
    return np.repeat(gray[..., None].astype(np.uint8), 3, axis=2)


def _alpha(array: NDArray[np.uint8]) -> Bytes | None:
    return np.ascontiguousarray(array[..., 3]) if array.shape[2] == 4 else None
