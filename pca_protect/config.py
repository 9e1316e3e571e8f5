"""A protection request as one frozen value. All defaults of the program are here.

Standard library only: the command line imports this before torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pca_protect.device_names import Device, Precision, require_device_name
from pca_protect.errors import UsageError
from pca_protect.image.regions import parse_region
from pca_protect.image.scale_names import Scale
from pca_protect.modes import MODES, RENAMED_MODES, Direction, Mode, present_name
from pca_protect.presets import PRESETS, RENAMED_PRESETS, SURVIVE, Recipe
from pca_protect.surrogates.families import scales_of


@dataclass(frozen=True)
class ProtectConfig:
    """One request, validated when it is made.

    Attributes:
        mode: `diffusion` (disturbs edits), `concentration` (removes detail from edits), `subtle` (disturbs edits, less
            visible), or one added by `register_mode`.
        preset: schedule of the optimiser: `instant`, `paper`, `fast`, `balanced` or `thorough`. `instant` needs a universal
            perturbation, see `universal`.
        budget_levels: the largest change of any channel of any pixel in the saved 8-bit file, 1 to 255.
        steps: gradient steps; None takes the preset's. 0 is for `instant` alone.
        max_visibility: upper limit on the visibility of the change, as the brightness step on a flat patch that is equally
            visible, in 8-bit levels, see `visibility.in_levels`; None is no limit beside the budget.
        until: gain over noise (the latent shift divided by that of random noise) at which the optimisation stops, on every
            encoder and at every scale; the change is then scaled down to this gain. The name of a preset stands for the gain
            that it reaches on the picture. None takes all steps and the whole budget.
        survive: EOT preset: `jpeg` averages the loss over JPEG compression, `social` over uploads, with a longer side of at most
            1080 px; None is no transform.
        target_variance: overrides the mode's target variance v; `posterior` takes the clean posterior's own variance.
        direction: overrides the mode's direction: `up` ascends the loss, `down` descends it.
        seed: of the noise control of the evaluation, and of random transforms: with `survive` and `for_unknown`.
        region: protects only a part of the picture: `center` (the middle half of each side), `face` (the faces found) or
            `x,y,w,h` in pixels of the upright picture; None is all of it.
        scales: sizes at which editors see the picture, in pixels of its shorter side; `native` is its own size, `1mp` about one
            megapixel, see `resize.sizes`. The loss is averaged over them. Empty takes those of the families and programs among
            `vae`, see `families.scales_of`, and otherwise the own size only.
        tile_px: side of the largest window, a multiple of 64 from 128 up; larger pictures are optimised window by window.
        max_memory_megabytes: limit on the memory of the process, or of the CUDA device; smaller windows and batches keep
            below it. None uses what is available.
        batch: largest number of pictures of one size in a batch. None is 1 on the CPU and on MPS, and up to 16 on CUDA.
        vae: name of a surrogate, family or program, hub id, folder or `.safetensors` file; `auto` is the Stable Diffusion VAE if
            it is cached or can be downloaded, and the embedded `pocket` otherwise, see `resolve`. A tuple protects against all
            of them.
        universal: universal perturbation of the presets `instant` and `fast`: `auto` takes the embedded or cached one, and a run
            over a folder trains a missing one if that saves time; `never` takes none; otherwise the path of its file.
        for_unknown: with several encoders, optimise transfer to encoders outside the ensemble, at the price of up to two thirds
            of the members' shift: random transforms, gradients of equal length, the whole budget. False optimises the members.
        device: `auto` prefers cuda, then mps, then cpu; `cuda:1` is the second CUDA device. A `torch.device` works too.
        precision: of the encoder; the loss is always in fp32. `auto` is bf16 on CUDA devices with fast bf16 and fp32 elsewhere.

    Raises:
        UsageError: a value is unknown or out of range.
    """

    mode: str = "diffusion"
    preset: str = "balanced"
    budget_levels: int = 16
    max_visibility: float | None = None
    until: float | str | None = None
    survive: str | None = None
    steps: int | None = None
    target_variance: float | Literal["posterior"] | None = None
    direction: Direction | None = None
    seed: int = 0
    region: str | None = None
    scales: tuple[Scale, ...] = ()
    tile_px: int = 768
    max_memory_megabytes: int | None = None
    batch: int | None = None
    vae: str | tuple[str, ...] = "auto"
    for_unknown: bool = False
    universal: str = "auto"
    device: Device = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.vae, str) and len(self.vae) == 1:  # the same request as with the plain name
            object.__setattr__(self, "vae", self.vae[0])
        object.__setattr__(self, "device", str(self.device))
        object.__setattr__(self, "universal", str(self.universal))
        object.__setattr__(self, "mode", present_name("mode", self.mode, RENAMED_MODES))
        object.__setattr__(self, "preset", present_name("preset", self.preset, RENAMED_PRESETS))
        _one_of("mode", self.mode, MODES)
        _one_of("preset", self.preset, PRESETS)
        require_device_name(self.device)
        _one_of("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
        if self.direction is not None:
            _one_of("direction", self.direction, ("up", "down"))
        _in_range("budget", self.budget_levels, 1, 255, "levels of 255; 16 is the published budget")
        if self.max_visibility is not None and not 0 < self.max_visibility <= 255:
            raise UsageError(
                f"max visibility {self.max_visibility} is out of range; give a number above 0 and up to 255, such as 2, or leave "
                "it out"
            )
        if isinstance(self.until, str):
            _one_of("preset to reach", self.until, PRESETS)
        elif self.until is not None and not 1 < self.until <= 1000:
            raise UsageError(
                f"until {self.until} is out of range; give a gain over noise above 1 and up to 1000, such as 4, or a preset"
            )
        if self.survive is not None:
            _one_of("upload to survive", self.survive, SURVIVE)
        if not self.vaes or "" in self.vaes:
            raise UsageError("a VAE without a name was given; give one or more names, such as sd")
        if len(set(self.vaes)) < len(self.vaes):
            raise UsageError(f"VAEs {', '.join(self.vaes)} name one twice; give each once")
        if MODES[self.mode].loss is not None and (self.target_variance is not None or self.direction is not None):
            raise UsageError(
                f"mode {self.mode} takes no target variance and no direction; leave them out, or use mode diffusion or "
                "concentration"
            )
        if self.max_visibility is not None and MODES[self.mode].loss is not None and not MODES[self.mode].logarithmic:
            raise UsageError(
                f"max visibility needs a mode with a logarithmic loss, and the loss of mode {self.mode} is not; leave max "
                "visibility out"
            )
        if self.steps is not None:
            fewest = min(1, PRESETS[self.preset].steps)
            _in_range("steps", self.steps, fewest, 100_000, "gradient steps; 40 is the published number")
        _in_range("seed", self.seed, 0, 2**63 - 1, "")
        if self.region is not None:
            parse_region(self.region)
        if not self.scales:
            object.__setattr__(self, "scales", scales_of(self.vaes))
        for scale in self.scales:
            if scale not in ("native", "1mp"):
                _in_range("scale", scale, 64, 100_000, "pixels of the shorter side, or native or 1mp")
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
        """The preset resolved for this mode and the explicit number of steps."""
        recipe = PRESETS[self.preset]
        steps = recipe.descent_steps if self._goes_down and recipe.descent_steps is not None else recipe.steps
        return replace(
            recipe,
            steps=steps if self.steps is None else self.steps,
            rel_stepsize=recipe.rel_stepsize * (1.0 if self.saturates else recipe.descent_stepsize_scale),
            descent_stepsize_scale=1.0,
            descent_steps=None,
        )

    @property
    def saturates(self) -> bool:
        """Whether the best perturbation lies near the budget's corners: where the loss goes up, and nothing that shows has a
        visibility_weight."""
        return not self._goes_down and self.visibility_weight == 0 and self.max_visibility is None

    @property
    def _goes_down(self) -> bool:
        return self.goal.direction == "down"

    @property
    def vaes(self) -> tuple[str, ...]:
        """Names of the surrogates, one or several."""
        return (self.vae,) if isinstance(self.vae, str) else self.vae

    @property
    def posted_px(self) -> int | None:
        """Longer side to which `survive` downscales larger pictures, in pixels; None is their own size."""
        return None if self.survive is None else SURVIVE[self.survive].longest_px

    @property
    def goal(self) -> Mode:
        """The mode after overrides."""
        mode = MODES[self.mode]
        if mode.loss is not None:
            return mode
        variance, direction = self.objective
        return replace(mode, target_variance=variance, direction=direction)

    @property
    def visibility_weight(self) -> float:
        """Weight of the visibility penalty, see `Mode`; lower with `survive=social`."""
        weight = MODES[self.mode].visibility_weight
        return weight if self.survive is None else min(weight, SURVIVE[self.survive].max_visibility_weight)

    @property
    def objective(self) -> tuple[float | Literal["posterior"], Direction]:
        """Target variance and direction of the published loss after overrides.

        Raises:
            ValueError: the mode has another loss.
        """
        mode = MODES[self.mode]
        variance = mode.target_variance if self.target_variance is None else self.target_variance
        if variance is None:
            raise ValueError(f"mode {self.mode} has no target variance")
        return variance, self.direction or mode.direction

    @property
    def mode_label(self) -> str:
        """The mode's name, or `custom` where an override changes what it means."""
        mode = MODES[self.mode]
        if mode.loss is not None:
            return self.mode
        return self.mode if self.objective == (mode.target_variance, mode.direction) else "custom"

    def as_dict(self) -> dict[str, object]:
        """Plain values for a record, overrides and preset resolved."""
        recipe = asdict(self.recipe)
        for resolved in ("summary", "descent_stepsize_scale", "descent_steps"):
            del recipe[resolved]
        return {
            **asdict(self),
            "mode": self.mode_label,
            "loss": self.goal.loss_name,
            "target_variance": self.goal.target_variance,
            "direction": self.goal.direction,
            "visibility_weight": self.visibility_weight,
            "step_rule": "momentum" if self.recipe.momentum else "sign",  # sign steps are momentum with a decay of 0
            **recipe,
        }

    def digest(self) -> str:
        """SHA-256 in hex of `as_dict()` as canonical JSON, without device, memory and batch size. Field names are those of the
        first version, so that earlier journals stay valid."""
        values = {
            _FIRST_NAMES.get(key, key): value for key, value in self.as_dict().items() if key not in _NOT_IN_DIGEST
        }
        # Requests without these settings have the digest of the first version; it optimised ensembles in another way.
        if self.until is None:
            del values["until"]
        if self.universal == "auto":
            del values["universal"]
        if not self.for_unknown and len(self.vaes) == 1:
            del values["for_unknown"]
        for key, names in _FIRST_VALUES.items():
            values[key] = names.get(str(values[key]), values[key])
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


_FIRST_NAMES = {
    "rel_stepsize": "relative_step",
    "init": "start",
    "init_scale": "start_share",
    "visibility_weight": "price",
}
_FIRST_VALUES = {
    "mode": {new: old for old, new in RENAMED_MODES.items()},
    "preset": {new: old for old, new in RENAMED_PRESETS.items()},
    "start": {"zero": "none", "universal": "trained"},
}

_NOT_IN_DIGEST = ("device", "max_memory_megabytes", "batch")


def _one_of(what: str, value: object, choices: object) -> None:
    names = list(choices)  # type: ignore[call-overload]
    if value not in names:
        raise UsageError(
            f"unknown {what} {value!r}; choose {', '.join(names[:-1])}{' or ' if names[1:] else ''}{names[-1]}"
        )


def _in_range(what: str, value: object, low: int, high: int, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{what} {value!r} is not a whole number from {low} to {high}{f' ({unit})' if unit else ''}")
