"""Settings of the preset `auto` for each device, so that a first run ends while its user waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pca_protect.config import ProtectConfig
from pca_protect.image.scale_names import Scale
from pca_protect.surrogates.families import expand
from pca_protect.surrogates.registry import PREFERRED, REGISTRY

AUTO_PRESET = "auto"
_PRESETS = {"cuda": "thorough", "mps": "balanced", "cpu": "fast"}
_WORK_SCALE: Scale = 512
"""Shorter side in pixels at which Stable Diffusion 1.x edits."""
_TEST_SCALE: Scale = 256
"""The same, of the embedded test editors."""
_WINDOW_PX = 4096
"""At a scale of 512, one window covers a photograph of 12 megapixels. A quarter of it still fits into little memory."""


@dataclass(frozen=True)
class DeviceChoice:
    """Settings that the device decides, because the user did not.

    Attributes:
        scales: whether these, too, are decided.
        tile_px: the same, on the CPU.
    """

    scales: bool = True
    tile_px: bool = True

    def applied(self, config: ProtectConfig, encoders: Sequence[str] = ()) -> tuple[ProtectConfig, str]:
        """The configuration for its device, and a sentence on what was chosen. Imports torch if the device is `auto`.

        Args:
            encoders: those that the names in the configuration stand for, if they are known: after a fallback, the test model.

        With `until`, the CPU takes the preset `balanced`: the effect asked for ends the steps, and the fewer steps of `fast`
        may not reach it.
        """
        kind = _kind(config.device)
        preset = "balanced" if kind == "cpu" and config.until is not None else _PRESETS[kind]
        chosen = replace(config, preset=preset)
        if self.scales:
            small = _scales(config, encoders or config.vaes)
            chosen = replace(chosen, scales=small if kind == "cpu" else tuple(dict.fromkeys((*small, "native"))))
            if kind == "cpu" and self.tile_px:
                chosen = replace(chosen, tile_px=_WINDOW_PX)
        steps = chosen.recipe.steps
        device = "the CPU" if kind == "cpu" else kind.upper()
        sentence = f"preset auto: {preset} on {device} ({steps} step{'' if steps == 1 else 's'})"
        if chosen.scales != config.scales:
            sizes = " and ".join(_said(scale) for scale in chosen.scales)
            sentence += f", for editors that work at {sizes}"
            if kind == "cpu":
                sentence += "; `preset=thorough` protects the full size and takes longer"
        return chosen, sentence


def _said(scale: Scale) -> str:
    if scale == "native":
        return "full size"
    return scale if isinstance(scale, str) else f"{scale} px"


def _kind(device: str) -> str:
    """Type of the device: `cuda`, `mps` or `cpu`."""
    if device == "auto":
        from pca_protect.device import resolve_device  # noqa: PLC0415 - torch

        return resolve_device(device).type
    return device.partition(":")[0]


def _scales(config: ProtectConfig, encoders: Sequence[str]) -> tuple[Scale, ...]:
    """The one size at which editors with these encoders work, in place of the full size."""
    if config.scales:
        return tuple(scale for scale in config.scales if scale != "native") or config.scales
    names = expand(encoders)
    entries = [REGISTRY[name] for name in names if name in REGISTRY]
    if entries and all(entry.embedded for entry in entries) and len(entries) == len(names):
        return (_TEST_SCALE,)
    small = all(entry.embedded or entry.family == REGISTRY[PREFERRED].family for entry in entries)
    return (_WORK_SCALE if small else "1mp",)
