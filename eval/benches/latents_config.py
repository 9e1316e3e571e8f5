"""Settings of `bench latents`. Standard library only: the command line imports this before torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.arms.registry import NOISE_VISIBLE, arms_named
from pca_protect.eval.benches.configs import EditsConfig, distinct


@dataclass(frozen=True)
class LatentsConfig(EditsConfig):
    """`bench latents`. Pictures are cropped to a square and resized to the editor's size.

    Attributes:
        editors: of kind `img2img` or `instruct`, on `AutoencoderKL`.
        arms: names of `ARMS` that need the encoder or nothing.
        budgets: in 8-bit levels; the directions are measured at the first.
    """

    editors: tuple[str, ...] = ("pocket-instruct",)
    arms: tuple[str, ...] = ("noise-linf", "latent-distance", "pca-diffusion", "pca-concentration", "balanced-subtle")
    budgets: tuple[int, ...] = (16,)

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(editor=self.editors, arm=self.arms, budget=self.budgets)
        for arm in arms_named(self.arms):
            if arm.needs == "denoiser" or arm.name == NOISE_VISIBLE:
                raise UsageError(f"arm {arm.name}: not measured here; give arms that need the encoder alone")
        for budget in self.budgets:
            ProtectConfig(budget_levels=budget)


def latents(images: str, *, quick: bool = False) -> LatentsConfig:
    """`bench latents`."""
    full = LatentsConfig(images)
    return replace(full, pictures=2, prompts=full.prompts[:1], arms=("pca-diffusion",)) if quick else full
