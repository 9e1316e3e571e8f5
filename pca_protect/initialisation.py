"""Chooses what a request starts from: a universal perturbation, see `attack.universal`, or the clean picture."""

from __future__ import annotations

from pathlib import Path

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.presets import PRESETS
from pca_protect.surrogates.encoder import AnySurrogate
from pca_protect.universals.files import Universal, read_universals
from pca_protect.universals.store import find_universal, mean_of_members, misfit


def init_for(surrogate: AnySurrogate, config: ProtectConfig) -> Universal | None:
    """The universal perturbation to initialise with; None initialises with zero.

    Raises:
        UsageError: no universal perturbation fits the request and the preset takes no steps, or the file that the request
            names does not fit.
        ModelError: a file of universal perturbations is damaged.
    """
    if config.recipe.init == "zero":
        return None
    reason = _excluded(config)
    universal = _chosen(surrogate, config) if reason is None else None
    if reason is None and universal is None:
        reason = (
            f"none is trained for {surrogate.name} in mode {config.mode} at {config.budget_levels} levels (pca-protect universal "
            "train trains one)"
        )
    if universal is not None and config.recipe.steps == 0 and not universal.beats_noise:
        reason = (
            f"that of {surrogate.name} in mode {config.mode} shifts the latent only {universal.gain:.2g} times as far as "
            "equally visible noise"
        )
    if reason is not None and PRESETS[config.preset].steps == 0:
        raise UsageError(f"preset {config.preset} applies a universal perturbation, and {reason}; use `preset=fast`")
    if universal is not None and config.universal == "auto" and config.recipe.steps and not universal.helps_steps:
        return None
    return universal


def lacks_universal(surrogate: AnySurrogate, config: ProtectConfig) -> bool:
    """Whether a request would use a universal perturbation if one were trained."""
    return (
        config.recipe.init == "universal"
        and config.universal == "auto"
        and _excluded(config) is None
        and _chosen(surrogate, config) is None
    )


def _excluded(config: ProtectConfig) -> str | None:
    """Why no universal perturbation can fit a request, whatever the encoder, for messages; None if one can."""
    if config.universal == "never":
        return "`universal=never` excludes it"
    if config.mode_label == "custom":
        return "none is trained for another target variance or direction than the mode's"
    if config.scales and ("native" not in config.scales or (config.recipe.steps == 0 and len(config.scales) > 1)):
        return "it supports only the picture's own size, `scales=native`"
    if config.survive is not None:
        return f"`survive={config.survive}` needs gradient steps"
    return None


def _chosen(surrogate: AnySurrogate, config: ProtectConfig) -> Universal | None:
    """The fitting tile of the file that the request names, or the best that is embedded or cached. Steps against several
    encoders without a common tile start from the mean of their own.

    Raises:
        UsageError: no tile of the named file fits.
    """
    if config.universal == "auto":
        universal = find_universal(surrogate, mode=config.mode, budget_levels=config.budget_levels)
        if universal is None and config.recipe.steps:
            universal = mean_of_members(surrogate, mode=config.mode, budget_levels=config.budget_levels)
        return universal
    path = Path(config.universal)
    universals = read_universals(path)
    reasons = [misfit(one, surrogate, mode=config.mode, budget_levels=config.budget_levels) for one in universals]
    for universal, reason in zip(universals, reasons, strict=True):
        if reason is None:
            return universal
    raise UsageError(f"{path}: {reasons[0]}; use `universal=auto`, or train one with pca-protect universal train")
