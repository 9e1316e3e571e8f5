"""What to do to a picture, as one frozen value. Every default of the program is written here and nowhere else.

Standard library only: the command line imports this before torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pca_protect.errors import UsageError

Direction = Literal["up", "down"]
StepRuleName = Literal["sign", "momentum"]
ScheduleName = Literal["constant", "cosine"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Mode:
    """A published choice of target variance and direction (Guo et al., arXiv 2408.10901)."""

    target_variance: float
    direction: Direction
    aim: str


MODES: dict[str, Mode] = {
    "diffusion": Mode(1.0, "up", "edits change the picture as little as possible (PCA+)"),
    "concentration": Mode(1e-8, "down", "edits come out ruined (PCA-)"),
}


@dataclass(frozen=True)
class Recipe:
    """How the optimiser walks. A step's length is a fraction of the budget, so that a recipe fits every budget."""

    steps: int
    step_rule: StepRuleName
    schedule: ScheduleName
    relative_step: float
    momentum: float
    keep_best: bool
    summary: str


PRESETS: dict[str, Recipe] = {
    # 16/255 with steps of 2/255 in the published settings, hence an eighth.
    "paper": Recipe(40, "sign", "constant", 1 / 8, 0.0, False, "the published loop, step for step"),
    # Step length and momentum were chosen on photographs that no result is reported on; longer first steps win at
    # every number of steps once they decay.
    "fast": Recipe(12, "momentum", "cosine", 4 / 5, 0.5, True, "less than a third of the steps"),
    "balanced": Recipe(40, "momentum", "cosine", 3 / 5, 0.7, True, "the default: goes further at equal steps"),
    "strong": Recipe(120, "momentum", "cosine", 3 / 5, 0.7, True, "three times the steps"),
}


