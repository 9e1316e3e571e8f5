"""Names that stand for encoders: families by use, and programs. Standard library only; nothing is looked up or loaded here.

Which encoder a program uses is a claim of `registry`: `SurrogateEntry.covers` and `covers_unverified`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from pca_protect.errors import UsageError
from pca_protect.image.scale_names import Scale
from pca_protect.surrogates.registry import REGISTRY

AUTO = "auto"


@dataclass(frozen=True)
class Family:
    """Encoders to protect against together.

    Attributes:
        members: names of `REGISTRY`.
        summary: one phrase, for lists.
        scales: sizes of the loss if the request names none, see `ProtectConfig.scales`; empty is the picture's own size.
    """

    members: tuple[str, ...]
    summary: str
    scales: tuple[Scale, ...] = ()


@dataclass(frozen=True)
class Program:
    """An editor known by name.

    Attributes:
        vae: name of its encoder in `REGISTRY`.
        model: its name in `SurrogateEntry.covers` or `covers_unverified`.
        scales: as `Family.scales`.
    """

    vae: str
    model: str
    scales: tuple[Scale, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether the publisher says that the program uses this encoder."""
        return self.model in REGISTRY[self.vae].covers


_EDITORS, _CLASSIC = ("flux1", "flux2", "qwen-image"), ("sd", "sdxl")
_ONE_MEGAPIXEL: tuple[Scale, ...] = ("1mp", "native")
"""Size to which the pipelines of these editors resize a picture before they encode it, and its own for crops."""

FAMILIES: dict[str, Family] = {
    "editors": Family(_EDITORS, "editors that follow instructions: FLUX.1, FLUX.2, Qwen-Image", _ONE_MEGAPIXEL),
    "classic": Family(_CLASSIC, "Stable Diffusion 1.x, 2.x and SDXL, with what is fine-tuned from them"),
    "today": Family((*_CLASSIC, *_EDITORS), "all of classic and editors", _ONE_MEGAPIXEL),
}

PROGRAMS: dict[str, Program] = {
    "anima": Program("qwen-image", "Anima"),
    "chroma": Program("flux1", "Chroma"),
    "ernie-image": Program("flux2", "ERNIE-Image"),
    "flux1-dev": Program("flux1", "FLUX.1 dev"),
    "flux1-krea": Program("flux1", "FLUX.1 Krea"),
    "flux2-dev": Program("flux2", "FLUX.2 dev", _ONE_MEGAPIXEL),
    "flux2-klein": Program("flux2", "FLUX.2 klein", _ONE_MEGAPIXEL),
    "hidream": Program("flux1", "HiDream"),
    "ideogram-4": Program("flux2", "Ideogram 4"),
    "illustrious": Program("sdxl", "Illustrious"),
    "instruct-pix2pix": Program("sd", "InstructPix2Pix"),
    "joyai-image-edit": Program("qwen-image", "JoyAI-Image-Edit", _ONE_MEGAPIXEL),
    "kolors": Program("sdxl", "Kolors"),
    "kontext": Program("flux1", "FLUX.1 Kontext", _ONE_MEGAPIXEL),
    "krea-2": Program("qwen-image", "Krea 2"),
    "longcat-image-edit": Program("flux1", "LongCat-Image-Edit", _ONE_MEGAPIXEL),
    "noobai": Program("sdxl", "NoobAI"),
    "omnigen2": Program("flux1", "OmniGen2"),
    "playground-2.5": Program("sdxl", "Playground 2.5"),
    "pony": Program("sdxl", "Pony"),
    "qwen-image-edit": Program("qwen-image", "Qwen-Image-Edit", _ONE_MEGAPIXEL),
}


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Replace families by their members and programs by their encoders, each encoder once and where it comes first. Other names
    pass unchanged, `auto` included."""
    return tuple(dict.fromkeys(member for name in names for member in _members(name)))


def scales_of(names: Sequence[str]) -> tuple[Scale, ...]:
    """Scales that the families and programs among the names ask for, each once."""
    asking = [FAMILIES.get(name) or PROGRAMS.get(name) for name in names]
    return tuple(dict.fromkeys(scale for one in asking if one is not None for scale in one.scales))


def explain(asked: Sequence[str], names: Sequence[str], scales: Sequence[Scale]) -> list[str]:
    """Sentences on what the names asked for stand for. Empty if every name stands for itself.

    Args:
        asked: see `ProtectConfig.vaes`.
        names: encoders that they were resolved to.
        scales: see `ProtectConfig.scales`.
    """
    if not any(name == AUTO or name in FAMILIES or name in PROGRAMS for name in asked):
        return []
    covered = ", ".join(dict.fromkeys(REGISTRY[name].family for name in names if name in REGISTRY))
    sentence = f"VAE {', '.join(asked)}: {', '.join(names)}{f' ({covered})' if covered else ''}"
    missing = _uncovered(names) if any(name == AUTO or name in FAMILIES for name in asked) else ()
    if missing:
        remedy = "" if "today" in asked else "; `vae=today` covers these too"
        sentence += f"; not covered: {', '.join(missing)}{remedy}"
    sentences = [sentence]
    added = scales_of(asked)
    if added and tuple(scales) == added:
        sentences.append(
            f"sizes {', '.join(map(str, added))}: these editors resize a larger picture to about one megapixel; "
            "`scales=native` leaves that size out"
        )
    return sentences


def unknown_name(name: str) -> UsageError:
    """The error for a name that is neither known, nor a hub id, nor there on disk."""
    close = difflib.get_close_matches(name, [*REGISTRY, *FAMILIES, *PROGRAMS, AUTO], n=1)
    hint = f"did you mean {close[0]}?" if close else "`pca-protect vaes` lists the names."
    return UsageError(f"unknown VAE {name!r}; {hint} A hub id, a folder or a .safetensors file works too")


def _members(name: str) -> tuple[str, ...]:
    if name in FAMILIES:
        return FAMILIES[name].members
    return (PROGRAMS[name].vae,) if name in PROGRAMS else (name,)


def _uncovered(names: Sequence[str]) -> tuple[str, ...]:
    """Families of models among `today` that none of the encoders covers."""
    covered = {model for name in names if name in REGISTRY for model in _models(name)}
    return tuple(REGISTRY[member].family for member in FAMILIES["today"].members if covered.isdisjoint(_models(member)))


def _models(name: str) -> tuple[str, ...]:
    return REGISTRY[name].covers + REGISTRY[name].covers_unverified
