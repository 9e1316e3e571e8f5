"""The table `cost`: measured arms beside their yardsticks and targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.cost.arm import MODE, Arm, Measured
from pca_protect.eval.cost.config import METHODS, PCA
from pca_protect.eval.cost.startup import Startup

OVERHEAD_LIMIT = 1.15
"""A whole protection may take this many times its bare encoder passes."""
SPEED_UP = 1.25
"""A step has to be this many times as fast as a published one, with less memory."""
STARTUP_SECONDS = 0.5
"""`protect --help` has to take less, and import no torch."""

_YARDSTICKS = {
    "paper": "bare",
    "balanced": "bare",
    "ours": "published",
    **{name: PCA for name in METHODS if name != PCA},
}

COLUMNS = (
    *("arm", "vae", "mode", "needs", "size_px", "steps", "device", "precision", "batch"),
    *("seconds", "seconds_per_step", "peak_megabytes", "weights_megabytes"),
    *("ratio", "against", "target", "met", "note"),
)

Row = dict[str, object]
"""`seconds` are of a whole run and `seconds_per_step` of a step, both of one picture (a batch's time divided by its size);
medians over rounds. `ratio` is this arm's time over that of the arm `against`: below 1 is faster. `needs` says of a method
whether it looks into the encoder alone or through the denoiser, too."""

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
        "seconds_per_step": None if seconds is None else seconds / arm.steps,
        "peak_megabytes": measured.peak_megabytes,
        "weights_megabytes": measured.weights_megabytes,
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
    if arm.name == "ours" and arm.batch == 1:
        less_memory = measured.peak_megabytes < beside["published"].peak_megabytes
        return f"ratio <= {1 / SPEED_UP}, less memory", None if ratio is None else ratio <= 1 / SPEED_UP and less_memory
    if arm.name in METHODS and ARMS[arm.name].mode:
        rivals = {name: one for name, one in beside.items() if name in METHODS and ARMS[name].needs == "denoiser"}
        if rivals:
            target = f"less time and memory than {', '.join(rivals)}"
            return target, _is_cheaper(arm, measured, list(rivals.values()))
    return None, None


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
