"""Presets: schedules of the optimiser, and processing that a protection survives.

Standard library only: the command line imports this before torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["constant", "linear", "cosine"]
InitName = Literal["zero", "universal"]


@dataclass(frozen=True)
class Recipe:
    """Schedule of the optimiser. Step lengths are fractions of the budget, so that a recipe fits every budget.

    Attributes:
        steps: gradient steps.
        schedule: of the step length.
        rel_stepsize: length of the first step, in budgets.
        momentum: decay of the sum of gradients (arXiv 1710.06081).
        keep_best: return the best iterate and not the last, at the price of one forward pass.
        summary: one phrase, for the command line's help.
        descent_stepsize_scale: factor on the step length for objectives whose optimum is in the interior of the L-inf ball,
            which long steps overshoot: descended losses, and those with a visibility penalty or limit.
        init: `universal` starts from the encoder's universal perturbation, see `attack.universal`, and from zero if there is
            none; a recipe without steps requires one. `zero` starts from the clean picture.
        init_scale: factor on that perturbation. At 1 it is close to the vertices of the ball, which few steps leave.
        descent_steps: gradient steps where the loss is descended, None for `steps`: no universal perturbation shrinks the
            latent of every picture.
    """

    steps: int
    schedule: ScheduleName
    rel_stepsize: float
    momentum: float
    keep_best: bool
    summary: str
    descent_stepsize_scale: float = 1.0
    init: InitName = "zero"
    init_scale: float = 1.0
    descent_steps: int | None = None


PRESETS: dict[str, Recipe] = {
    # 16/255 with steps of 2/255 in the published settings, hence an eighth.
    "paper": Recipe(40, "constant", 1 / 8, 0.0, False, "the published loop, step for step"),
    # Step lengths, momentum and init_scale were chosen on photographs that no result is reported on. Longer first steps win at
    # every number of steps if they decay.
    "instant": Recipe(
        0,
        "linear",
        3 / 2,
        0.3,
        False,
        "a universal perturbation and no steps, or two",
        descent_stepsize_scale=1 / 3,
        init="universal",
        descent_steps=2,
    ),
    "fast": Recipe(
        8,
        "linear",
        3 / 2,
        0.3,
        False,
        "a fifth of the steps",
        descent_stepsize_scale=1 / 3,
        init="universal",
        init_scale=0.3,
    ),
    "balanced": Recipe(40, "cosine", 3 / 5, 0.7, True, "the default: goes further at equal steps"),
    "thorough": Recipe(120, "cosine", 3 / 5, 0.7, True, "three times the steps"),
}

RENAMED_PRESETS = {"strong": "thorough"}
"""Names until 0.1, and their present form."""


@dataclass(frozen=True)
class Processing:
    """Processing of pictures after they are protected; its transforms are in `transforms.EOT_PRESETS`.

    Attributes:
        summary: one phrase, for the command line's help.
        longest_px: longer side to which larger pictures are downscaled; None keeps the size.
        max_visibility_weight: upper limit on the weight of a mode's visibility penalty.
    """

    summary: str
    longest_px: int | None = None
    max_visibility_weight: float = math.inf


SURVIVE = {
    "jpeg": Processing("JPEG compression"),
    # Only coarse changes survive downscaling, and coarse changes are visible: a higher weight would leave none of them.
    "social": Processing(
        "an upload: JPEG compression, downscaling, or both", longest_px=1080, max_visibility_weight=0.7
    ),
}
"""Values of `ProtectConfig.survive`."""
