"""What `pca-protect bench purify` measures. Standard library only: the command line imports this before torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pca_protect.config import Device, Precision, ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.arms.registry import NOISE_LINF, NOISE_VISIBLE, arms_named
from pca_protect.eval.editing.config import PAPER_PROMPTS

FILTER_NAMES = (
    *(
        "jpeg-95",
        "jpeg-85",
        "jpeg-75",
        "jpeg-65",
        "jpeg-50",
        "webp-80",
        "half-size",
        "jpeg-75-half-size",
        "crop",
        "blur-1",
    ),
    *("noise-0.05", "noise-0.1", "median-3", "adverse-cleaner", "upload"),
)
"""Purifiers without weights."""

MODEL_NAMES = (
    *("vae=pocket-b", "vae=pocket-16", "vae=pocket"),
    *("denoise-0.05=pocket-editor-16", "denoise-0.15=pocket-editor-16", "denoise-0.15=pocket-editor"),
)
"""Purifiers through a model, `KIND=MODEL`, that are measured unless others are named."""

QUICK_NAMES = ("jpeg-75", "half-size", "jpeg-75-half-size", "blur-1", "vae=pocket-b")


@dataclass(frozen=True)
class PurifyConfig:
    """One benchmark of purifiers, validated when it is made.

    Attributes:
        images: a folder of pictures; each is cropped to a square and resized to what the editor takes.
        pictures: use so many of them at most; None for all.
        editor: see `load_editor`; protection is against its own VAE.
        arms: names of `ARMS`; noise of the same budget is always measured.
        purifiers: names without weights, and `KIND=MODEL`: `vae=NAME` goes through a VAE and back, `denoise-STRENGTH=EDITOR`
            through an editor without a prompt, `upscale=HUB_ID` and `gridpure=HUB_ID` are published purifiers.
        budget_levels: in 8-bit levels.
        prompts: names of styles, or free text.
        seeds: edits of each picture with each prompt, with the seeds from 0 on.
        batch: edits made at a time.
        device: `auto` prefers cuda, then mps, then cpu.
        precision: of the editor; protections are made in fp32.
        seed: draws noise.

    Raises:
        UsageError: a value is unknown or out of range.
    """

    images: str
    pictures: int | None = None
    editor: str = "pocket-editor"
    arms: tuple[str, ...] = ("pca-diffusion", "pca-concentration")
    purifiers: tuple[str, ...] = (*FILTER_NAMES, *MODEL_NAMES)
    budget_levels: int = 16
    prompts: tuple[str, ...] = PAPER_PROMPTS
    seeds: int = 1
    batch: int = 9
    device: Device = "auto"
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        arms_named(self.arms)
        if NOISE_VISIBLE in self.arms:
            raise UsageError(f"arm {NOISE_VISIBLE}: this benchmark has {NOISE_LINF} as its control; leave it out")
        ProtectConfig(budget_levels=self.budget_levels)
        for what, values in (("purifier", self.purifiers), ("arm", self.arms), ("prompt", self.prompts)):
            if not values or len(set(values)) < len(values):
                raise UsageError(f"{what}s {', '.join(values)!r}: give each once, and one at least")
        for what, number in (("seeds", self.seeds), ("pictures", self.pictures), ("batch", self.batch)):
            if number is not None and number < 1:
                raise UsageError(f"{what} {number}: has to be 1 or more")

    def arm_names(self) -> tuple[str, ...]:
        """Those asked for and the control, in the order of the table."""
        return tuple(arm.name for arm in arms_named((NOISE_LINF, *self.arms)))

    def as_dict(self) -> dict[str, object]:
        """Plain values that decide what is measured, but for the pictures."""
        settings = {**asdict(self), "arms": self.arm_names()}
        del settings["images"], settings["pictures"]
        return settings


QUICK_PICTURES = 4


def quick(images: str) -> PurifyConfig:
    """Fewer of everything, for a first look."""
    return PurifyConfig(images, QUICK_PICTURES, purifiers=QUICK_NAMES, prompts=PAPER_PROMPTS[:2])
