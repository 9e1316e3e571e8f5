"""Inputs of the page with their labels, and their conversion to a `ProtectConfig`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.image.scale_names import parse_scales
from pca_protect.modes import MODES
from pca_protect.presets import PRESETS
from pca_protect.surrogates.families import AUTO, FAMILIES, scales_of
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.registry import FALLBACK, PREFERRED, REGISTRY, SurrogateEntry

Choice = tuple[str, str]
"""Label and value."""

AIMS: list[Choice] = [(mode.label or name, name) for name, mode in MODES.items()]
AIM_NOTES = {name: mode.note for name, mode in MODES.items()}


@dataclass(frozen=True)
class Destination:
    """Where the picture will be published.

    Attributes:
        survive: see `ProtectConfig.survive`; empty for none.
        scales: a value of `SIZES`.
    """

    label: str
    survive: str
    scales: str


EDITOR_SIZES = "editors"
"""Value of `SIZES`: the sizes at which editors that use the chosen encoders see the picture."""

DESTINATIONS = {
    "website": Destination("My website or blog, which keeps the file as it is", "", EDITOR_SIZES),
    "network": Destination("Instagram, X, Facebook: resized and saved as JPEG", "social", EDITOR_SIZES),
    "jpeg": Destination("A site that saves it as JPEG at full size", "jpeg", EDITOR_SIZES),
    "print": Destination("Print or portfolio, at full size only", "", ""),
}
DESTINATION = "website"


@dataclass(frozen=True)
class Strength:
    """A position of the slider.

    Attributes:
        mode, max_visibility: as in `FormState`.
    """

    label: str
    mode: str
    max_visibility: float


STRENGTHS = (
    Strength("invisible to most eyes, weakest", "subtle", 0.3),
    Strength("hard to see", "subtle", 0.5),
    Strength("visible on smooth areas", "subtle", 0.0),
    Strength("clearly visible", "diffusion", 2.0),
    Strength("strong pattern, most effect", "diffusion", 0.0),
)
STRENGTH = 3
"""Position of the slider, from 1."""

PLACES: list[Choice] = [
    ("None", ""),
    ("JPEG compression", "jpeg"),
    ("An upload: downscaling and JPEG compression", "social"),
]

SIZES: list[Choice] = [
    ("At the size of editors with the chosen encoders", EDITOR_SIZES),
    ("At the picture's own size, or at those of the chosen family", ""),
    ("At 256 px, as the built-in test editors", "256,native"),
    ("At 512 px, as Stable Diffusion 1.x", "512,native"),
    ("At 512, 768 and 1024 px", "512,768,1024,native"),
    ("At about one megapixel, as FLUX.1 Kontext, FLUX.2 and Qwen-Image-Edit", "1mp,native"),
]


def editor_sizes(vaes: tuple[str, ...], preset: str, *, offline: bool) -> str:
    """The value of `SIZES` that `EDITOR_SIZES` stands for."""
    if PRESETS[preset].steps == 0:
        return ""  # universal perturbations are for the own size
    if scales_of(vaes):
        return ""  # families and programs bring their own
    automatic = FALLBACK if offline and not is_cached(REGISTRY[PREFERRED]) else PREFERRED
    names = [automatic if name == AUTO else name for name in vaes]
    embedded = all(name in REGISTRY and REGISTRY[name].embedded for name in names)
    return "256,native" if embedded else "512,native"


PARTS: list[Choice] = [
    ("The whole picture", ""),
    ("Faces", "face"),
    ("The center", "center"),
    ("Where I paint", "paint"),
]

CLEAR_HIDDEN = "Clear the hidden colours of transparent pixels"
"""Label of the input."""

NOTICE = "No part of this picture may be used for text and data mining or to train generative AI."
"""Rights notice of the opt-out."""

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


INPUTS = (
    *("destination", "strength", "mode", "preset", "budget", "vaes", "more_vaes", "survive", "scales", "region"),
    *("max_visibility", "notice", "strip_gps", "strip_metadata", "clear_hidden"),
)
"""Names of the page's inputs, in the order in which its handlers receive their values."""


@dataclass(frozen=True)
class FormState:
    """The settings of a form. See `ProtectConfig` for fields without a description.

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
    clear_hidden: bool = False
    rights_notice: str = ""

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
        return OutputOptions(
            strip_metadata=self.strip_metadata,
            strip_gps=self.strip_gps,
            clear_hidden=self.clear_hidden,
            rights_notice=self.rights_notice,
        )


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