@dataclass(frozen=True)
class ProtectConfig:
    """One request, validated when it is made.

    Attributes:
        mode: `diffusion` (edits change little) or `concentration` (edits are ruined).
        preset: how the optimiser walks: `paper`, `fast`, `balanced` or `strong`.
        budget_levels: the largest change of any channel of any pixel in the saved 8-bit file, 1 to 255.
        steps: gradient steps; None takes the preset's.
        target_variance: overrides the mode's target variance v; `posterior` takes the clean posterior's own variance.
        direction: overrides the mode's direction: `up` ascends the loss, `down` descends it.
        seed: draws the noise control that every result is measured against.
        region: protects only a part of the picture: `center` (the middle half of each side), `face` (the faces found) or
            `x,y,w,h` in pixels of the upright picture; None is all of it.
        scales: sizes at which editors will see the picture, in pixels of its shorter side, and `native` for its own; the
            loss is averaged over them. Empty is the picture's own size alone.
        tile_px: larger pictures are worked on in windows of at most so many pixels a side, a multiple of 64 from 128 up.
        max_memory_megabytes: use smaller windows and batches to keep the process, or on CUDA the device's memory, below
            this; None goes by what is free.
        batch: pictures of one size to work on at once; None is one on the CPU and what fits, up to 16, on CUDA.
        vae: surrogate name, hub id, folder or `.safetensors` file; `auto` takes the Stable Diffusion VAE where it can
            be had and the embedded `pocket` otherwise.
        device: `auto` prefers cuda, then mps, then cpu.
        precision: of the encoder; the loss is always computed in fp32. `auto` is bf16 on CUDA devices that do it
            well and fp32 elsewhere.

    Raises:
        UsageError: a value is unknown or out of range.
    """

    mode: str = "diffusion"
    preset: str = "balanced"
    budget_levels: int = 16
    steps: int | None = None
    target_variance: float | Literal["posterior"] | None = None
    direction: Direction | None = None
    seed: int = 0
    region: str | None = None
    scales: tuple[int | Literal["native"], ...] = ()
    tile_px: int = 768
    max_memory_megabytes: int | None = None
    batch: int | None = None
    vae: str = "auto"
    device: Device = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        _one_of("mode", self.mode, MODES)
        _one_of("preset", self.preset, PRESETS)
        _one_of("device", self.device, ("auto", "cpu", "cuda", "mps"))
        _one_of("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
        if self.direction is not None:
            _one_of("direction", self.direction, ("up", "down"))
        _in_range("budget", self.budget_levels, 1, 255, "levels of 255; 16 is the published budget")
        if self.steps is not None:
            _in_range("steps", self.steps, 1, 100_000, "gradient steps; 40 is the published number")
        _in_range("seed", self.seed, 0, 2**63 - 1, "")
        if self.region is not None:
            parse_region(self.region)
        for scale in self.scales:
            if scale != "native":
                _in_range("scale", scale, 64, 100_000, "pixels of the shorter side, or `native`")
        if len(set(self.scales)) < len(self.scales):
            raise UsageError(f"scales {', '.join(map(str, self.scales))} name one twice; give each once")
        _in_range("tile", self.tile_px, 128, 65536, "pixels a side, a multiple of 64")
        if self.tile_px % 64:
            raise UsageError(f"tile {self.tile_px} is not a multiple of 64; use {self.tile_px // 64 * 64}")
        if self.max_memory_megabytes is not None:
            _in_range("max memory", self.max_memory_megabytes, 100, 100_000_000, "megabytes")
        if self.batch is not None:
            _in_range("batch", self.batch, 1, 4096, "pictures at once")
        variance = self.target_variance
        if isinstance(variance, str):
            _one_of("target variance", variance, ("posterior",))
        elif variance is not None and not 1e-30 <= variance <= 1e30:
            raise UsageError(
                f"target variance {variance} is not between 1e-30 and 1e30; give such a number or `posterior`"
            )

    @property
    def recipe(self) -> Recipe:
        """The preset with the explicit number of steps put in."""
        recipe = PRESETS[self.preset]
        return recipe if self.steps is None else replace(recipe, steps=self.steps)

    @property
    def objective(self) -> tuple[float | Literal["posterior"], Direction]:
        """Target variance and direction after overrides."""
        mode = MODES[self.mode]
        variance = mode.target_variance if self.target_variance is None else self.target_variance
        return variance, self.direction or mode.direction

    @property
    def mode_label(self) -> str:
        """The mode's name, or `custom` where an override changes what it means."""
        mode = MODES[self.mode]
        return self.mode if self.objective == (mode.target_variance, mode.direction) else "custom"

    def as_dict(self) -> dict[str, object]:
        """Plain values for a record, with what the overrides and the preset resolve to."""
        variance, direction = self.objective
        recipe = asdict(self.recipe)
        del recipe["summary"]
        return {
            **asdict(self),
            "mode": self.mode_label,
            "target_variance": variance,
            "direction": direction,
            **recipe,
        }

    def digest(self) -> str:
        """SHA-256 of `as_dict()` as canonical JSON, in hex: equal for requests that ask for the same, wherever and in
        however much memory it is computed."""
        asked = {key: value for key, value in self.as_dict().items() if key not in _HOW}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


_HOW = ("device", "max_memory_megabytes", "batch")


def parse_region(region: str) -> str | tuple[int, int, int, int]:
    """`center`, `face`, or (x, y, width, height) in pixels.

    Raises:
        UsageError: it is none of these.
    """
    if region in ("center", "face"):
        return region
    try:
        x, y, width, height = (int(part) for part in region.split(","))
    except ValueError:
        raise UsageError(
            f"region {region!r} is neither face, center nor x,y,w,h in pixels; 100,50,200,200 say"
        ) from None
    if x < 0 or y < 0 or width < 1 or height < 1:
        raise UsageError(f"region {region!r} lies outside every picture; x and y count from 0, w and h from 1")
    return x, y, width, height


def _one_of(what: str, value: object, choices: object) -> None:
    names = list(choices)  # type: ignore[call-overload]
    if value not in names:
        raise UsageError(
            f"unknown {what} {value!r}; choose {', '.join(names[:-1])}{' or ' if names[1:] else ''}{names[-1]}"
        )


def _in_range(what: str, value: object, low: int, high: int, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{what} {value!r} is not a whole number from {low} to {high}{f' ({unit})' if unit else ''}")
