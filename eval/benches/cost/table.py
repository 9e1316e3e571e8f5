"""The table `cost`: measured arms beside their yardsticks and targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.benches.cost.arms import MODE, Arm, Measured, Startup
from pca_protect.eval.benches.cost.config import METHODS, PCA
from pca_protect.eval.results import Row

OVERHEAD_LIMIT = 1.15
"""A whole protection may take this many times its bare encoder passes."""
SPEED_UP = 1.4
"""A step has to be this many times as fast as a published one, with less memory. On one CPU core 1.5 is what leaving out the
weight gradients can give: a third of the published step's operations."""
CHECKPOINT_LIMIT, CHECKPOINT_SHARE = 1.4, 0.5
"""With checkpoints a step may take this many times as long as without, for this share of the published loop's memory, that
of the weights not counted."""
GPU_SPEED_UP, GPU_SHARE, GPU_FAST_SPEED_UP = 5.0, 1 / 3, 8.0
"""In bf16 on CUDA a picture's step has to be this many times as fast as a published one; of a single picture also in this
share of its memory. All steps of `fast` together have to be as many times as fast as all published ones."""
STARTUP_SECONDS = 0.5
"""`protect --help` has to take less, and import no torch."""

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
"""`seconds` are of a whole run and `seconds_per_step` of a step, both of one picture (a batch's time divided by its size);
medians over rounds. `first_seconds` are those of the first step of the whole batch. `teraflop_per_step` counts 10^12
operations of a step of one picture, `teraflops` those done a second, `matrix_teraflops` what products of large matrices reach
in the same precision on the same device and threads, and `share_of_matrix_rate` the one over the other. `ratio` is this
arm's time over that of the arm `against`: below 1 is faster. `needs` says of a method whether it looks into the encoder alone
or through the denoiser, too."""

_Place = tuple[str, int]
"""VAE and size: arms are compared where both are the same."""


def arm_rows(measured: Sequence[tuple[Arm, Measured]]) -> list[Row]:
    """One row an arm, in order."""
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
    """`beside`: what ran one picture at a time in the same place, by name."""
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
    """The target of an arm, None where it has none, and whether it is met, None where that was not measured."""
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
    """Whether an arm takes less time and less memory than every rival; None if one of them has no time."""
    ratios = [ratio for rival in rivals if (ratio := _ratio(arm, measured, rival)) is not None]
    if len(ratios) < len(rivals):
        return None
    return max(ratios) < 1 and all(measured.peak_megabytes < rival.peak_megabytes for rival in rivals)


def _ratio(arm: Arm, measured: Measured, yardstick: Measured) -> float | None:
    """Median over rounds of the times per picture; rounds of arms that ran in turns saw the same machine. Yardsticks
    run one picture at a time."""
    if not measured.seconds or not yardstick.seconds:
        return None
    pairs = zip(measured.seconds, yardstick.seconds, strict=True)
    return statistics.median(ours / arm.batch / theirs for ours, theirs in pairs)


def _place(arm: Arm) -> _Place:
    return arm.vae, arm.picture.width
