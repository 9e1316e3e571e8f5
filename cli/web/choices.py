"""Options of the page, with their labels, and the conversion to a `ProtectConfig`."""

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
"""Label and value."""

AIMS: list[Choice] = [(mode.label or name, name) for name, mode in MODES.items()]
AIM_NOTES = {name: mode.note for name, mode in MODES.items()}

PLACES: list[Choice] = [
    ("Unchanged: as the file I download", ""),
    ("On a site that saves it as JPEG", "jpeg"),
    ("On a site that downscales it and saves it as JPEG", "social"),
]

SIZES: list[Choice] = [
    ("At its own size, or as the chosen models see it", ""),
    ("At 256 px, like the built-in test editors", "256,native"),
    ("At 512 px, like Stable Diffusion 1.x", "512,native"),
    ("At 512, 768 or 1024 px", "512,768,1024,native"),
    ("At about one megapixel, as FLUX.1 Kontext, FLUX.2 and Qwen-Image-Edit", "1mp,native"),
]

PARTS: list[Choice] = [
    ("The whole picture", ""),
    ("Faces", "face"),
    ("The center", "center"),
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
    """Steps for ascended losses, and for descended losses if they take more."""
    recipe = PRESETS[name]
    return f"{recipe.steps}" if recipe.descent_steps is None else f"{recipe.steps} to {recipe.descent_steps}"


SPEEDS: list[Choice] = [(f"{label} ({_steps(name)} steps)", name) for name, label in _SPEEDS.items()]


@dataclass(frozen=True)
class Selection:
    """A visitor's settings. See `ProtectConfig` for fields without a description.

    Attributes:
        survive: empty for none.
        scales: input of `parse_scales`; empty as for `ProtectConfig.scales`.
        region: empty for the whole picture; `paint` for the painted mask.
        max_visibility: 0 for no limit.
    """

    mode: str = ProtectConfig.mode
    preset: str = ProtectConfig.preset
    budget_levels: int = ProtectConfig.budget_levels
    vaes: tuple[str, ...] = field(default=("auto",))
    survive: str = ""
    scales: str = ""
    region: str = ""
    max_visibility: float = 0.0
    strip_gps: bool = False
    strip_metadata: bool = False

    def config(self, device: str) -> ProtectConfig:
        """Raises:
        UsageError: no encoder is chosen, or settings are incompatible.
        """
        if not self.vaes:
            raise UsageError("no encoder is chosen; tick at least one")
        if "auto" in self.vaes and len(self.vaes) > 1:
            raise UsageError("Automatic cannot be combined with other encoders; untick it or the others")
        return ProtectConfig(
            mode=self.mode,
            preset=self.preset,
            budget_levels=self.budget_levels,
            max_visibility=self.max_visibility or None,
            survive=self.survive or None,
            scales=parse_scales(self.scales),
            region=None if self.region in ("", "paint") else self.region,
            vae=self.vaes,
            device=device,
        )

    @property
    def output_options(self) -> OutputOptions:
        return OutputOptions(strip_metadata=self.strip_metadata, strip_gps=self.strip_gps)


def local_encoders(*, offline: bool) -> list[Choice]:
    """`auto`, and the families and encoders that need no download."""
    families = [(f"{name}: {FAMILIES[name].summary}, installed", name) for name in FAMILIES if not _missing(name)]
    encoders = [_encoder_choice(entry) for entry in REGISTRY.values() if is_cached(entry)]
    return [(_automatic(offline=offline), "auto"), *families, *encoders]


def remote_encoders(*, offline: bool) -> list[Choice]:
    """The families and encoders that need a download, with its size. Uses no network."""
    if offline:
        return []
    families = [
        (f"{name}: {FAMILIES[name].summary}, about {sum(entry.download_megabytes for entry in missing)} MB", name)
        for name in FAMILIES
        if (missing := _missing(name))
    ]
    return [*families, *(_encoder_choice(entry) for entry in REGISTRY.values() if not is_cached(entry))]


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
        return f"Automatic: the test model {FALLBACK}, because {preferred.family} is not installed"
    return (
        f"Automatic: {preferred.family}, a download of about {preferred.download_megabytes} MB; if unavailable, the test model "
        f"{FALLBACK}"
    )


def _encoder_choice(entry: SurrogateEntry) -> Choice:
    if entry.embedded:
        return f"{entry.name}: built in for tests, used by no real editor", entry.name
    if is_cached(entry):
        return f"{entry.name}: {entry.family}, installed", entry.name
    login = ", needs a login at its publisher" if entry.gated else ""
    return f"{entry.name}: {entry.family}, a download of about {entry.download_megabytes} MB{login}", entry.name
