"""Resolve `auto` to the name of an encoder, once per run and before outputs are named. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pca_protect.errors import ModelError
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.locate import locate
from pca_protect.surrogates.registry import FALLBACK, PREFERRED, REGISTRY

AUTO = "auto"


@dataclass(frozen=True)
class Resolved:
    """Encoder names with `auto` replaced.

    Attributes:
        names: encoders to load, in the order requested.
        fallback_warning: why `auto` became the embedded model; empty if it did not.
    """

    names: tuple[str, ...]
    fallback_warning: str = ""

    @property
    def test_only(self) -> bool:
        """Whether `auto` fell back and no other name adds an editor's encoder: outputs are then named differently."""
        return bool(self.fallback_warning) and all(name in REGISTRY and REGISTRY[name].embedded for name in self.names)


def resolve(names: Sequence[str], *, offline: bool, fallback: bool = True) -> Resolved:
    """Replace `auto` by the Stable Diffusion VAE, downloaded if necessary, or by the embedded model if that fails.

    Only `auto` falls back. Other names pass unchanged and are not looked up.

    Args:
        names: see `ProtectConfig.vaes`.
        offline: use only the local cache.
        fallback: permit the embedded model.

    Raises:
        ModelError: `fallback` is False and the Stable Diffusion VAE is unavailable.
    """
    if AUTO not in names:
        return Resolved(tuple(names))
    try:
        locate(PREFERRED, offline=offline)
    except ModelError as error:
        if not fallback:
            raise
        return Resolved(_replaced(names, FALLBACK), fallback_warning(str(error)))
    return Resolved(_replaced(names, PREFERRED))


def resolve_cached(names: Sequence[str]) -> Resolved | None:
    """Resolve without network access. None if `auto` is among the names and its model is not in the local cache."""
    if AUTO not in names:
        return Resolved(tuple(names))
    return Resolved(_replaced(names, PREFERRED)) if is_cached(REGISTRY[PREFERRED]) else None


def needs_download(names: Sequence[str], *, offline: bool) -> bool:
    """Whether `resolve` would try a download."""
    from huggingface_hub import constants  # noqa: PLC0415 - slow to import

    return resolve_cached(names) is None and not offline and not constants.HF_HUB_OFFLINE


def foresee(names: Sequence[str], *, offline: bool, fallback: bool = True) -> Resolved:
    """Predict `resolve` without a download, which is assumed to succeed.

    Raises:
        ModelError: see `resolve`.
    """
    if needs_download(names, offline=offline):
        return Resolved(_replaced(names, PREFERRED))
    return resolve(names, offline=offline, fallback=fallback)


def fallback_warning(reason: str) -> str:
    """The warning for a run in which `auto` fell back.

    Args:
        reason: why the preferred model is unavailable.
    """
    return (
        f"test only: VAE auto took the embedded `{FALLBACK}`, which no real editor uses, because `{PREFERRED}` is not "
        f"available ({reason})"
    )


def _replaced(names: Sequence[str], by: str) -> tuple[str, ...]:
    return tuple(by if name == AUTO else name for name in names)
