"""Frames of one size through attack and evaluation, with less memory where the device runs out of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pca_protect import evaluation
from pca_protect.attack.stopping import smallest_share
from pca_protect.attack.visibility import scaled
from pca_protect.config import ProtectConfig
from pca_protect.device import cuda_arithmetic, empty_cache, is_out_of_memory
from pca_protect.engine import Progress, criteria, demand, perturb
from pca_protect.errors import DeviceError, PictureError
from pca_protect.evaluation import Evaluation, largest_change
from pca_protect.image.batch import Batch
from pca_protect.image.masks import editable_mask
from pca_protect.image.tensors import Mask
from pca_protect.io.picture import Picture
from pca_protect.memory import MemoryPlan, candidate_plans, choose_plan
from pca_protect.surrogates.encoder import AnySurrogate

_SIZES_SEEN: set[tuple[int, ...]] = set()
"""Sizes of batches so far. cuDNN times its algorithms from the second batch of a size on: with a new size for every picture, the
timing would take longer than it saves."""


class OutOfReachError(PictureError):
    """The change does not have the effect that is wanted."""


@dataclass(frozen=True)
class Part:
    """One frame of one picture, and its mask."""

    number: int
    frame: int
    picture: Picture
    mask: Mask | None


@dataclass(frozen=True)
class Frame:
    """One protected frame; `evaluation` is None if it was not requested."""

    number: int
    protected: Picture
    change_levels: int
    evaluation: Evaluation | None
    tile_px: int
    seconds: float
    steps: int


def parts_of(number: int, picture: Picture, mask: Mask | None, config: ProtectConfig) -> list[Part]:
    """The frames with editable pixels; other frames of an animation stay unchanged.

    Raises:
        PictureError: no frame has an editable pixel.
    """
    parts, refused = [], []
    for index, frame in enumerate((picture, *picture.following)):
        still = replace(frame, source=picture.source, following=())
        try:
            parts.append(Part(number, index, still, editable_mask(still, config.region, mask)))
        except PictureError as error:
            refused.append(error)
    if not parts:
        raise refused[0]
    return parts


def chunks(parts: list[Part], at_once: int) -> Iterator[list[Part]]:
    for start in range(0, len(parts), at_once):
        yield parts[start : start + at_once]


def protected_frames(
    parts: list[Part], config: ProtectConfig, surrogate: AnySurrogate, evaluate: bool, on_step: Progress | None
) -> list[Frame]:
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
                Frame(
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
            return [frame for half in halves for frame in protected_frames(half, config, surrogate, evaluate, on_step)]
    remedy = "close other programs" if surrogate.device.type == "cpu" else "use `device=cpu`"
    raise DeviceError(
        f"{first.source}: {surrogate.device} has no memory for windows of {plans[-1].tile_px} px; {remedy}"
    )


def _attempt(
    parts: list[Part],
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
    size = (len(parts), *batch.size, plan.tile_px)
    is_repeated = size in _SIZES_SEEN
    _SIZES_SEEN.add(size)
    try:
        with cuda_arithmetic(surrogate.device, benchmark=is_repeated):
            changed = perturb(batch, config, surrogate=encoder, tile_px=plan.tile_px, on_step=on_step)
            protected = [replace(picture, rgb=levels) for picture, levels in zip(pictures, changed.levels, strict=True)]
            if not evaluate:
                return [(picture, None, steps) for picture, steps in zip(protected, changed.steps, strict=True)]
            pairs = [
                evaluation.Pair(part.picture, picture, part.mask)
                for part, picture in zip(parts, protected, strict=True)
            ]
            results = _evaluated(pairs, config, surrogate, plan, on_step)
            return [(*result, steps) for result, steps in zip(results, changed.steps, strict=True)]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def _evaluated(
    pairs: list[evaluation.Pair],
    config: ProtectConfig,
    surrogate: AnySurrogate,
    plan: MemoryPlan,
    on_step: Progress | None,
) -> list[tuple[Picture, Evaluation]]:
    """The protected pictures and their evaluations; with `until`, of the smallest share of the change that suffices.

    Raises:
        PictureError: the whole change does not suffice.
    """

    def on_window() -> None:
        if on_step is not None:
            steps = max(1, config.recipe.steps)
            on_step(steps, steps, math.nan)

    def measured(pairs: list[evaluation.Pair]) -> list[Evaluation]:
        return evaluation.evaluate_batch(
            pairs,
            surrogate=surrogate,
            criteria=criteria(config, tile_px=plan.tile_px),
            sample_px=None if config.recipe.steps or config.until else evaluation.SAMPLE_PX,
            on_window=on_window,
        )

    whole = measured(pairs)
    if config.until is None:
        return [(pair.protected, figures) for pair, figures in zip(pairs, whole, strict=True)]
    return [
        _smallest(pair, figures, config, lambda scaled_pair: measured([scaled_pair])[0])
        for pair, figures in zip(pairs, whole, strict=True)
    ]


def _smallest(
    pair: evaluation.Pair,
    whole: Evaluation,
    config: ProtectConfig,
    measured: Callable[[evaluation.Pair], Evaluation],
) -> tuple[Picture, Evaluation]:
    """The picture with the smallest share of its change that reaches `until`."""
    wanted, original, protected = float(config.until or 0), pair.original, pair.protected
    if whole.gain_over_noise < wanted:
        raise OutOfReachError(f"{original.source}: {_out_of_reach(whole, wanted, config)}")
    tried = {1.0: (protected, whole)}

    def gain(share: float) -> float:
        picture = replace(protected, rgb=scaled(original.rgb, protected.rgb, share))
        tried[share] = (picture, measured(replace(pair, protected=picture)))
        return tried[share][1].gain_over_noise

    return tried[smallest_share(gain, whole.gain_over_noise, wanted)]


def _out_of_reach(reached: Evaluation, wanted: float, config: ProtectConfig) -> str:
    gain = math.floor(100 * reached.gain_over_noise) / 100
    short = f"the latent shift is {gain:g} times that of noise, not {wanted:.3g} times"
    if config.max_visibility is None:
        return f"{short}; use `until={gain:g}`, more steps or a larger budget"
    visible = config.max_visibility * wanted / reached.gain_over_noise
    return f"{short}, at `max_visibility={config.max_visibility:g}`; use `until={gain:g}` or about `max_visibility={visible:.2g}`"
