"""What the page offers, in plain words, and the request that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import PRESETS, ProtectConfig, parse_scales
from pca_protect.errors import UsageError
from pca_protect.modes import MODES
from pca_protect.surrogates.families import FAMILIES
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.registry import FALLBACK, PREFERRED, REGISTRY, SurrogateEntry

Choice = tuple[str, str]
"""What it says, and what it means."""

AIMS: list[Choice] = [(mode.label or name, name) for name, mode in MODES.items()]
AIM_NOTES = {name: mode.note for name, mode in MODES.items()}

PLACES: list[Choice] = [
    ("As it is: the file I download", ""),
    ("Where it is saved as JPEG", "jpeg"),
    ("On a site that makes it smaller and saves it as JPEG", "social"),
]

SIZES: list[Choice] = [
    ("As large as it is, or as the chosen models do", ""),
    ("At 256 px, as the built-in test editors", "256,native"),
    ("At 512 px, as Stable Diffusion 1.x", "512,native"),
    ("At 512, 768 or 1024 px", "512,768,1024,native"),
    ("At about one megapixel, as FLUX.1 Kontext, FLUX.2 and Qwen-Image-Edit", "1mp,native"),
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
    "thorough": "Thorough",
    "paper": "As published",
}


def _steps(name: str) -> str:
    """Where the loss goes up, and where it goes down if that takes more."""
    recipe = PRESETS[name]
    return f"{recipe.steps}" if recipe.descent_steps is None else f"{recipe.steps} to {recipe.descent_steps}"


SPEEDS: list[Choice] = [(f"{said} ({_steps(name)} steps)", name) for name, said in _SPEEDS.items()]


@dataclass(frozen=True)
class Wanted:
    """What somebody chose on the page.

    Attributes:
        part: what `ProtectConfig.region` takes; `paint` for the painted mask; empty for all.
        place: what `survive` takes; empty for nothing.
        seen: what `parse_scales` takes; empty as for `ProtectConfig.scales`.
        most_visible_levels: see `ProtectConfig.max_visibility`; 0 is no limit.
    """

    mode: str = ProtectConfig.mode
    preset: str = ProtectConfig.preset
    budget_levels: int = ProtectConfig.budget_levels
    vaes: tuple[str, ...] = field(default=("auto",))
    place: str = ""
    seen: str = ""
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
            scales=parse_scales(self.seen),
            region=None if self.part in ("", "paint") else self.part,
            vae=self.vaes,
            device=device,
        )

    @property
    def output_options(self) -> OutputOptions:
        return OutputOptions(strip_metadata=self.strip_metadata, strip_gps=self.strip_gps)


def encoders_here(*, offline: bool) -> list[Choice]:
    """Automatic, and the families and encoders that need no download."""
    families = [(f"{name}: {FAMILIES[name].summary}, installed", name) for name in FAMILIES if not _missing(name)]
    encoders = [_said(entry) for entry in REGISTRY.values() if is_cached(entry)]
    return [(_automatic(offline=offline), "auto"), *families, *encoders]


def encoders_elsewhere(*, offline: bool) -> list[Choice]:
    """The families and encoders that would be downloaded, and how much that is. Touches no network."""
    if offline:
        return []
    families = [
        (f"{name}: {FAMILIES[name].summary}, about {sum(entry.download_megabytes for entry in missing)} MB", name)
        for name in FAMILIES
        if (missing := _missing(name))
    ]
    return [*families, *(_said(entry) for entry in REGISTRY.values() if not is_cached(entry))]


def _missing(family: str) -> list[SurrogateEntry]:
    """Members that are not in the local cache."""
    return [REGISTRY[name] for name in FAMILIES[family].members if not is_cached(REGISTRY[name])]


def _automatic(*, offline: bool) -> str:
    preferred = REGISTRY[PREFERRED]
    if is_cached(preferred):
        others = [REGISTRY[name] for name in FAMILIES["today"].members if name != PREFERRED]
        installed = ", ".join(entry.family for entry in others if is_cached(entry))
        return f"Automatic: {preferred.family}, installed{f'; on a large GPU also {installed}' if installed else ''}"
    if offline:
        return f"Automatic: the test model {FALLBACK}, since {preferred.family} is not installed"
    return (
        f"Automatic: {preferred.family}, to be downloaded (about {preferred.download_megabytes} MB); where it cannot be had, "
        f"the test model {FALLBACK}"
    )


def _said(entry: SurrogateEntry) -> Choice:
    if entry.embedded:
        return f"{entry.name}: built in for tests, stands for no editor in use", entry.name
    if is_cached(entry):
        return f"{entry.name}: {entry.family}, installed", entry.name
    login = ", after a login at its publisher" if entry.gated else ""
    return f"{entry.name}: {entry.family}, about {entry.download_megabytes} MB{login}", entry.name
