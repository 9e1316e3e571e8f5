"""The table `cost`: measured arms with their references and targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.benches.cost.arms import MODE, Arm, Measured, Startup
from pca_protect.eval.benches.cost.config import METHODS, PCA
from pca_protect.eval.results import Row

OVERHEAD_LIMIT = 1.15
"""Maximum time of a complete protection, in units of its bare encoder passes."""
SPEED_UP = 1.4
"""Minimum speed-up of a step over a published one, at less memory. On one CPU core, omitting the weight gradients (a third of the
published step's operations) can give 1.5."""
CHECKPOINT_LIMIT, CHECKPOINT_SHARE = 1.4, 0.5
"""With checkpoints: maximum time of a step in units of one without, and maximum memory above the weights as a share of the
published loop's."""
GPU_SPEED_UP, GPU_SHARE, GPU_FAST_SPEED_UP = 5.0, 1 / 3, 8.0
"""In bf16 on CUDA: minimum speed-up of a step per picture over a published one; maximum share of its memory at batch 1; minimum
speed-up of all steps of `fast` over all published ones."""
STARTUP_SECONDS = 0.5
"""Maximum time of `protect --help`, which must not import torch."""

_YARDSTICKS = {
    "paper": "bare",
    "balanced": "bare",
    "ours": "published",
    "ours-compiled": "published",
    "ours-fast": "published",
    "ours-little-memory": "ours",
    **{name: PCA for name in METHODS if name != PCA},
}

COLUMNS = (
    *("arm", "vae", "mode", "needs", "size_px", "steps", "device", "precision", "batch"),
    *("seconds", "seconds_per_step", "first_seconds", "peak_megabytes", "weights_megabytes"),
    *("teraflop_per_step", "teraflops", "matrix_teraflops", "share_of_matrix_rate"),
    *("ratio", "against", "target", "met", "note"),
)
"""`seconds` (of a run) and `seconds_per_step` are per picture (a batch's time divided by its size), medians over rounds.
`first_seconds`: first step of the whole batch. `teraflop_per_step`: 10^12 operations of a step per picture; `teraflops`: 10^12
operations per second; `matrix_teraflops`: the same for products of large matrices in the same precision, or TF32 for float32 on
CUDA, on the same device and threads; `share_of_matrix_rate`: teraflops / matrix_teraflops. `ratio`: this arm's time over that of
the arm `against`; below 1 is faster. `needs`: whether a method uses the encoder alone or the denoiser as well."""

_Place = tuple[str, int]
"""VAE and size; compared arms share both."""


def arm_rows(measured: Sequence[tuple[Arm, Measured]]) -> list[Row]:
    """One row per arm, in order."""
    places: dict[_Place, dict[str, Measured]] = {}
    for arm, one in measured:
        if arm.batch == 1:
            places.setdefault(_place(arm), {}).setdefault(arm.name, one)
    return [_arm_row(arm, one, places[_place(arm)]) for arm, one in measured]


def startup_row(startup: Startup) -> Row:
    return {
        **dict.fromkeys(COLUMNS),
        "arm": "startup",
        "seconds": startup.seconds,
        "target": f"seconds < {STARTUP_SECONDS}, no torch",
        "met": startup.seconds < STARTUP_SECONDS and not startup.imports_torch,
        "note": f"protect --help, torch {'' if startup.imports_torch else 'not '}imported",
    }


def _arm_row(arm: Arm, measured: Measured, beside: Mapping[str, Measured]) -> Row:
    """`beside`: arms at batch 1 with the same VAE and size, by name."""
    against = _YARDSTICKS.get(arm.name)
    ratio = None if against is None else _ratio(arm, measured, beside[against])
    target, met = _verdict(arm, measured, beside, ratio)
    seconds = statistics.median(measured.seconds) / arm.batch if measured.seconds else None
    method = ARMS[arm.name] if arm.name in METHODS else None
    per_step = None if seconds is None else seconds / arm.steps
    teraflop = None if measured.operations is None else measured.operations / arm.batch / 1e12
    matrix = None if measured.matrix_rate is None else measured.matrix_rate / 1e12
    achieved = None if teraflop is None or per_step is None else teraflop / per_step
    return {
        "arm": arm.name,
        "vae": measured.vae,
        "mode": method.mode or None if method else MODE,
        "needs": method.needs if method else None,
        "size_px": arm.picture.width,
        "steps": arm.steps,
        "device": arm.device,
        "precision": measured.precision,
        "batch": arm.batch,
        "seconds": seconds,
        "seconds_per_step": per_step,
        "first_seconds": measured.first_seconds,
        "peak_megabytes": measured.peak_megabytes,
        "weights_megabytes": measured.weights_megabytes,
        "teraflop_per_step": teraflop,
        "teraflops": achieved,
        "matrix_teraflops": matrix,
        "share_of_matrix_rate": None if achieved is None or matrix is None else achieved / matrix,
        "ratio": ratio,
        "against": against,
        "target": target,
        "met": met,
        "note": measured.note,
    }


def _verdict(
    arm: Arm, measured: Measured, beside: Mapping[str, Measured], ratio: float | None
) -> tuple[str | None, bool | None]:
    """The target of an arm (None without a target), and whether it is met (None if not measured)."""
    if arm.name in ("paper", "balanced"):
        return f"ratio <= {OVERHEAD_LIMIT}", None if ratio is None else ratio <= OVERHEAD_LIMIT
    if arm.name == "ours-little-memory":
        limit = CHECKPOINT_SHARE * _above_weights(beside["published"])
        target = f"ratio <= {CHECKPOINT_LIMIT}, memory above weights <= {CHECKPOINT_SHARE} of published"
        return target, None if ratio is None else ratio <= CHECKPOINT_LIMIT and _above_weights(measured) <= limit
    if arm.device.startswith("cuda") and arm.name in ("ours", "ours-compiled") and arm.precision == "bf16":
        fast = None if ratio is None else ratio <= 1 / GPU_SPEED_UP
        if arm.batch > 1:
            return f"ratio <= {1 / GPU_SPEED_UP}", fast
        small = measured.peak_megabytes <= GPU_SHARE * beside["published"].peak_megabytes
        target = f"ratio <= {1 / GPU_SPEED_UP}, memory <= {GPU_SHARE:.2g} of published"
        return target, None if fast is None else fast and small
    if arm.name == "ours-fast":
        return (
            f"ratio of all steps <= 1 / {GPU_FAST_SPEED_UP:g}",
            None if ratio is None else ratio <= 1 / GPU_FAST_SPEED_UP,
        )
    if arm.name == "ours" and arm.batch == 1:
        less_memory = measured.peak_megabytes < beside["published"].peak_megabytes
        return f"ratio <= 1 / {SPEED_UP}, less memory", None if ratio is None else ratio <= 1 / SPEED_UP and less_memory
    if arm.name in METHODS and ARMS[arm.name].mode:
        rivals = {name: one for name, one in beside.items() if name in METHODS and ARMS[name].needs == "denoiser"}
        if rivals:
            target = f"less time and memory than {', '.join(rivals)}"
            return target, _is_cheaper(arm, measured, list(rivals.values()))
    return None, None


def _above_weights(measured: Measured) -> float:
    return measured.peak_megabytes - measured.weights_megabytes


def _is_cheaper(arm: Arm, measured: Measured, rivals: Sequence[Measured]) -> bool | None:
    """Whether an arm takes less time and memory than every rival; None if any of them has no time."""
    ratios = [ratio for rival in rivals if (ratio := _ratio(arm, measured, rival)) is not None]
    if len(ratios) < len(rivals):
        return None
    return max(ratios) < 1 and all(measured.peak_megabytes < rival.peak_megabytes for rival in rivals)


def _ratio(arm: Arm, measured: Measured, yardstick: Measured) -> float | None:
    """Median over rounds of the ratio of times per picture; arms ran in turn, so rounds are pairs. Yardsticks run at batch 1."""
    if not measured.seconds or not yardstick.seconds:
        return None
    pairs = zip(measured.seconds, yardstick.seconds, strict=True)
    return statistics.median(ours / arm.batch / theirs for ours, theirs in pairs)


def _place(arm: Arm) -> _Place:
    return arm.vae, arm.picture.width
