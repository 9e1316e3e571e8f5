"""One picture, start to finish: posterior -> loss -> steps within the budget -> 8-bit picture -> evaluation."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pca_protect import evaluation
from pca_protect.attack.stopping import smallest_share
from pca_protect.attack.visibility import scaled
from pca_protect.config import ProtectConfig
from pca_protect.device import empty_cache, is_out_of_memory, peak_megabytes, reset_peak
from pca_protect.engine import Batch, Progress, criteria, demand, init_for, perturb
from pca_protect.errors import DeviceError, PictureError, UsageError
from pca_protect.evaluation import Evaluation, largest_change
from pca_protect.image.masks import as_mask, editable_mask
from pca_protect.image.tensors import Mask, to_uint8
from pca_protect.io.picture import Picture
from pca_protect.io.read import decode_picture, from_pil, read_picture
from pca_protect.io.write import encode_picture, largest_change_levels, left_out, output_format, write_bytes
from pca_protect.memory import MemoryPlan, batch_size, candidate_plans, choose_plan
from pca_protect.record import UNMEASURED, Record, versions
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate, as_surrogate
from pca_protect.surrogates.load import load_surrogates

MIN_GAIN = 1.25
"""Warn if the gain over noise is below this factor."""


@dataclass(frozen=True)
class Protected:
    """A protected picture, its original, and the record of settings and measurements."""

    picture: Picture
    original: Picture
    record: Record

    def image(self) -> Image.Image:
        """The first frame as a Pillow image, with the original's alpha, of which 16-bit values keep the high 8 bits."""
        picture = self.picture
        image = Image.fromarray(picture.rgb[..., 0] if picture.gray else picture.rgb)
        if picture.alpha is not None:
            alpha = picture.alpha if picture.alpha.dtype == "uint8" else (picture.alpha >> 8).astype("uint8")
            image.putalpha(Image.fromarray(alpha))
        return image

    def encoded(self, format_name: str, *, allow_lossy: bool = False) -> tuple[bytes, Record]:
        """The encoded file, and the record completed with its digest and measured change.

        Args:
            format_name: see `io.write.output_format`.
            allow_lossy: accept compression that exceeds the budget, with a warning in the record.

        Raises:
            PictureError: the format cannot hold the picture, or the change exceeds the budget.
        """
        data = encode_picture(self.picture, format_name, marker=self._marker())
        change = largest_change_levels(self.original, decode_picture(data, self.picture.source, max_pixels=sys.maxsize))
        budget = self.record.config["budget_levels"]
        warnings = (*self.record.warnings, *left_out(self.picture, format_name))
        if change > int(str(budget)):
            if not allow_lossy:
                raise PictureError(
                    f"{self.picture.source}: would change by {change} levels, over the budget of {budget}; nothing was written, "
                    "please report this"
                )
            warnings = (
                *warnings,
                f"lossy compression changed pixels by up to {change} levels, over the budget of {budget}",
            )
        digest = hashlib.sha256(data).hexdigest()
        added = None
        if self.record.config["until"] is not None:
            added = len(data) - len(encode_picture(self.original, format_name, marker=self._marker()))
        return data, replace(
            self.record, output_sha256=digest, max_change_levels=change, warnings=warnings, bytes_added=added
        )

    def save(self, path: str | Path, *, allow_lossy: bool = False, overwrite: bool = False) -> Record:
        """Write the file atomically, after measuring the budget on its encoded bytes.

        Returns:
            The record completed with the output's path, digest and measured change.

        Raises:
            UsageError: lossy or unknown format.
            PictureError: the file exists or cannot be written, or a lossless file exceeds the budget.
        """
        path = Path(path)
        data, record = self.encoded(output_format(path, allow_lossy=allow_lossy), allow_lossy=allow_lossy)
        write_bytes(data, path, overwrite=overwrite)
        return replace(record, output=str(path))

    def _marker(self) -> str:
        record = self.record
        facts = {
            "version": record.versions["pca_protect"],
            "mode": record.config["mode"],
            "vae": record.vae["name"],
            "test_only": record.test_only,
            "budget_levels": record.config["budget_levels"],
            "warnings": record.warnings,
        }
        return json.dumps(facts)


