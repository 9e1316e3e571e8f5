"""What the page offers, in plain words, and the request that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from pca_protect.batch.delivery import Delivery
from pca_protect.config import PRESETS, Device, ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.surrogates.hub import at_hand
from pca_protect.surrogates.registry import FALLBACK, PREFERRED, REGISTRY, SurrogateEntry

Choice = tuple[str, str]
"""What it says, and what it means."""

AIMS: list[Choice] = [
    ("Keep my picture unchanged by edits", "diffusion"),
    ("Make edits fail", "concentration"),
    ("Make edits fail, with less to see", "strong"),
]
AIM_NOTES = {
    "diffusion": "The published aim. On the built-in test editors, edits came out different but did not stay close to the "
    "picture.",
    "concentration": "Edits shall come out ruined. On the built-in test editors they still followed the prompt about as well.",
    "strong": "Our own: at least the published effect on the built-in test editors at about half of what can be seen. Making "
    "the picture smaller removes most of it; choose where it will be posted.",
}

PLACES: list[Choice] = [
    ("As it is: the file I download", ""),
    ("Where it is saved as JPEG", "jpeg"),
    ("On a site that makes it smaller and saves it as JPEG", "social"),
]

PARTS: list[Choice] = [
    ("All of it", ""),
    ("The faces", "face"),
    ("The middle", "center"),
    ("Where I paint", "paint"),
]

_SPEEDS = {
    "instant": "Instant",
    "fast": "Fast",
    "balanced": "Balanced",
    "strong": "Thorough",
    "paper": "As published",
}
SPEEDS: list[Choice] = [(f"{said} ({PRESETS[name].steps} steps)", name) for name, said in _SPEEDS.items()]


@dataclass(frozen=True)
class Wanted:
    """What somebody chose on the page.

    Attributes:
        part: what `ProtectConfig.region` takes; `paint` for the painted mask; empty for all.
        place: what `survive` takes; empty for nothing.
        most_visible_levels: see `ProtectConfig.max_visibility`; 0 is no limit.
    """

    mode: str = ProtectConfig.mode
    preset: str = ProtectConfig.preset
    budget_levels: int = ProtectConfig.budget_levels
    vaes: tuple[str, ...] = field(default=("auto",))
    place: str = ""
    part: str = ""
    most_visible_levels: float = 0.0
    strip_gps: bool = False
    strip_metadata: bool = False

    def config(self, device: str) -> ProtectConfig:
        """Raises:
        UsageError: no model was chosen, or the choices contradict each other.
        """
        if not self.vaes:
            raise UsageError("no model is chosen to guard against; tick one at least")
        if "auto" in self.vaes and len(self.vaes) > 1:
            raise UsageError("Automatic chooses the model itself; untick it, or the others")
        return ProtectConfig(
            mode=self.mode,
            preset=self.preset,
            budget_levels=self.budget_levels,
            max_visibility=self.most_visible_levels or None,
            survive=self.place or None,
            region=None if self.part in ("", "paint") else self.part,
            vae=self.vaes[0] if len(self.vaes) == 1 else self.vaes,
            device=cast(Device, device),
        )

    @property
    def delivery(self) -> Delivery:
        return Delivery(strip_metadata=self.strip_metadata, strip_gps=self.strip_gps)


def models(*, offline: bool) -> list[Choice]:
    """The encoders that can be had, with what that takes. Touches no network."""
    choices = [(_automatic(offline=offline), "auto")]
    for entry in REGISTRY.values():
        here = at_hand(entry)
        if here or not (offline or entry.unavailable):
            choices.append((_model(entry, here=here), entry.name))
    return choices


def _automatic(*, offline: bool) -> str:
    preferred = REGISTRY[PREFERRED]
    if at_hand(preferred):
        return f"Automatic: {preferred.family}, installed"
    if offline:
        return f"Automatic: the test model {FALLBACK}, since {preferred.family} is not installed"
    return (
        f"Automatic: {preferred.family}, to be downloaded (about {preferred.download_megabytes} MB); where it cannot be had, "
        f"the test model {FALLBACK}"
    )


def _model(entry: SurrogateEntry, *, here: bool) -> str:
    if entry.embedded:
        return f"{entry.name}: built in for tests, stands for no editor in use"
    if here:
        return f"{entry.name}: {entry.family}, installed"
    login = ", after a login at its publisher" if entry.gated else ""
    return f"{entry.name}: {entry.family}, to be downloaded (about {entry.download_megabytes} MB{login})"
