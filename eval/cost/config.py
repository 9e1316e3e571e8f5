"""What `pca-protect bench cost` measures. Standard library only: the command line imports this before torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pca_protect.config import Device
from pca_protect.errors import UsageError


@dataclass(frozen=True)
class CostConfig:
    """One cost benchmark, validated when it is made.

    Attributes:
        vae: surrogate whose whole protection is timed against bare passes of its encoder.
        size_px: side of the square picture, a multiple of 8.
        steps: gradient steps of a whole protection, and of a run of the large architecture on a GPU.
        rounds: how often each arm runs; times are medians over them.
        seed: makes the picture, where `images` gives none, and the random weights.
        device: `auto` prefers cuda, then mps, then cpu.
        images: a folder whose first picture is used.
        block_out_channels: widths of the large architecture; the default is Stable Diffusion's VAE.

    Raises:
        UsageError: a value is out of range.
    """

    vae: str = "pocket"
    size_px: int = 512
    steps: int = 40
    rounds: int = 3
    seed: int = 0
    device: Device = "auto"
    images: str | None = None
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)

    def __post_init__(self) -> None:
        if not 64 <= self.size_px <= 2048 or self.size_px % 8:
            raise UsageError(
                f"size {self.size_px} px is not a multiple of 8 from 64 to 2048; 512 is the published size"
            )
        if self.steps < 1:
            raise UsageError(f"steps {self.steps} is not at least 1; 40 is the published number")
        if self.rounds < 1:
            raise UsageError(f"rounds {self.rounds} is not at least 1; 3 or more give a median")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed} is negative; give a whole number from 0 on")
        if self.device not in ("auto", "cpu", "cuda", "mps"):
            raise UsageError(f"unknown device {self.device!r}; choose auto, cpu, cuda or mps")

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


FULL = CostConfig()
QUICK = CostConfig(size_px=256, rounds=2)
