"""Registry of arms: names and settings, no computation."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.modes import MODES, present_name
from pca_protect.presets import PRESETS, SURVIVE

Needs = Literal["nothing", "encoder", "denoiser"]
"""Part of the editor that a method attacks; `denoiser` means encoder and UNet."""


@dataclass(frozen=True)
class Arm:
    """A method or control of a comparison.

    Attributes:
        name: in tables and options.
        what: description in reports, one phrase.
        source: publication; empty for controls.
        needs: see `Needs`.
        mode, preset: of this program's arms; empty for all others.
        survive, max_visibility: see `ProtectConfig`.
        asked_only: runs only if named.
    """

    name: str
    what: str
    source: str
    needs: Needs
    mode: str = ""
    preset: str = ""
    survive: str | None = None
    max_visibility: float | None = None
    asked_only: bool = False


NOISE_LINF, NOISE_VISIBLE = "noise-linf", "noise-visible"
CONTROLS = (NOISE_LINF, NOISE_VISIBLE)

_PCA = "Guo et al. 2024, arXiv 2408.10901"
_SDS = "Xue et al. 2024, arXiv 2311.12832"

_ENTRIES = (
    Arm(NOISE_LINF, "uniform noise of the whole budget", "", "nothing"),
    Arm(NOISE_VISIBLE, "uniform noise, as visible as the most visible method on that picture", "", "nothing"),
    Arm("photoguard", "latent mean towards 0", "Salman et al. 2023, arXiv 2302.06588", "encoder"),
    Arm(
        "latent-distance",
        "latent mean away from the clean one",
        "Chen et al. 2023 (EditShield), arXiv 2311.12066",
        "encoder",
    ),
    Arm("pid", "latent mean and log-variance away from the clean ones", "Li et al. 2024, arXiv 2406.09305", "encoder"),
    Arm("mist", "latent mean towards that of a pattern", "Liang & Wu 2023, arXiv 2305.12683", "encoder"),
    Arm("advdm", "denoising loss up", "Liang et al. 2023, arXiv 2302.04578", "denoiser"),
    Arm("sds-plus", "score distillation up", _SDS, "denoiser"),
    Arm("sds-minus", "score distillation down", _SDS, "denoiser"),
    Arm("pca-diffusion", "posterior collapse, mode diffusion, published loop", _PCA, "encoder", "diffusion", "paper"),
    Arm(
        "pca-concentration",
        "posterior collapse, mode concentration, published loop",
        _PCA,
        "encoder",
        "concentration",
        "paper",
    ),
    *(
        Arm(
            f"{preset}-{mode}",
            f"pca_protect, mode {mode}, preset {preset}",
            "this program",
            "encoder",
            mode,
            preset,
            asked_only=preset != ProtectConfig.preset,
        )
        for preset in PRESETS
        if preset != "paper"
        for mode in MODES
    ),
    *(
        Arm(
            f"survive-{survive}",
            f"pca_protect, mode subtle, to survive {processing.summary}",
            "this program",
            "encoder",
            "subtle",
            "balanced",
            survive=survive,
            asked_only=True,
        )
        for survive, processing in SURVIVE.items()
    ),
    *(
        Arm(
            f"discreet-{levels}",
            f"pca_protect, mode subtle, visibility at most {levels} levels",
            "this program",
            "encoder",
            "subtle",
            "balanced",
            max_visibility=levels,
            asked_only=True,
        )
        for levels in (0.25, 0.5)
    ),
)

ARMS: dict[str, Arm] = {arm.name: arm for arm in _ENTRIES}

_RENAMED = {
    name.replace("subtle", "strong").replace("thorough", "strong"): name
    for name in ARMS
    if "subtle" in name or "thorough" in name
}
"""Names until 0.1, from when mode `subtle` and preset `thorough` were both called `strong`."""

DEFAULT_ARMS = tuple(name for name, arm in ARMS.items() if not arm.asked_only)
CHIEF_ARMS = (*CONTROLS, "pca-diffusion", "pca-concentration")
"""The paper's two modes and the controls that they have to beat."""
DECIDED_ARMS = ("pca-diffusion", "pca-concentration", *(f"{ProtectConfig.preset}-{mode}" for mode in MODES))
"""The paper's two modes and this program's: with controls made from their own perturbation, see `controls`."""


def arms_named(names: Sequence[str]) -> list[Arm]:
    """Arms in the order of the table, each once.

    Raises:
        UsageError: a name is unknown.
    """
    names = [present_name("arm", name, _RENAMED) for name in names]
    for name in names:
        if name not in ARMS:
            close = difflib.get_close_matches(name, ARMS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known ones are {', '.join(ARMS)}"
            raise UsageError(f"unknown arm {name!r}; {hint}")
    return [arm for arm in ARMS.values() if arm.name in names]
