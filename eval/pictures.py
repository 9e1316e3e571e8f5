"""Pictures to measure on, from a user's folder or made from a seed, and the same as another file format keeps them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from pca_protect.errors import PictureError, UsageError
from pca_protect.image.tensors import to_tensor, to_uint8
from pca_protect.io.picture import Picture
from pca_protect.io.read import read_picture

Rgb = NDArray[np.uint8]
"""An 8-bit picture, `(H, W, 3)`."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def pictures_in(folder: Path, *, option: str = "--images") -> list[Path]:
    """The picture files of a folder, by name; its subfolders are not looked into. `option` names it in messages.

    Raises:
        UsageError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{option} {folder}: no such folder; name one that holds pictures")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UsageError(f"{option} {folder}: no picture in it ({', '.join(_SUFFIXES)}); name another folder")
    return found


def readable(
    folder: Path, at_most: int | None, *, option: str = "--images"
) -> tuple[dict[Path, str], list[dict[str, object]]]:
    """The pictures of a folder that can be read, with their files' digests, and rows for a table `failures` about the others.

    Raises:
        UsageError: no folder, or no picture in it that can be read.
    """
    digests: dict[Path, str] = {}
    failures: list[dict[str, object]] = []
    for path in pictures_in(folder, option=option)[:at_most]:
        try:
            digests[path] = read_picture(path).digest
        except PictureError as error:
            failures.append({"editor": "", "picture": path.name, "reason": str(error)})
    if not digests:
        raise UsageError(
            f"{option} {folder}: none of its pictures can be read ({failures[0]['reason']}); name another folder"
        )
    return digests, failures


def square_picture(path: Path, size_px: int) -> Picture:
    """The largest square in the middle of a picture file, resized. Raises what `read_picture` raises."""
    return square_of(read_picture(path), size_px)


def square_of(picture: Picture, size_px: int) -> Picture:
    """The largest square in the middle of a picture, resized."""
    square = ImageOps.fit(Image.fromarray(picture.rgb), (size_px, size_px), Image.Resampling.LANCZOS)
    return Picture(np.asarray(square), source=picture.source)


def made_picture(size_px: int, seed: int) -> Picture:
    """A square of smooth random colours with some texture; the same for the same seed on every machine."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((size_px, size_px), Image.Resampling.BICUBIC)).astype(np.int16)
    texture = generator.integers(-12, 13, (size_px, size_px, 1))
    return Picture((smooth + texture).clip(0, 255).astype(np.uint8), source=f"made from seed {seed}")


def file_bytes(picture: Rgb, kind: str, **options: int | str) -> bytes:
    """A picture `(H, W, 3)` as a file.

    Args:
        kind: a file format by Pillow's name, such as `JPEG`.
        options: for Pillow, such as `quality=75, subsampling="4:2:0"`.
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def through_file(picture: Rgb, kind: str, **options: int | str) -> Rgb:
    """A picture `(H, W, 3)` as it is read back from a file, see `file_bytes`."""
    with Image.open(io.BytesIO(file_bytes(picture, kind, **options))) as image:
        return np.array(image.convert("RGB"))


def to_pixels(picture: Picture) -> Tensor:
    """Colour as float32 `(1, 3, H, W)` in [0, 1]."""
    return to_tensor([picture.rgb])


def with_pixels(picture: Picture, pixels: Tensor) -> Picture:
    """The same picture with colour from `(1, 3, H, W)` in [0, 1]."""
    return replace(picture, rgb=to_uint8(pixels)[0])
