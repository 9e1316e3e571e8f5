"""Settings of the benchmarks of edits: editing, prompts, transfer, purify.

Standard library only: the command line imports this before torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pca_protect.config import ProtectConfig
from pca_protect.device_names import Device, Precision
from pca_protect.errors import UsageError
from pca_protect.eval.arms.registry import (
    CHIEF_ARMS,
    DECIDED_ARMS,
    DEFAULT_ARMS,
    NOISE_LINF,
    NOISE_VISIBLE,
    arms_named,
)
from pca_protect.eval.metrics.registry import DEFAULT_METRICS, QUICK_METRICS, metrics_named
from pca_protect.modes import PUBLISHED_MODES
from pca_protect.surrogates.families import expand

PAPER_PROMPTS = ("snow", "sunset", "watercolor")
"""Styles with the three prompts of the paper."""

ALL_PROMPTS = (*PAPER_PROMPTS, "night", "sketch")

LOCAL_PROMPTS = ("red-sky", "grey-background")
"""Edits of one part of a picture, known to `pocket-instruct`."""

EMBEDDED_VAES = ("pocket", "pocket-b", "pocket-16", "pocket-tiny")

FILTER_NAMES = (
    *("jpeg-95", "jpeg-85", "jpeg-75", "jpeg-65", "jpeg-50", "webp-80", "half-size", "jpeg-75-half-size", "crop"),
    *("blur-1", "noise-0.05", "noise-0.1", "median-3", "adverse-cleaner", "upload"),
)
"""Purifiers without weights."""

MODEL_NAMES = (
    *("vae=pocket-b", "vae=pocket-16", "vae=pocket"),
    *("denoise-0.05=pocket-editor-16", "denoise-0.15=pocket-editor-16", "denoise-0.15=pocket-editor"),
)
"""Default purifiers with a model, `KIND=MODEL`."""


@dataclass(frozen=True)
class BenchConfig:
    """Settings of every benchmark, validated on construction.

    Attributes:
        images: a folder of pictures.
        pictures: maximum number of pictures; None for all.
        device: `auto` prefers cuda, then mps, then cpu.
        seed: of the noise and of methods that draw at random.

    Raises:
        UsageError: a value is unknown or out of range.
    """

    images: str
    pictures: int | None = None
    device: Device = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one(pictures=self.pictures)
        ProtectConfig(device=self.device, seed=self.seed)

    def as_dict(self) -> dict[str, object]:
        """Plain values that determine the measurements. Leaves out the folder; the benchmark adds digests of its pictures."""
        settings = asdict(self)
        for name in ("images", "pictures", *self.of_the_machine()):
            del settings[name]
        return settings

    def of_the_machine(self) -> dict[str, object]:
        """Plain values that are chosen for a machine. They change measurements by rounding only, and may differ in a rerun."""
        return {"device": self.device}


def at_least_one(**numbers: int | None) -> None:
    """Raises:
    UsageError: a number is below 1.
    """
    for what, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError(f"{what} {number}: must be 1 or more")


def distinct(**lists: Sequence[object]) -> None:
    """Args:
        lists: noun for one value, for messages -> the values.

    Raises:
        UsageError: a list is empty or holds a duplicate.
    """
    for what, values in lists.items():
        if not values:
            raise UsageError(f"no {what} given; name at least one")
        if len(set(values)) < len(values):
            raise UsageError(f"{what}s {', '.join(map(str, values))}: contain a duplicate; give each once")


@dataclass(frozen=True)
class EditsConfig(BenchConfig):
    """Common settings of the benchmarks of edits.

    Attributes:
        prompts: names of styles, or free text.
        seeds: number of edits of each picture with each prompt. Clean edits have at least two, see `Trial.clean`.
        batch: edits per call of the editor.
        precision: of the editors; protections run in fp32.
    """

    prompts: tuple[str, ...] = PAPER_PROMPTS
    seeds: int = 1
    batch: int = 9
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(prompt=self.prompts)
        at_least_one(seeds=self.seeds, batch=self.batch)

    def of_the_machine(self) -> dict[str, object]:
        return {**super().of_the_machine(), "batch": self.batch}


@dataclass(frozen=True)
class EditingConfig(EditsConfig):
    """`bench editing` and `bench prompts`. Pictures are cropped to a square and resized to the editor's size.

    Attributes:
        manifest: file with a line per picture, in place of `images` and `prompts`, see `manifest`; empty for none.
        editors: see `load_editor`.
        arms: names of `ARMS`; the two noise controls are always measured.
        own_controls: those of `arms` with controls made from their own perturbation, see `controls.OWN_CONTROLS`.
        budgets: in 8-bit levels.
        strengths: of the editor, each measured; empty for the editor's default. Editors without a strength ignore them.
        guidance, steps: of the editor; None for the editor's default.
        size_px: side of the pictures; None for the side that each editor was trained for.
        metrics: names of `METRICS`.
        visible: further metrics, for the visibility of the protection only.
        keep_edits: save the first edit of every picture, prompt and variant as a file, see `saved_edits`.
    """

    seeds: int = 3
    manifest: str = ""
    editors: tuple[str, ...] = ("pocket-editor",)
    arms: tuple[str, ...] = DEFAULT_ARMS
    own_controls: tuple[str, ...] = DECIDED_ARMS
    budgets: tuple[int, ...] = (16,)
    strengths: tuple[float, ...] = ()
    guidance: float | None = None
    steps: int | None = None
    size_px: int | None = None
    metrics: tuple[str, ...] = DEFAULT_METRICS
    visible: tuple[str, ...] = ()
    keep_edits: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.images) == bool(self.manifest):
            problem = "exclude each other; leave one out" if self.images else "are both missing; give one"
            raise UsageError(f"`images` and `manifest`: {problem}")
        arms_named((*self.arms, *self.own_controls))
        metrics_named((*self.metrics, *self.visible))
        distinct(editor=self.editors, budget=self.budgets)
        if self.strengths:
            distinct(strength=self.strengths)
        for budget in self.budgets:
            ProtectConfig(budget_levels=budget)

    def arm_names(self) -> tuple[str, ...]:
        """The given arms and noise of the same levels, in the order of the table."""
        return tuple(arm.name for arm in arms_named((NOISE_LINF, *self.arms)) if arm.name != NOISE_VISIBLE)

    def decided_arms(self) -> tuple[str, ...]:
        """The arms with controls of their own, in the order of the table."""
        named = {arm.name for arm in arms_named(self.own_controls)}
        return tuple(name for name in self.arm_names() if name in named)

    def as_dict(self) -> dict[str, object]:
        settings = {**super().as_dict(), "arms": self.arm_names(), "own_controls": self.decided_arms()}
        del settings["keep_edits"]
        del settings["manifest"]
        if self.manifest:
            del settings["prompts"]
        return settings


QUICK_ARMS = (*CHIEF_ARMS, "photoguard", "advdm", "balanced-diffusion", "balanced-concentration")
PROMPT_ARMS = (*CHIEF_ARMS, "advdm")


def editing(images: str = "", *, manifest: str = "", quick: bool = False) -> EditingConfig:
    """`bench editing`."""
    full = EditingConfig(images, manifest=manifest)
    if quick:
        return replace(full, pictures=6, arms=QUICK_ARMS, seeds=1, metrics=QUICK_METRICS)
    return full


def prompts(images: str = "", *, manifest: str = "", quick: bool = False) -> EditingConfig:
    """`bench prompts`: fewer arms, every prompt."""
    full = EditingConfig(
        images, manifest=manifest, arms=PROMPT_ARMS, prompts=ALL_PROMPTS, seeds=2, metrics=QUICK_METRICS
    )
    return replace(full, pictures=6, seeds=1) if quick else full


@dataclass(frozen=True)
class TransferConfig(EditsConfig):
    """`bench transfer`. Pictures are cropped to a square and resized.

    Attributes:
        vaes: surrogates and targets, see `load_surrogate`; families and programs stand for their encoders. VAEs with equal
            weights count once.
        editors: editors for the edits; each is assigned to the VAE with its encoder.
        modes: of protection.
        preset: of protection; an ensemble of three takes three times as long.
        leave_one_out: also protect against all VAEs but one.
        budget_levels: in 8-bit levels.
        size_px: side of the protected pictures; editors of another size see them resized, as their users' pictures are.
    """

    vaes: tuple[str, ...] = EMBEDDED_VAES
    editors: tuple[str, ...] = ("pocket-editor", "pocket-editor-16")
    modes: tuple[str, ...] = PUBLISHED_MODES
    preset: str = "fast"
    leave_one_out: bool = True
    budget_levels: int = 16
    size_px: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "vaes", expand(self.vaes))
        distinct(VAE=self.vaes, mode=self.modes)
        for mode in self.modes:
            ProtectConfig(mode=mode, preset=self.preset, budget_levels=self.budget_levels)


def transfer(images: str, *, quick: bool = False) -> TransferConfig:
    """`bench transfer`."""
    return TransferConfig(images, 3, prompts=PAPER_PROMPTS[:2]) if quick else TransferConfig(images)


@dataclass(frozen=True)
class PurifyConfig(EditsConfig):
    """`bench purify`. Pictures are cropped to a square and resized to the editor's size.

    Attributes:
        editor: see `load_editor`; the surrogate is its own VAE.
        arms: names of `ARMS`; noise of the same budget is always measured.
        purifiers: names without weights, and `KIND=MODEL`, see `load_purifier`.
        budget_levels: in 8-bit levels.
    """

    editor: str = "pocket-editor"
    arms: tuple[str, ...] = ("pca-diffusion", "pca-concentration")
    purifiers: tuple[str, ...] = (*FILTER_NAMES, *MODEL_NAMES)
    budget_levels: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        arms_named(self.arms)
        if NOISE_VISIBLE in self.arms:
            raise UsageError(f"arm {NOISE_VISIBLE}: the control of this benchmark is {NOISE_LINF}; leave it out")
        ProtectConfig(budget_levels=self.budget_levels)
        distinct(purifier=self.purifiers, arm=self.arms)

    def arm_names(self) -> tuple[str, ...]:
        """The given arms and the control, in the order of the table."""
        return tuple(arm.name for arm in arms_named((NOISE_LINF, *self.arms)))

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "arms": self.arm_names()}


def purify(images: str, *, quick: bool = False) -> PurifyConfig:
    """`bench purify`."""
    names = ("jpeg-75", "half-size", "jpeg-75-half-size", "blur-1", "vae=pocket-b")
    return PurifyConfig(images, 4, purifiers=names, prompts=PAPER_PROMPTS[:2]) if quick else PurifyConfig(images)
