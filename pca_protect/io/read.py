"""Decodes files into `Picture`."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pca_protect.errors import PictureError, UsageError
from pca_protect.io.animation import composed
from pca_protect.io.apng import apng_pieces
from pca_protect.io.channels import Channels, channels_of
from pca_protect.io.embedded_metadata import embedded_metadata_of, orientation_of
from pca_protect.io.formats import ANIMATED, DECODER_ERRORS, KNOWN, PAGED, damaged, open_image
from pca_protect.io.frames import alike
from pca_protect.io.gif import gif_pieces
from pca_protect.io.hidden_colors import HIDDEN, has_hidden_colors
from pca_protect.io.high_bit_depth import ROUNDED, has_low_bytes, is_gray_with_alpha, with_low_bytes
from pca_protect.io.limits import MAX_PIXELS, MIN_SIDE, bomb, check_frames, check_size, pillow_limited_to
from pca_protect.io.orientation import apply_orientation
from pca_protect.io.picture import Picture
from pca_protect.io.tiff_errors import tiff_errors_raised
from pca_protect.io.unreadable import require_readable

__all__ = ["MAX_PIXELS", "MIN_SIDE", "decode_picture", "from_pil", "read_file", "read_picture"]


def read_picture(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read and decode a picture file.

    Args:
        max_pixels: limit on the sum over all frames.

    Raises:
        UsageError: the path is a folder.
        PictureError: the file is missing, unreadable, damaged or of an unsupported format, or the picture is too small or
            too large.
    """
    return decode_picture(read_file(path), str(path), max_pixels=max_pixels)


def read_file(path: Path) -> bytes:
    """The bytes of a picture file, not decoded.

    Raises:
        UsageError: the path is a folder.
        PictureError: the file is missing, unreadable or empty.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, which needs an output folder; add -o FOLDER")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise PictureError(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error
    if not data:
        raise PictureError(f"{path}: is empty (0 bytes); copy or download it again")
    return data


def decode_picture(data: bytes, source: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode the bytes of a picture file; `source` names it in messages. Raises as `read_picture` does."""
    with pillow_limited_to(max_pixels):
        try:
            image = open_image(io.BytesIO(data), source)
            if image is None:
                raise PictureError(f"{source}: is not in a recognised image format ({KNOWN}); check the file")
            with image:
                return _picture(image, data, source, hashlib.sha256(data).hexdigest(), max_pixels)
        except Image.DecompressionBombError as error:
            raise bomb(error, source, max_pixels) from error
        except MemoryError as error:
            raise PictureError(
                f"{source}: does not fit into memory; close other programs, or make the picture smaller"
            ) from error
        except DECODER_ERRORS as error:
            raise damaged(source, error) from error


def from_pil(image: Image.Image, *, source: str = "picture", digest: str = "") -> Picture:
    """Convert an open Pillow image, with its frames and metadata. Pillow reduces 16-bit colour to 8 bits; `read_picture`
    keeps all 16.

    Raises:
        PictureError: the size or the mode is not supported.
    """
    return _picture(image, b"", source, digest, MAX_PIXELS)


def _picture(image: Image.Image, data: bytes, source: str, digest: str, max_pixels: int) -> Picture:
    frames: list[Picture] = []
    warnings = list(_warnings_about(image))
    embedded = None
    format_name = image.format or ""
    compose = bool(data) and (format_name == "GIF" or (format_name == "PNG" and getattr(image, "is_animated", False)))
    for frame in _composed(image, data, source, max_pixels) if compose else _frames(image, source, max_pixels):
        place = source if not frames else f"{source}: frame {len(frames) + 1}"
        check_size(*frame.size, place, max_pixels=max_pixels)
        if not frames or format_name == "TIFF":
            require_readable(frame, data, place)
        page = frame.tell() if format_name in PAGED else 0
        if compose:
            channels, orientation = _composed_channels(frame, image, data, place)
        else:
            channels, orientation = _decoded(frame, data, place, page=page)
        warnings += channels.notes
        if embedded is None:
            embedded = embedded_metadata_of(frame, data, page=page)
        frames.append(_upright(channels, orientation, source, _duration(frame)))
    assert embedded is not None  # an open image has a first frame
    if len(frames) > 1 and format_name in ANIMATED:
        frames = list(alike(tuple(frames)))
    if any(has_hidden_colors(frame) for frame in frames):
        warnings.append(HIDDEN)
    first, *following = frames
    if not following:
        first = replace(first, duration_ms=0.0)
    return replace(
        first,
        color_chunks=embedded.color_chunks,
        exif=embedded.exif,
        xmp=embedded.xmp,
        iptc=embedded.iptc,
        text=embedded.text,
        density=embedded.density,
        digest=digest,
        read_warnings=tuple(dict.fromkeys([*warnings, *embedded.read_warnings])),
        following=tuple(
            following if format_name in PAGED else (replace(frame, icc_profile=b"") for frame in following)
        ),
        loop=_loop(image) if following else 0,
    )


