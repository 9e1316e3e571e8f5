"""One picture, start to finish: posterior -> loss -> steps within the budget -> 8-bit picture -> evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pca_protect.config import ProtectConfig
from pca_protect.device import peak_megabytes, reset_peak
from pca_protect.engine import Progress, demand
from pca_protect.errors import PictureError, ProtectionWarning, UsageError
from pca_protect.evaluation import Evaluation
from pca_protect.frames import Frame, OutOfReachError, chunks, parts_of, protected_frames
from pca_protect.image.masks import as_mask
from pca_protect.image.tensors import Mask, to_uint8
from pca_protect.initialisation import init_for
from pca_protect.io.picture import Picture
from pca_protect.io.read import from_pil, read_picture
from pca_protect.memory import batch_size
from pca_protect.protected import Protected
from pca_protect.record import UNMEASURED, Record, versions
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate, as_surrogate
from pca_protect.surrogates.load import load_surrogates

MIN_GAIN = 1.25
"""Warn if the gain over noise is below this factor."""


def protect(
    picture: str | Path | Image.Image | Picture | NDArray[Any] | Tensor,
    config: ProtectConfig | None = None,
    *,
    surrogate: AnySurrogate | Sequence[Surrogate] | None = None,
    mask: Mask | NDArray[np.uint8] | Image.Image | None = None,
    evaluate: bool = True,
    on_step: Progress | None = None,
) -> Protected:
    """Perturb a picture within a budget, in order to disturb diffusion edits of it.

    >>> from pca_protect import ProtectConfig, load_surrogate, protect
    >>> surrogate = load_surrogate("pocket")
    >>> result = protect("examples/astronaut.png", ProtectConfig(mode="concentration", steps=3), surrogate=surrogate)
    >>> result.record.max_change_levels <= 16
    True
    >>> record = result.save("astronaut.protected.png")

    Args:
        picture: a file, a Pillow image, a `Picture`, a uint8 array `(H, W, 3)`, or a float tensor `(3, H, W)` in [0, 1], which is
            rounded to 8 bits. Alpha, low bytes of 16-bit pictures and metadata stay unchanged. Every frame or page is
            protected.
        config: the request; `ProtectConfig()` if None.
        surrogate: one encoder or several, already loaded, to be shared by many pictures; loaded from `config.vae` if None.
        mask: `(H, W)`, booleans, 8-bit values or a Pillow image: true, or 128 and above, where the picture may change. None is
            everywhere. Fully transparent pixels never change.
        evaluate: evaluate the protected picture, see `evaluation.evaluate`. If False, the record's fields of the evaluation
            are None, and there is no warning of a weak protection.
        on_step: progress and cancellation; raise `Cancelled` from it to stop.

    Returns:
        The protected picture with its record. Nothing is written until `save`. Each warning of the record, apart from those of
        the encoder, is also issued as a `ProtectionWarning`.

    Raises:
        PictureError: the picture cannot be read, its smallest window does not fit into memory, or the visibility limit rounds
            the whole change away.
        UsageError, ModelError, DeviceError: see `ProtectConfig` and `load_surrogate`.
    """
    config = config or ProtectConfig()
    original = _as_picture(picture)
    if surrogate is None:
        surrogate = load_surrogates(config.vaes, device=config.device, precision=config.precision)
    masks = [None if mask is None else as_mask(mask)]
    surrogate = as_surrogate(surrogate)
    (done,) = protect_batch([original], config, surrogate=surrogate, masks=masks, evaluate=evaluate, on_step=on_step)
    for sentence in done.record.warnings:
        if sentence not in surrogate.warnings:  # those are known since it was loaded
            warn(sentence, ProtectionWarning, stacklevel=2)
    return done


def protect_batch(
    pictures: Sequence[Picture],
    config: ProtectConfig,
    *,
    surrogate: AnySurrogate,
    masks: Sequence[Mask | None] | None = None,
    evaluate: bool = True,
    on_step: Progress | None = None,
) -> list[Protected]:
    """`protect` for pictures in memory. Consecutive pictures of equal size are grouped into batches that fit in memory. A
    picture's result is independent of its batch: bit-identical on the CPU, up to floating-point summation order elsewhere.

    Args:
        masks: per picture, see `protect`.
        evaluate: see `protect`.
        on_step: see `protect`; the count restarts with every batch.

    Raises:
        PictureError, DeviceError: see `protect`; of the first picture that fails.
    """
    if config.until is not None and not evaluate:
        raise UsageError("`until` and `evaluate=False` are mutually exclusive; leave one of them out")
    if isinstance(config.until, str):
        return [
            _until_preset(picture, config, surrogate, mask, on_step)
            for picture, mask in zip(pictures, masks or [None] * len(pictures), strict=True)
        ]
    reset_peak(surrogate.device)
    frames_of: list[list[Frame]] = [[] for _ in pictures]
    parts = [
        part
        for number, (picture, mask) in enumerate(zip(pictures, masks or [None] * len(pictures), strict=True))
        for part in parts_of(number, picture, mask, config)
    ]
    for (height, width), run in groupby(parts, key=lambda part: (part.picture.height, part.picture.width)):
        at_once = batch_size(surrogate, demand(config, height=height, width=width), at_most=config.batch)
        for chunk in chunks(list(run), at_once):
            for part, frame in zip(chunk, protected_frames(chunk, config, surrogate, evaluate, on_step), strict=True):
                frames_of[part.number].append(frame)
    return [_joined(picture, frames, config, surrogate) for picture, frames in zip(pictures, frames_of, strict=True)]


def _until_preset(
    picture: Picture, config: ProtectConfig, surrogate: AnySurrogate, mask: Mask | None, on_step: Progress | None
) -> Protected:
    """Protect one picture until it has the gain over noise that another preset reaches on it; if this preset cannot reach it,
    the picture is that of the other."""
    assert isinstance(config.until, str)
    other = replace(config, preset=config.until, until=None, steps=None, max_visibility=None)
    (reached,) = protect_batch([picture], other, surrogate=surrogate, masks=[mask], on_step=on_step)
    wanted = reached.record.gain_over_noise
    assert wanted is not None
    if wanted <= 1:
        raise PictureError(
            f"{picture.source}: preset {config.until} is no better than noise on this picture; give a number to `until`"
        )
    try:
        numbered = replace(config, until=wanted)
        (done,) = protect_batch([picture], numbered, surrogate=surrogate, masks=[mask], on_step=on_step)
        seconds = reached.record.seconds + done.record.seconds
    except OutOfReachError:
        if config.max_visibility is not None:
            raise
        done, seconds = reached, reached.record.seconds
    record = replace(done.record, config=config.as_dict(), config_digest=config.digest(), seconds=seconds)
    return replace(done, record=record)


def _joined(original: Picture, frames: list[Frame], config: ProtectConfig, surrogate: AnySurrogate) -> Protected:
    """Joins the frames of one picture, with a record of the least protected frame.

    Raises:
        PictureError: the visibility limit is so low that rounding left no change in any frame.
    """
    changed = {frame.number: frame.protected for frame in frames}
    following = tuple(changed.get(number, frame) for number, frame in enumerate(original.following, start=1))
    protected = replace(original, rgb=changed.get(0, original).rgb, following=following)
    change_levels = max(frame.change_levels for frame in frames)
    if change_levels == 0 and config.max_visibility is not None:
        raise PictureError(
            f"{original.source}: max visibility {config.max_visibility} rounds the whole change away; raise `max_visibility`, or "
            "leave it out"
        )
    evaluations = [frame.evaluation for frame in frames if frame.evaluation is not None]
    weakest = min(evaluations, key=lambda measured: measured.gain_over_noise) if evaluations else None
    universal = init_for(surrogate, config)
    record = Record(
        input=None if not original.digest else original.source,
        output=None,
        input_sha256=original.digest,
        output_sha256="",
        width_px=original.width,
        height_px=original.height,
        frames=1 + len(original.following),
        config=config.as_dict(),
        config_digest=config.digest(),
        vae={
            "name": surrogate.name,
            "origin": surrogate.origin,
            "weights_sha256": surrogate.digest,
            "latent_channels": surrogate.latent_channels,
        },
        test_only=surrogate.embedded,
        device=str(surrogate.device),
        precision=str(surrogate.dtype).removeprefix("torch."),
        max_change_levels=change_levels,
        **(vars(weakest) if weakest is not None else dict.fromkeys(UNMEASURED)),
        init="zero" if universal is None else "universal",
        init_sha256=None if universal is None else universal.sha256,
        steps=max(frame.steps for frame in frames),
        tile_px=min(frame.tile_px for frame in frames),
        seconds=sum(frame.seconds for frame in frames),
        peak_megabytes=peak_megabytes(surrogate.device),
        warnings=(*surrogate.warnings, *original.read_warnings, *_warnings(weakest, frames, config)),
        versions=versions(),
    )
    return Protected(protected, original, record)


def _warnings(weakest: Evaluation | None, frames: list[Frame], config: ProtectConfig) -> Iterator[str]:
    smallest = min(frame.tile_px for frame in frames)
    if smallest < config.tile_px:
        yield (
            f"too little memory for windows of {config.tile_px} px, {smallest} px were used: the result differs from that of a "
            "run with more memory and protects slightly less"
        )
    if weakest is not None and weakest.gain_over_noise < MIN_GAIN:
        yield (
            f"the latent shift is only {weakest.gain_over_noise:.2g} times that of random noise of the same budget: this hardly "
            "protects; use more steps or a larger budget"
        )


def _as_picture(picture: str | Path | Image.Image | Picture | NDArray[Any] | Tensor) -> Picture:
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, Image.Image):
        return from_pil(picture)
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or picture.shape[0] != 3 or not picture.is_floating_point():
            raise UsageError(
                f"a tensor of shape {tuple(picture.shape)} and type {picture.dtype} is not a picture; give floats (3, H, W)"
            )
        return Picture(to_uint8(picture[None])[0])
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise UsageError(
                f"an array of shape {picture.shape} and type {picture.dtype} is not a picture; give uint8 (H, W, 3)"
            )
        return Picture(np.ascontiguousarray(picture))
    return read_picture(Path(picture))
