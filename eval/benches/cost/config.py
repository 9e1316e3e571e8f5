"""Settings of `pca-protect bench cost`, by `--what`. Standard library only: the command line imports this before torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pca_protect.config import ProtectConfig
from pca_protect.device_names import Device, require_device_name
from pca_protect.errors import UsageError
from pca_protect.eval.arms.registry import ARMS, arms_named
from pca_protect.eval.benches.configs import BenchConfig, at_least_one, distinct

PCA = "pca-diffusion"
"""The reference for the other methods."""

METHODS = tuple(name for name, arm in ARMS.items() if arm.needs != "nothing" and arm.preset in ("", "paper"))
"""All methods with the optimiser of published posterior collapse, which makes their steps comparable."""


@dataclass(frozen=True)
class CostConfig:
    """Settings of one cost benchmark, validated on construction.

    Attributes:
        vae: surrogate; a complete protection is timed against bare passes of its encoder.
        sizes_px: sides of the square pictures, multiples of 8. Methods are compared at every size on the embedded editor;
            the rest is measured at the largest.
        steps: gradient steps of a complete protection, and of a run of the large architecture on a GPU.
        rounds: runs of each arm; times are medians over them.
        seed: of the random weights, and of a synthetic picture if `images` is None.
        device: `auto` prefers cuda, then mps, then cpu.
        images: a folder whose first picture is used.
        block_out_channels: widths of the large architecture; the default is Stable Diffusion's VAE.
        methods: the compared methods, including `pca-diffusion`.
        unet_block_out_channels: widths of the UNet behind the large architecture; the default is that of Stable Diffusion
            1.x. None compares methods on the embedded editor only.

    Raises:
        UsageError: a value is out of range or unknown.
    """

    vae: str = "pocket"
    sizes_px: tuple[int, ...] = (256, 512)
    steps: int = 40
    rounds: int = 3
    seed: int = 0
    device: Device = "auto"
    images: str | None = None
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    methods: tuple[str, ...] = METHODS
    unet_block_out_channels: tuple[int, ...] | None = (320, 640, 1280, 1280)

    def __post_init__(self) -> None:
        for size_px in self.sizes_px:
            if not 64 <= size_px <= 2048 or size_px % 8:
                raise UsageError(f"size {size_px} px is not a multiple of 8 from 64 to 2048; 512 is the published size")
        if not self.sizes_px or len(set(self.sizes_px)) < len(self.sizes_px):
            raise UsageError(f"sizes {', '.join(map(str, self.sizes_px))!r}: give at least one, each once")
        if self.steps < 1:
            raise UsageError(f"steps {self.steps}: must be 1 or more; 40 is the published number")
        if self.rounds < 1:
            raise UsageError(f"rounds {self.rounds}: must be 1 or more; 3 or more give a median")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed} is negative; give a whole number from 0 on")
        require_device_name(self.device)
        arms_named(self.methods)
        foreign = [name for name in self.methods if name not in METHODS]
        if foreign:
            raise UsageError(
                f"{foreign[0]}: is not optimised like the others, so steps cannot be compared; choose from {', '.join(METHODS)}"
            )
        if PCA not in self.methods:
            raise UsageError(f"methods {', '.join(self.methods)!r}: lack the reference {PCA}; add it")

    @property
    def size_px(self) -> int:
        """The largest."""
        return max(self.sizes_px)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class MemoryConfig(BenchConfig):
    """`bench cost --what memory`.

    Attributes:
        vae: see `load_surrogate`.
        tiles_px: sides of the windows.
        steps: gradient steps; influence time, not memory.
    """

    vae: str = "pocket"
    tiles_px: tuple[int, ...] = (768, 512, 256)
    steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(size=self.tiles_px)
        for tile_px in self.tiles_px:
            ProtectConfig(tile_px=tile_px, steps=self.steps)


@dataclass(frozen=True)
class ScaleConfig(BenchConfig):
    """`bench cost --what scale`.

    Attributes:
        size_px: side of the picture for the table `work`.
        block_out_channels: widths of the large architecture; the default is Stable Diffusion's VAE.
        preset: of the protected files in the table `files`.
    """

    size_px: int = 512
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    preset: str = "fast"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(size=self.size_px)
        ProtectConfig(preset=self.preset)


FULL = CostConfig()
QUICK = CostConfig(sizes_px=(256,), rounds=2, unet_block_out_channels=None)
