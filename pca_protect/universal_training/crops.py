"""Crops of pictures for the training of universal perturbations, and for their measurement on pictures that it did not see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from pca_protect.errors import PictureError, UsageError
from pca_protect.image.tensors import Uint8Image, to_tensor
from pca_protect.io.read import read_picture

LEAST_PICTURES = 8
"""Fewest pictures for a training, with those held out."""
MOST_PICTURES = 108
_HELD_OUT_EVERY = 9
"""One picture in nine is held out; of few pictures, two are."""
_CROPS = 96
"""Fewest crops in training: of few pictures, each gives several."""
_HELD_OUT_CROPS = 12
_LEAST_SIDE_PX = 64


@dataclass(frozen=True)
class Crops:
    """Attributes:
    training, held_out: crops `(1, 3, side, side)` in [0, 1], of different pictures.
    pictures: number of pictures in training.
    """

    training: list[Tensor]
    held_out: list[Tensor]
    pictures: int


def spaced(items: Sequence[Path], count: int) -> list[Path]:
    """At most `count` items, evenly spaced."""
    return [items[number * len(items) // count] for number in range(count)] if len(items) > count else list(items)


def crops_of_files(
    paths: Sequence[Path], side_px: int, *, seed: int, read: Callable[[Path], Uint8Image] | None = None
) -> Crops:
    """Crops of at most `MOST_PICTURES` picture files. Files that cannot be read are left out.

    Args:
        read: reads a file as `(H, W, 3)`; None is `read_picture`.

    Raises:
        UsageError: fewer than `LEAST_PICTURES` can be used.
    """

    def pictures() -> Iterable[Uint8Image]:
        for path in spaced(paths, MOST_PICTURES):
            try:
                yield read_picture(path).rgb if read is None else read(path)
            except PictureError:
                continue

    return crops_of(pictures(), side_px, seed=seed)


def crops_of(pictures: Iterable[Uint8Image], side_px: int, *, seed: int) -> Crops:
    """Square crops with random positions and sizes, resized to one size: from small details to nearly the whole picture.

    Only the crops are kept in memory. Pictures with a side under 64 px are left out.

    Args:
        pictures: `(H, W, 3)` each.
        side_px: side of the crops.

    Raises:
        UsageError: fewer than `LEAST_PICTURES` can be used.
    """
    generator = np.random.default_rng(seed)
    several = -(-_CROPS // LEAST_PICTURES)
    by_picture = [
        [_crop(picture, side_px, generator) for _ in range(several)]
        for picture in pictures
        if min(picture.shape[:2]) >= _LEAST_SIDE_PX
    ]
    count = len(by_picture)
    if count < LEAST_PICTURES:
        raise UsageError(
            f"{count} pictures of at least {_LEAST_SIDE_PX} px a side are too few to train a universal perturbation; "
            f"give {LEAST_PICTURES} or more, or use `preset=fast`"
        )
    spacing = min(_HELD_OUT_EVERY, count // 2)
    held_out, training = by_picture[::spacing], [crops for number, crops in enumerate(by_picture) if number % spacing]
    return Crops(_dealt(training, _CROPS), _dealt(held_out, _HELD_OUT_CROPS), len(training))


def _dealt(by_picture: Sequence[Sequence[Tensor]], least: int) -> list[Tensor]:
    """One crop of every picture, then a second of every picture, until there are `least`."""
    rounds = min(-(-least // len(by_picture)), len(by_picture[0]))
    return [crops[turn] for turn in range(rounds) for crops in by_picture]


def _crop(picture: Uint8Image, side_px: int, generator: np.random.Generator) -> Tensor:
    height, width = picture.shape[:2]
    shorter = min(height, width)
    side = int(generator.integers(min(side_px, shorter), shorter + 1))
    left, top = (int(generator.integers(0, length - side + 1)) for length in (width, height))
    box = (left, top, left + side, top + side)
    resized = Image.fromarray(picture).resize((side_px, side_px), Image.Resampling.LANCZOS, box=box)
    return to_tensor([np.asarray(resized)])
