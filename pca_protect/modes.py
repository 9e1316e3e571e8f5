"""Modes: what the optimiser is after. One entry in `MODES` is all that the command line, the page and the engine read.

Standard library only: the command line imports this before torch.
"""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pca_protect.errors import RenamedWarning, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from pca_protect.attack.posterior import Posterior

    Loss = Callable[[Posterior, Posterior], Tensor]

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Mode:
    """A loss and what is done with it. Exactly one of `target_variance` and `loss` is given.

    Attributes:
        aim: one phrase, for the command line's help.
        direction: `up` maximises the loss, `down` minimises it.
        target_variance: v of the published loss, see `losses.posterior_collapse`; `posterior` is the clean posterior's own.
        loss: another loss: `(posterior, clean posterior) -> (B,)`, or its import path `package.module:function`.
        logarithmic: optimise the logarithm of the loss, which has to be positive then. Values of different encoders and
            scales are comparable on that scale, and a visibility penalty needs it.
        visibility_weight: of the visibility penalty, see `VisibilityPenalty`; 0 is none.
        label: a few words, for the page; empty is the name.
        note: what was measured, one or two sentences, for the page.
    """

    aim: str
    direction: Direction
    target_variance: float | Literal["posterior"] | None = None
    loss: Loss | str | None = None
    logarithmic: bool = False
    visibility_weight: float = 0.0
    label: str = ""
    note: str = ""

    @property
    def variance(self) -> float | Literal["posterior"]:
        """Target variance of the published loss.

        Raises:
            ValueError: the mode has another loss.
        """
        if self.target_variance is None:
            raise ValueError("the mode has no target variance")
        return self.target_variance

    @property
    def loss_name(self) -> str:
        """For records: `collapse`, or the name of the other loss' function."""
        if self.loss is None:
            return "collapse"
        name = self.loss if isinstance(self.loss, str) else getattr(self.loss, "__name__", type(self.loss).__name__)
        return name.rpartition(":")[2]

    def resolved_loss(self) -> Loss | None:
        """The other loss as a function; None is the published one."""
        return pkgutil.resolve_name(self.loss) if isinstance(self.loss, str) else self.loss


MODES: dict[str, Mode] = {
    # Guo et al., arXiv 2408.10901.
    "diffusion": Mode(
        "edits change the picture as little as possible (PCA+)",
        "up",
        target_variance=1.0,
        label="Keep my picture unchanged by edits",
        note="The published aim. On the built-in test editors, edits came out different but did not stay close to the picture.",
    ),
    "concentration": Mode(
        "edits come out ruined (PCA-)",
        "down",
        target_variance=1e-8,
        label="Make edits fail",
        note="Edits shall come out ruined. On the built-in test editors they still followed the prompt about as well.",
    ),
    # The weight was chosen on photographs that no result is reported on: the highest that costs hardly any effect.
    "subtle": Mode(
        "edits come out ruined, with less to see for it",
        "up",
        loss="pca_protect.attack.objectives:power",
        logarithmic=True,
        visibility_weight=15.0,
        label="Make edits fail, with less to see",
        note="Our own: at least the published effect on the built-in test editors at about half of what can be seen. Making "
        "the picture smaller removes most of it; choose where it will be posted.",
    ),
}

PUBLISHED_MODES = ("diffusion", "concentration")

RENAMED_MODES = {"strong": "subtle"}
"""Names until 0.1, and their present form."""


def register_mode(
    name: str,
    loss: Loss,
    *,
    direction: Direction = "up",
    aim: str = "",
    logarithmic: bool = True,
    visibility_weight: float = 0.0,
) -> None:
    """Add a mode of one's own for this process. `protect`, `protect_batch` and `PosteriorCollapse` take its name, and give it
    windows, scales, masks, several encoders and EOT.

    >>> from pca_protect import register_mode
    >>> register_mode("far", lambda now, clean: (now.mean - clean.mean).square().flatten(1).mean(1) + 1e-3)

    Args:
        name: of the mode.
        loss: `(posterior, clean posterior) -> (B,)`, differentiable in the first; one value per image.
        direction, aim, logarithmic, visibility_weight: see `Mode`.

    Raises:
        UsageError: the name is taken, the direction is unknown, or the penalty comes without a logarithm.
    """
    if name in MODES or name in RENAMED_MODES or not name:
        raise UsageError(f"mode {name!r} exists; choose another name")
    if direction not in ("up", "down"):
        raise UsageError(f"unknown direction {direction!r}; choose up or down")
    if visibility_weight < 0 or (visibility_weight and not logarithmic):
        raise UsageError(
            f"visibility weight {visibility_weight} needs to be at least 0, and a logarithmic loss where it is above"
        )
    MODES[name] = Mode(aim or name, direction, loss=loss, logarithmic=logarithmic, visibility_weight=visibility_weight)


def present_name(what: str, name: str, renamed: dict[str, str]) -> str:
    """The present form of a name, with a `RenamedWarning` where it has been renamed."""
    if name not in renamed:
        return name
    warnings.warn(f"{what} {name} is called {renamed[name]} now; use that name", RenamedWarning, stacklevel=4)
    return renamed[name]
