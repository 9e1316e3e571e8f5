"""What the benchmarks of the protection itself measure: uploads, steps, flat, scales, grid, check, ingredients.

Standard library only: the command line imports this before torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.arms.registry import NOISE_LINF, NOISE_VISIBLE, arms_named
from pca_protect.eval.benches.configs import EMBEDDED_VAES, PAPER_PROMPTS, BenchConfig, at_least_one, distinct


@dataclass(frozen=True)
class UploadsConfig(BenchConfig):
    """`bench uploads`.

    Attributes:
        editor: see `load_editor`; protection is against its own VAE.
        longest: longer side of the pictures, in pixels; larger ones are resized first.
        posted_px: longer side after the upload.
        steps: of each protection.
        prompts: names of styles, or free text.
    """

    editor: str = "pocket-editor"
    longest: int = 1600
    posted_px: int = 1080
    steps: int = 20
    prompts: tuple[str, ...] = ("snow", "watercolor")

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(prompt=self.prompts)
        ProtectConfig(steps=self.steps)
        if not 64 <= self.posted_px < self.longest:
            raise UsageError(
                f"longest {self.longest} px: has to be above {self.posted_px} px, the side after the upload"
            )


def uploads(images: str, *, quick: bool = False) -> UploadsConfig:
    """`bench uploads`."""
    return UploadsConfig(images, 1, longest=512, posted_px=320, steps=4) if quick else UploadsConfig(images, 4)


@dataclass(frozen=True)
class StepsConfig(BenchConfig):
    """`bench steps`.

    Attributes:
        vaes: see `load_surrogate`.
        size_px: side of the pictures.
        presets: (preset, its steps; None for its own); the first is what the others are compared with.
    """

    vaes: tuple[str, ...] = EMBEDDED_VAES
    size_px: int = 128
    presets: tuple[tuple[str, int | None], ...] = (
        ("paper", None),
        ("instant", None),
        ("fast", None),
        ("fast", 10),
        ("balanced", None),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(VAE=self.vaes, preset=self.presets)
        at_least_one(size=self.size_px)
        for preset, steps in self.presets:
            ProtectConfig(preset=preset, steps=steps)


def steps(images: str, *, quick: bool = False) -> StepsConfig:
    """`bench steps`."""
    return StepsConfig(images, 2, vaes=("pocket",), size_px=64) if quick else StepsConfig(images, 12)


@dataclass(frozen=True)
class FlatConfig(BenchConfig):
    """`bench flat`.

    Attributes:
        vae: see `load_surrogate`.
        size_px: side of the pictures.
        patch_px: side of the flattest patch of each picture.
        arms: names of `ARMS`; the published loop, which the others are compared with, is always measured.
    """

    vae: str = "pocket"
    size_px: int = 256
    patch_px: int = 112
    arms: tuple[str, ...] = (
        *(NOISE_LINF, "pca-diffusion", "instant-subtle", "fast-subtle", "balanced-subtle"),
        *("survive-social", "discreet-0.5", "discreet-0.25"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        arms_named(self.arms)
        if NOISE_VISIBLE in self.arms:
            raise UsageError(f"arm {NOISE_VISIBLE}: this benchmark has {NOISE_LINF} as its control; leave it out")
        if not 8 <= self.patch_px <= self.size_px:
            raise UsageError(f"patch {self.patch_px} px: has to be from 8 px to the pictures' side, {self.size_px} px")


def flat(images: str, *, quick: bool = False) -> FlatConfig:
    """`bench flat`."""
    arms = (NOISE_LINF, "pca-diffusion", "fast-subtle")
    return FlatConfig(images, 2, size_px=128, patch_px=56, arms=arms) if quick else FlatConfig(images, 8)


@dataclass(frozen=True)
class ScalesConfig(BenchConfig):
    """`bench scales`.

    Attributes:
        editor: see `load_editor`; protection is against its own VAE.
        preset: of protection.
        steps: of each protection; None for the preset's own.
        tile_px: side of the windows.
        arms, views: what is compared, and what the editor is given; see `scales.py`.
    """

    editor: str = "pocket-editor"
    preset: str = "fast"
    steps: int | None = None
    tile_px: int = 512
    arms: tuple[str, ...] = ("one window", "windows", "small", "small and native")
    views: tuple[str, ...] = ("small", "across", "inside one", "inside the next")
    prompts: tuple[str, ...] = PAPER_PROMPTS

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(prompt=self.prompts, arm=self.arms, view=self.views)
        ProtectConfig(preset=self.preset, steps=self.steps, tile_px=self.tile_px)


def scales(images: str, *, quick: bool = False) -> ScalesConfig:
    """`bench scales`."""
    return ScalesConfig(images, 1, tile_px=256, prompts=("snow",)) if quick else ScalesConfig(images, 16)


@dataclass(frozen=True)
class GridConfig(BenchConfig):
    """`bench grid`.

    Attributes:
        large: a folder of pictures of 1536 px and more a side; None leaves scales out.
        vaes: see `load_surrogate`.
        sides_px: of the squares protected in windows.
        large_px: of the squares protected at another scale.
        tile_px: side of the windows, and of what an editor sees.
        steps: of each protection.
    """

    large: str | None = None
    vaes: tuple[str, ...] = ("pocket", "pocket-16")
    sides_px: tuple[int, ...] = (404, 331)
    large_px: int = 1536
    tile_px: int = 256
    steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(VAE=self.vaes, side=self.sides_px)
        ProtectConfig(steps=self.steps, tile_px=self.tile_px)

    def as_dict(self) -> dict[str, object]:
        settings = super().as_dict()
        del settings["large"]
        return settings


def grid(images: str, *, quick: bool = False) -> GridConfig:
    """`bench grid`."""
    return GridConfig(images, 1, vaes=("pocket",), sides_px=(331,), steps=2) if quick else GridConfig(images, 6)


@dataclass(frozen=True)
class CheckConfig(BenchConfig):
    """`bench check`.

    Attributes:
        vaes: the encoders that judge.
        protect_with: the surrogate of the protected pictures.
        size_px: side that pictures are cropped and resized to.
    """

    vaes: tuple[str, ...] = EMBEDDED_VAES
    protect_with: str = "pocket"
    size_px: int = 384

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(VAE=self.vaes)
        at_least_one(size=self.size_px)


def check(images: str, *, quick: bool = False) -> CheckConfig:
    """`bench check`."""
    return CheckConfig(images, 2, vaes=("pocket",), size_px=256) if quick else CheckConfig(images)


@dataclass(frozen=True)
class IngredientsConfig(BenchConfig):
    """`bench ingredients`.

    Attributes:
        vaes: encoders with latents of their own, at least two; each takes its turn at being unseen.
        size_px: side of the pictures.
        steps: of each ingredient; whole protections take their preset's.
    """

    vaes: tuple[str, ...] = ("pocket", "pocket-b", "pocket-16")
    size_px: int = 128
    steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(VAE=self.vaes)
        at_least_one(size=self.size_px)
        ProtectConfig(steps=self.steps)
        if len(self.vaes) < 2:
            raise UsageError(f"VAE {self.vaes[0]}: one encoder has no unseen other; name two or more")


def ingredients(images: str, *, quick: bool = False) -> IngredientsConfig:
    """`bench ingredients`."""
    small = IngredientsConfig(images, 1, vaes=("pocket", "pocket-b"), size_px=64, steps=2)
    return small if quick else IngredientsConfig(images, 8)
