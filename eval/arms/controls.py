"""Controls of a comparison: what an effect has to exceed before it counts as an attack on this picture.

Names only, no computation; see `noise` for the perturbations.
"""

from __future__ import annotations

from dataclasses import dataclass

from pca_protect.eval.arms.registry import NOISE_LINF, NOISE_VISIBLE

SEED, NOISE_SPECTRUM, SHUFFLED = "seed", "noise-spectrum", "shuffled"
UNRELATED = "unrelated"


@dataclass(frozen=True)
class Control:
    """Attributes:
    name: in the column `control`.
    what: description in reports, one phrase.
    short: head of a table's column.
    """

    name: str
    what: str
    short: str


_ENTRIES = (
    Control(SEED, "clean edits with other seeds", "other seeds"),
    Control(NOISE_LINF, "uniform noise of the whole budget", "same levels"),
    Control(NOISE_VISIBLE, "uniform noise, as visible as this method on that picture", "same visibility"),
    Control(NOISE_SPECTRUM, "noise with the spectrum of this method's perturbation", "same spectrum"),
    Control(SHUFFLED, "this method's perturbation of another picture", "shuffled"),
)

CONTROL: dict[str, Control] = {control.name: control for control in _ENTRIES}
"""By name. `seed` is the line that decides: a method that does not exceed it moves edits no further than another seed."""

OWN_CONTROLS = (NOISE_SPECTRUM, SHUFFLED)
"""Made from a method's own perturbation; each costs as many edits as the method."""

REFERENCES = (SEED, UNRELATED)
"""Rows without a perturbation: clean edits with other seeds, and edits of an unrelated picture. They bound the effects."""
