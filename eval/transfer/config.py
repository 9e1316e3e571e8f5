"""What `pca-protect bench transfer` measures. Standard library only: the command line imports this before torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pca_protect.config import Device, Precision, ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.editing.config import PAPER_PROMPTS
from pca_protect.modes import PUBLISHED_MODES

EMBEDDED_VAES = ("pocket", "pocket-b", "pocket-16", "pocket-tiny")


@dataclass(frozen=True)
class TransferConfig:
    """One transfer benchmark, validated when it is made.

    Attributes:
        images: a folder of pictures; each is cropped to a square and resized.
        pictures: use so many of them at most; None for all.
        vaes: surrogates and targets, see `load_surrogate`; those with equal weights count once.
        editors: edits are made with these; each belongs to the VAE whose encoder it shares.
        modes: of protection.
        preset: of protection; ensembles of three take three times as long.
        leave_one_out: protect against all VAEs but one, too.
        budget_levels: in 8-bit levels.
        prompts: names of styles, or free text.
        seeds: edits of each picture with each prompt, with the seeds from 0 on.
        size_px: side of the pictures; every editor has to take it.
        batch: edits made at a time.
        device: `auto` prefers cuda, then mps, then cpu.
        precision: of the editors; protections are made in fp32.
        seed: draws the noise control.

    Raises:
        UsageError: a value is unknown or out of range.
    """

    images: str
    pictures: int | None = None
    vaes: tuple[str, ...] = EMBEDDED_VAES
    editors: tuple[str, ...] = ("pocket-editor", "pocket-editor-16")
    modes: tuple[str, ...] = PUBLISHED_MODES
    preset: str = "fast"
    leave_one_out: bool = True
    budget_levels: int = 16
    prompts: tuple[str, ...] = PAPER_PROMPTS
    seeds: int = 1
    size_px: int = 256
    batch: int = 9
    device: Device = "auto"
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for mode in self.modes:
            ProtectConfig(mode=mode, preset=self.preset, budget_levels=self.budget_levels)
        for what, values in (("VAE", self.vaes), ("mode", self.modes), ("prompt", self.prompts)):
            if not values or len(set(values)) < len(values):
                raise UsageError(f"{what}s {', '.join(values)!r}: give each once, and one at least")
        for what, number in (("seeds", self.seeds), ("pictures", self.pictures), ("batch", self.batch)):
            if number is not None and number < 1:
                raise UsageError(f"{what} {number}: has to be 1 or more")

    def as_dict(self) -> dict[str, object]:
        """Plain values that decide what is measured, but for the pictures."""
        settings = asdict(self)
        del settings["images"], settings["pictures"]
        return settings


QUICK_PICTURES = 3


def quick(images: str) -> TransferConfig:
    """Fewer of everything, for a first look."""
    return TransferConfig(images, QUICK_PICTURES, prompts=PAPER_PROMPTS[:2])
