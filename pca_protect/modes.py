"""Modes: what the optimiser aims for. The command line, the page and the engine read modes from `MODES` only.

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
    """A loss, its direction and its visibility penalty. Exactly one of `target_variance` and `loss` is set.

    Attributes:
        aim: one phrase for the command line's help.
        direction: `up` maximises the loss, `down` minimises it.
        target_variance: v of the published loss, see `losses.posterior_collapse`; `posterior` is the clean posterior's own.
        loss: a loss other than the published one, `(posterior, clean posterior) -> (B,)`, or its import path
            `package.module:function`.
        logarithmic: optimise the logarithm of the loss, which must then be positive. Logarithms are comparable between
            encoders and scales; a visibility penalty requires them.
        visibility_weight: weight of the visibility penalty, see `VisibilityPenalty`; 0 is no penalty.
        label: a few words for the page; if empty, the name is used.
        note: measured effect in one or two sentences, for the page.
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
        """Name in records: `collapse`, or the name of the loss function."""
        if self.loss is None:
            return "collapse"
        name = self.loss if isinstance(self.loss, str) else getattr(self.loss, "__name__", type(self.loss).__name__)
        return name.rpartition(":")[2]

    def resolved_loss(self) -> Loss | None:
        """`loss` as a function; None for the published loss."""
        return pkgutil.resolve_name(self.loss) if isinstance(self.loss, str) else self.loss


MODES: dict[str, Mode] = {
    # Guo et al., arXiv 2408.10901.
    "diffusion": Mode(
        "disturbs edits (the published PCA+)",
        "up",
        target_variance=1.0,
        label="Disturb edits (published method)",
        note="The published aim. On the built-in test editors, edits came out different but did not stay close to the picture.",
    ),
    "concentration": Mode(
        "removes detail from edits, most visible (the published PCA-)",
        "down",
        target_variance=1e-8,
        label="Remove detail from edits (published method)",
        note="The published aim is ruined edits. On the built-in test editors they followed the prompt about as well as before.",
    ),
    # The largest weight with hardly any loss of effect, chosen on photographs that no result is reported on.
    "subtle": Mode(
        "disturbs edits, less visible",
        "up",
        loss="pca_protect.attack.objectives:power",
        logarithmic=True,
        visibility_weight=15.0,
        label="Disturb edits, less visible (our method)",
        note="Our own: at least the published effect on the built-in test editors at about half the visibility. Downscaling "
        "the picture removes most of the effect; choose where it will be posted.",
    ),
}

PUBLISHED_MODES = ("diffusion", "concentration")

RENAMED_MODES = {"strong": "subtle"}
"""Names until 0.1, mapped to the current names."""


def register_mode(
    name: str,
    loss: Loss,
    *,
    direction: Direction = "up",
    aim: str = "",
    logarithmic: bool = True,
    visibility_weight: float = 0.0,
) -> None:
    """Register a custom mode in this process. `protect`, `protect_batch` and `PosteriorCollapse` accept its name; windows,
    scales, masks, several encoders and EOT work as with built-in modes.

    >>> from pca_protect import register_mode
    >>> register_mode("far", lambda now, clean: (now.mean - clean.mean).square().flatten(1).mean(1) + 1e-3)

    Args:
        name: of the mode.
        loss: `(posterior, clean posterior) -> (B,)`, differentiable in the first; one value per image.
        direction, aim, logarithmic, visibility_weight: see `Mode`.

    Raises:
        UsageError: the name is taken, the direction is unknown, or the weight is negative or lacks a logarithmic loss.
    """
    if name in MODES or name in RENAMED_MODES or not name:
        raise UsageError(f"mode {name!r} exists; choose another name")
    if direction not in ("up", "down"):
        raise UsageError(f"unknown direction {direction!r}; choose up or down")
    if visibility_weight < 0 or (visibility_weight and not logarithmic):
        raise UsageError(
            f"visibility weight {visibility_weight} is invalid; give at least 0, and more than 0 only with a logarithmic loss"
        )
    MODES[name] = Mode(aim or name, direction, loss=loss, logarithmic=logarithmic, visibility_weight=visibility_weight)


def present_name(what: str, name: str, renamed: dict[str, str]) -> str:
    """The current form of a name; issues a `RenamedWarning` if the name has changed."""
    if name not in renamed:
        return name
    warnings.warn(f"{what} {name} was renamed to {renamed[name]}; use that name", RenamedWarning, stacklevel=4)
    return renamed[name]