def protect(
    picture: str | Path | Image.Image | Picture | NDArray[Any] | Tensor,
    config: ProtectConfig | None = None,
    *,
    surrogate: AnySurrogate | Sequence[Surrogate] | None = None,
    mask: Mask | NDArray[np.uint8] | Image.Image | None = None,
    evaluate: bool = True,
    on_step: Progress | None = None,
) -> Protected:
    """Perturb a picture within its budget so that diffusion edits of it go wrong.

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
        The protected picture with its record. Nothing is written until `save`.

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
    return protect_batch([original], config, surrogate=surrogate, masks=masks, evaluate=evaluate, on_step=on_step)[0]


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
        raise UsageError("`until` needs the evaluation; leave one of them out")
    if isinstance(config.until, str):
        return [
            _until_preset(picture, config, surrogate, mask, on_step)
            for picture, mask in zip(pictures, masks or [None] * len(pictures), strict=True)
        ]
    reset_peak(surrogate.device)
    frames_of: list[list[_Frame]] = [[] for _ in pictures]
    parts = [
        part
        for number, (picture, mask) in enumerate(zip(pictures, masks or [None] * len(pictures), strict=True))
        for part in _parts(number, picture, mask, config)
    ]
    for (height, width), run in groupby(parts, key=lambda part: (part.picture.height, part.picture.width)):
        at_once = batch_size(surrogate, demand(config, height=height, width=width), at_most=config.batch)
        for chunk in _chunks(list(run), at_once):
            for part, frame in zip(chunk, _protected_frames(chunk, config, surrogate, evaluate, on_step), strict=True):
                frames_of[part.number].append(frame)
    return [_joined(picture, frames, config, surrogate) for picture, frames in zip(pictures, frames_of, strict=True)]


class _OutOfReachError(PictureError):
    """The change does not have the effect that is wanted."""


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
            f"{picture.source}: preset {config.until} is no better than noise here; give a number to `until`"
        )
    try:
        numbered = replace(config, until=wanted)
        (done,) = protect_batch([picture], numbered, surrogate=surrogate, masks=[mask], on_step=on_step)
        seconds = reached.record.seconds + done.record.seconds
    except _OutOfReachError:
        if config.max_visibility is not None:
            raise
        done, seconds = reached, reached.record.seconds
    record = replace(done.record, config=config.as_dict(), config_digest=config.digest(), seconds=seconds)
    return replace(done, record=record)


@dataclass(frozen=True)
class _Part:
    """One frame of one picture, and its mask."""

    number: int
    frame: int
    picture: Picture
    mask: Mask | None


@dataclass(frozen=True)
class _Frame:
    """One protected frame; `evaluation` is None if it was not requested."""

    number: int
    protected: Picture
    change_levels: int
    evaluation: Evaluation | None
    tile_px: int
    seconds: float
    steps: int


def _parts(number: int, picture: Picture, mask: Mask | None, config: ProtectConfig) -> list[_Part]:
    """The frames with editable pixels; other frames of an animation stay unchanged.

    Raises:
        PictureError: no frame has an editable pixel.
    """
    parts, refused = [], []
    for index, frame in enumerate((picture, *picture.following)):
        still = replace(frame, source=picture.source, following=())
        try:
            parts.append(_Part(number, index, still, editable_mask(still, config.region, mask)))
        except PictureError as error:
            refused.append(error)
    if not parts:
        raise refused[0]
    return parts


def _chunks(parts: list[_Part], at_once: int) -> Iterator[list[_Part]]:
    for start in range(0, len(parts), at_once):
        yield parts[start : start + at_once]


def _protected_frames(
    parts: list[_Part], config: ProtectConfig, surrogate: AnySurrogate, evaluate: bool, on_step: Progress | None
) -> list[_Frame]:
    """Protect pictures of one size. If the device runs out of memory, retries with smaller batches, then with checkpointing,
    then with smaller windows; only the last changes the result."""
    started = time.perf_counter()
    first = parts[0].picture
    plan = choose_plan(surrogate, demand(config, height=first.height, width=first.width), source=first.source)
    plans = candidate_plans(surrogate, config.tile_px)
    for attempt in plans[plans.index(plan) :]:
        results = _attempt(parts, config, surrogate, attempt, evaluate, on_step)
        if results is not None:
            seconds = (time.perf_counter() - started) / len(parts)
            return [
                _Frame(
                    part.frame,
                    protected,
                    largest_change(part.picture.rgb, protected.rgb),
                    measured,
                    attempt.tile_px,
                    seconds,
                    steps,
                )
                for part, (protected, measured, steps) in zip(parts, results, strict=True)
            ]
        empty_cache(surrogate.device)
        if len(parts) > 1:
            halves = parts[: len(parts) // 2], parts[len(parts) // 2 :]
            return [frame for half in halves for frame in _protected_frames(half, config, surrogate, evaluate, on_step)]
    raise DeviceError(
        f"{first.source}: {surrogate.device} has no memory for windows of {plans[-1].tile_px} px; use `device=cpu`"
    )


def _attempt(
    parts: list[_Part],
    config: ProtectConfig,
    surrogate: AnySurrogate,
    plan: MemoryPlan,
    evaluate: bool,
    on_step: Progress | None,
) -> list[tuple[Picture, Evaluation | None, int]] | None:
    """None if the device ran out of memory. The error is not passed on: its traceback would keep the tensors alive."""
    pictures = [part.picture for part in parts]
    batch = Batch(
        [picture.rgb for picture in pictures],
        [part.mask for part in parts],
        [picture.gray for picture in pictures],
    )
    encoder = surrogate.checkpointed if plan.checkpointed else surrogate
    try:
        changed = perturb(batch, config, surrogate=encoder, tile_px=plan.tile_px, on_step=on_step)
        protected = [replace(picture, rgb=levels) for picture, levels in zip(pictures, changed.levels, strict=True)]
        if not evaluate:
            return [(picture, None, steps) for picture, steps in zip(protected, changed.steps, strict=True)]
        return [
            (*_evaluated(part, picture, config, surrogate, plan), steps)
            for part, picture, steps in zip(parts, protected, changed.steps, strict=True)
        ]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def _evaluated(
    part: _Part, protected: Picture, config: ProtectConfig, surrogate: AnySurrogate, plan: MemoryPlan
) -> tuple[Picture, Evaluation]:
    """The protected picture and its evaluation; with `until`, of the smallest share of the change that suffices.

    Raises:
        PictureError: the whole change does not suffice.
    """

    def measured(picture: Picture) -> Evaluation:
        return evaluation.evaluate(
            part.picture,
            picture,
            surrogate=surrogate,
            criteria=criteria(config, tile_px=plan.tile_px),
            mask=part.mask,
            sample_px=None if config.recipe.steps or config.until else evaluation.SAMPLE_PX,
        )

    whole = measured(protected)
    if config.until is None:
        return protected, whole
    wanted = float(config.until)
    if whole.gain_over_noise < wanted:
        raise _OutOfReachError(f"{part.picture.source}: {_out_of_reach(whole, wanted, config)}")
    tried = {1.0: (protected, whole)}

    def gain(share: float) -> float:
        picture = replace(protected, rgb=scaled(part.picture.rgb, protected.rgb, share))
        tried[share] = (picture, measured(picture))
        return tried[share][1].gain_over_noise

    return tried[smallest_share(gain, whole.gain_over_noise, wanted)]


def _out_of_reach(reached: Evaluation, wanted: float, config: ProtectConfig) -> str:
    gain = math.floor(100 * reached.gain_over_noise) / 100
    short = f"the latent moved {gain:g} times as far as noise moves it, not {wanted:.3g} times"
    if config.max_visibility is None:
        return f"{short}; use `until={gain:g}`, more steps or a larger budget"
    visible = config.max_visibility * wanted / reached.gain_over_noise
    return f"{short}, at a visibility of {config.max_visibility:g}; use `until={gain:g}` or about `max_visibility={visible:.2g}`"


def _joined(original: Picture, frames: list[_Frame], config: ProtectConfig, surrogate: AnySurrogate) -> Protected:
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
        init="zero" if init_for(surrogate, config) is None else "universal",
        steps=max(frame.steps for frame in frames),
        tile_px=min(frame.tile_px for frame in frames),
        seconds=sum(frame.seconds for frame in frames),
        peak_megabytes=peak_megabytes(surrogate.device),
        warnings=(*surrogate.warnings, *original.read_warnings, *_warnings(weakest, frames, config)),
        versions=versions(),
    )
    return Protected(protected, original, record)


def _warnings(weakest: Evaluation | None, frames: list[_Frame], config: ProtectConfig) -> Iterator[str]:
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
