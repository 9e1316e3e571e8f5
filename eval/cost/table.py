"""The table `cost`: measured arms beside their yardsticks and targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pca_protect.eval.cost.arm import MODE, Arm, ArmName, Measured
from pca_protect.eval.cost.startup import Startup

OVERHEAD_LIMIT = 1.15
"""A whole protection may take this many times its bare encoder passes."""
SPEED_UP = 1.25
"""A step has to be this many times as fast as a published one, with less memory."""
STARTUP_SECONDS = 0.5
"""`protect --help` has to take less, and import no torch."""

_YARDSTICKS: dict[ArmName, ArmName] = {"paper": "bare", "balanced": "bare", "ours": "published"}

COLUMNS = (
    *("arm", "vae", "mode", "size_px", "steps", "device", "precision", "batch"),
    *("seconds", "seconds_per_step", "peak_megabytes", "weights_megabytes"),
    *("ratio", "against", "target", "met", "note"),
)

Row = dict[str, object]
"""`seconds` are of a whole run and `seconds_per_step` of a step, both of one picture (a batch's time divided by its size);
medians over rounds. `ratio` is this arm's time over that of the arm `against`: below 1 is faster."""


def arm_rows(measured: Sequence[tuple[Arm, Measured]]) -> list[Row]:
    """One row an arm, in order."""
    yardsticks = {arm.name: one for arm, one in measured if arm.name in _YARDSTICKS.values()}
    return [_arm_row(arm, one, yardsticks) for arm, one in measured]


def startup_row(startup: Startup) -> Row:
    return {
        **dict.fromkeys(COLUMNS),
        "arm": "startup",
        "seconds": startup.seconds,
        "target": f"seconds < {STARTUP_SECONDS}, no torch",
        "met": startup.seconds < STARTUP_SECONDS and not startup.imports_torch,
        "note": f"protect --help, torch {'' if startup.imports_torch else 'not '}imported",
    }


def _arm_row(arm: Arm, measured: Measured, yardsticks: Mapping[ArmName, Measured]) -> Row:
    against = _YARDSTICKS.get(arm.name)
    yardstick = None if against is None else yardsticks[against]
    ratio = None if yardstick is None else _ratio(arm, measured, yardstick)
    target, met = None, None
    if against == "bare":
        target = f"ratio <= {OVERHEAD_LIMIT}"
        met = None if ratio is None else ratio <= OVERHEAD_LIMIT
    elif yardstick is not None and arm.batch == 1:
        target = f"ratio <= {1 / SPEED_UP}, less memory"
        met = None if ratio is None else ratio <= 1 / SPEED_UP and measured.peak_megabytes < yardstick.peak_megabytes
    seconds = statistics.median(measured.seconds) / arm.batch if measured.seconds else None
    return {
        "arm": arm.name,
        "vae": measured.vae,
        "mode": MODE,
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


def _ratio(arm: Arm, measured: Measured, yardstick: Measured) -> float | None:
    """Median over rounds of the times per picture; rounds of arms that ran in turns saw the same machine. Yardsticks
    run one picture at a time."""
    if not measured.seconds or not yardstick.seconds:
        return None
    pairs = zip(measured.seconds, yardstick.seconds, strict=True)
    return statistics.median(ours / arm.batch / theirs for ours, theirs in pairs)
