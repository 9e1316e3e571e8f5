"""What `pca-protect bench editing` measures. Standard library only: the command line imports this before torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pca_protect.config import Device, Precision, ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.arms.registry import CHIEF_ARMS, CONTROLS, DEFAULT_ARMS, arms_named
from pca_protect.eval.metrics.registry import DEFAULT_METRICS, QUICK_METRICS, metrics_named

PAPER_PROMPTS = ("snow", "sunset", "watercolor")
"""Styles with the three prompts of the paper."""

ALL_PROMPTS = (*PAPER_PROMPTS, "night", "sketch")


@dataclass(frozen=True)
class EditingConfig:
    """One editing benchmark, validated when it is made.

    Attributes:
        images: a folder of pictures; each is cropped to a square and resized to what the editor takes.
        pictures: use so many of them at most; None for all.
        editors: see `load_editor`.
        arms: names of `ARMS`; the two noise controls are always measured.
        budgets: in 8-bit levels.
        prompts: names of styles, or free text.
        seeds: edits of each picture with each prompt, with the seeds from 0 on.
        strength, guidance, steps: of the editor; None for the editor's own.
        metrics: names of `METRICS`.
        visible: further ones, in which only the protection itself is measured.
        batch: edits made at a time.
        device: `auto` prefers cuda, then mps, then cpu.
        precision: of the editor; protections are made in fp32.
        seed: draws noise and whatever else an arm draws.

    Raises:
        UsageError: a value is unknown or out of range.
    """

    images: str
    pictures: int | None = None
    editors: tuple[str, ...] = ("pocket-editor",)
    arms: tuple[str, ...] = DEFAULT_ARMS
    budgets: tuple[int, ...] = (16,)
    prompts: tuple[str, ...] = PAPER_PROMPTS
    seeds: int = 3
    strength: float | None = None
    guidance: float | None = None
    steps: int | None = None
    metrics: tuple[str, ...] = DEFAULT_METRICS
    visible: tuple[str, ...] = ()
    batch: int = 9
    device: Device = "auto"
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        arms_named(self.arms)
        metrics_named((*self.metrics, *self.visible))
        for what, values in (("editor", self.editors), ("budget", self.budgets), ("prompt", self.prompts)):
            if not values:
                raise UsageError(f"no {what} given; name one at least")
            if len(set(values)) < len(values):
                raise UsageError(f"{what}s {', '.join(map(str, values))}: one is given twice; each counts once")
        for budget in self.budgets:
            ProtectConfig(budget_levels=budget)
        for what, number in (("seeds", self.seeds), ("pictures", self.pictures), ("batch", self.batch)):
            if number is not None and number < 1:
                raise UsageError(f"{what} {number}: has to be 1 or more")

    def arm_names(self) -> tuple[str, ...]:
        """Those asked for and the controls, in the order of the table."""
        return tuple(arm.name for arm in arms_named((*CONTROLS, *self.arms)))

    def as_dict(self) -> dict[str, object]:
        """Plain values that decide what is measured. Where the pictures lie does not; which ones they are does, and is
        not known here."""
        settings = {**asdict(self), "arms": self.arm_names()}
        del settings["images"], settings["pictures"]
        return settings


QUICK_PICTURES, QUICK_SEEDS = 6, 1
QUICK_ARMS = (*CHIEF_ARMS, "photoguard", "advdm", "balanced-diffusion", "balanced-concentration")


def quick(images: str) -> EditingConfig:
    """Fewer of everything, for a first look."""
    return EditingConfig(images, QUICK_PICTURES, arms=QUICK_ARMS, seeds=QUICK_SEEDS, metrics=QUICK_METRICS)


PROMPT_ARMS = (*CHIEF_ARMS, "advdm")


def prompts(images: str, *, quick: bool = False) -> EditingConfig:
    """What `bench prompts` measures: fewer arms, every prompt."""
    metrics = QUICK_METRICS
    if quick:
        return EditingConfig(
            images, QUICK_PICTURES, arms=PROMPT_ARMS, prompts=ALL_PROMPTS, seeds=QUICK_SEEDS, metrics=metrics
        )
    return EditingConfig(images, arms=PROMPT_ARMS, prompts=ALL_PROMPTS, seeds=2, metrics=metrics)