def _decoded(frame: Image.Image, data: bytes, place: str, *, page: int) -> tuple[Channels, int]:
    """The channels of a frame, with low bytes where they can be read, and the orientation to apply.

    Raises:
        PictureError: the pixels cannot be decoded, or two decoders read different ones.
    """
    deep = has_low_bytes(frame, data)
    stored = frame.tag_v2.get(0x0112, 1) if hasattr(frame, "tag_v2") else 1
    with tiff_errors_raised():
        frame.load()
    bits = data[24] if frame.format == "PNG" and data[24:26] in (b"\1\0", b"\2\0", b"\4\0") else 8
    channels = channels_of(frame, place, gray=is_gray_with_alpha(frame, data), bits=bits)
    if deep:
        still = not (frame.format in ANIMATED and getattr(frame, "is_animated", False))
        whole = None
        if data and still and frame.mode != "CMYK":
            whole = with_low_bytes(channels, frame, data, place, page=page, orientation=stored)
        channels = whole or replace(channels, notes=(*channels.notes, ROUNDED))
    return channels, orientation_of(frame)


def _composed_channels(frame: Image.Image, image: Image.Image, data: bytes, place: str) -> tuple[Channels, int]:
    """The channels of a composed frame, and the orientation to apply."""
    color_type = data[25] if image.format == "PNG" else _PALETTE
    channels = channels_of(frame, place, gray=color_type in _GRAYS, palette=color_type == _PALETTE)
    if has_low_bytes(frame, data):
        channels = replace(channels, notes=(*channels.notes, ROUNDED))
    return channels, orientation_of(image)


_PALETTE, _GRAYS, _WITH_ALPHA = 3, (0, 4), (4, 6)
"""Colour types of PNG."""


def _composed(image: Image.Image, data: bytes, source: str, max_pixels: int) -> Iterator[Image.Image]:
    """Yield the frames of a GIF or an APNG as browsers show them, each checked against the limits."""
    check_size(*image.size, source, max_pixels=max_pixels)
    pieces = gif_pieces(data) if image.format == "GIF" else apng_pieces(data)
    with_alpha = image.format == "PNG" and data[25] in _WITH_ALPHA
    count = 0
    for rgba, duration_ms in composed(pieces, *image.size):
        count += 1
        check_frames(count, count * image.width * image.height, source, max_pixels=max_pixels)
        frame = Image.fromarray(
            rgba if with_alpha or (rgba[..., 3] < 255).any() else np.ascontiguousarray(rgba[..., :3])
        )
        frame.format, frame.info = image.format, {**image.info, "duration": duration_ms}
        frame.info.pop("transparency", None)
        yield frame
    if image.format == "PNG" and count < image.n_frames - bool(image.default_image):  # type: ignore[attr-defined]
        raise EOFError("truncated animation")


def _frames(image: Image.Image, source: str, max_pixels: int) -> Iterator[Image.Image]:
    """Yield the frames in order, each checked against the limits before decoding. Skips reduced copies of other pages and
    the default image of an APNG that is not part of the animation."""
    check_size(*image.size, source, max_pixels=max_pixels)
    several = image.format in ANIMATED or image.format in PAGED
    count = pixels = 0
    for index in range(getattr(image, "n_frames", 1) if image.format in ("AVIF", "WEBP", "PNG") else 10**9):
        if index:
            if not several:
                return
            try:
                image.seek(index)
            except EOFError:
                return
        if (_is_reduced_copy(image) and index) or (index == 0 and getattr(image, "default_image", False)):
            continue
        count, pixels = count + 1, pixels + image.width * image.height
        check_frames(count, pixels, source, max_pixels=max_pixels)
        yield image


def _is_reduced_copy(image: Image.Image) -> bool:
    return hasattr(image, "tag_v2") and bool(int(image.tag_v2.get(254, 0)) & 1)


def _upright(channels: Channels, orientation: int, source: str, duration_ms: float) -> Picture:
    return Picture(
        rgb=apply_orientation(channels.rgb, orientation),
        alpha=None if channels.alpha is None else apply_orientation(channels.alpha, orientation),
        low=None if channels.low is None else apply_orientation(channels.low, orientation),
        gray=channels.gray,
        icc_profile=channels.icc_profile,
        source=source,
        duration_ms=duration_ms,
    )


def _duration(frame: Image.Image) -> float:
    duration = frame.info.get("duration", 0)
    return round(float(duration), 3) if isinstance(duration, (int, float)) else 0.0


def _loop(image: Image.Image) -> int:
    """Total number of plays; 0 is forever. GIF stores the repetitions after the first play, and no value for one play."""
    loop = image.info.get("loop")
    if image.format == "GIF":
        if loop is None:
            return 1
        return int(loop) + 1 if loop else 0
    return int(loop or 0)


def _warnings_about(image: Image.Image) -> Iterator[str]:
    """Warnings about pictures that are left out."""
    # Pillow decodes later pages of a TIFF wrongly after it has counted them.
    count = getattr(image, "n_frames", 1) if image.format in ("MPO", "HEIF", "PSD") else 1
    if image.format in ("MPO", "HEIF") and count > 1:
        yield (
            f"the file holds {count} pictures (a stereo pair, a preview, a depth or gain map); "
            "only the first is protected and kept"
        )
    elif image.format == "PSD" and count > 1:
        yield "the file's layers are left out; the merged picture is protected"
    elif image.format in ("ICO", "ICNS", "CUR") and len(image.info.get("sizes", ())) > 1:
        yield f"the file holds {len(image.info['sizes'])} sizes; only the largest is protected and kept"
    if getattr(image, "default_image", False):
        yield "the file's still picture for viewers without animation is left out"
