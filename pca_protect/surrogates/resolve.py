"""Resolve `auto`, families and programs to names of encoders, once per run and before outputs are named. Imports no torch, unless
`auto` may take several encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten

from pca_protect.device_names import Device, Precision
from pca_protect.errors import ModelError
from pca_protect.surrogates.families import AUTO, FAMILIES, expand
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.locate import locate
from pca_protect.surrogates.registry import FALLBACK, PREFERRED, REGISTRY

_REASON = 170
"""Characters of a reason inside of another sentence. The sentence for a gated repository fits."""


@dataclass(frozen=True)
class Resolved:
    """Encoder names with `auto`, families and programs replaced.

    Attributes:
        names: encoders to load, each once, in the order requested.
        fallback_warning: why `auto` became the embedded model; empty if it did not.
        left_out: warnings on encoders that `auto` or a family stands for and that are unavailable.
    """

    names: tuple[str, ...]
    fallback_warning: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*((self.fallback_warning,) if self.fallback_warning else ()), *self.left_out)

    @property
    def test_only(self) -> bool:
        """Whether every encoder is an embedded test model: outputs are then named differently."""
        return all(name in REGISTRY and REGISTRY[name].embedded for name in self.names)


def resolve(
    names: Sequence[str],
    *,
    offline: bool,
    fallback: bool = True,
    device: Device = "cpu",
    precision: Precision = "auto",
) -> Resolved:
    """Replace families and programs by their encoders, and `auto` by the Stable Diffusion VAE.

    Encoders of families are looked up and downloaded if necessary; those that are unavailable are left out. `auto` downloads the
    Stable Diffusion VAE only. On a large CUDA device it adds the encoders of `today` that are cached. If nothing of this is
    available it becomes the embedded model. Other names pass unchanged and are not looked up.

    Args:
        names: see `ProtectConfig.vaes`.
        offline: use only the local cache.
        fallback: permit the embedded model.
        device: where the encoders will run.
        precision: of the encoders; `auto` adds none that overflows in it.

    Raises:
        ModelError: every encoder of a family is unavailable, or `fallback` is False and `auto` has none.
        DeviceError: the device is not available.
    """
    found: list[str] = []
    left_out: list[str] = []
    fallback_warning = ""
    for name in names:
        if name == AUTO:
            others = _cached_beside(device, precision)
            try:
                locate(PREFERRED, offline=offline)
                found.append(PREFERRED)
            except ModelError as error:
                if others:
                    left_out.append(_left_out(AUTO, PREFERRED, str(error)))
                elif not fallback:
                    raise
                else:
                    found.append(FALLBACK)
                    fallback_warning = _fallback_warning(str(error))
            found += others
        elif name in FAMILIES:
            reasons = _unavailable(FAMILIES[name].members, names, offline=offline)
            if len(reasons) == len(FAMILIES[name].members):
                raise _none_of(name, reasons)
            left_out += [_left_out(name, member, reason) for member, reason in reasons.items()]
            found += [member for member in FAMILIES[name].members if member not in reasons]
        else:
            found += expand((name,))
    return Resolved(tuple(dict.fromkeys(found)), fallback_warning, tuple(left_out))


def resolve_cached(names: Sequence[str], *, device: Device = "cpu", precision: Precision = "auto") -> Resolved | None:
    """Resolve without network access. None if an encoder that `resolve` looks up is not in the local cache."""
    return None if _uncached(names) else Resolved(_expanded(names, device, precision))


def downloads(names: Sequence[str], *, offline: bool) -> tuple[str, ...]:
    """Encoders that `resolve` would try to download."""
    from huggingface_hub import constants  # noqa: PLC0415 - slow to import

    return () if offline or constants.HF_HUB_OFFLINE else _uncached(names)


def foresee(
    names: Sequence[str],
    *,
    offline: bool,
    fallback: bool = True,
    device: Device = "cpu",
    precision: Precision = "auto",
) -> Resolved:
    """Predict `resolve` without a download, which is assumed to succeed. Takes and raises what `resolve` does."""
    if downloads(names, offline=offline):
        return Resolved(_expanded(names, device, precision))
    return resolve(names, offline=offline, fallback=fallback, device=device, precision=precision)


def _fallback_warning(reason: str) -> str:
    cause, _, _ = reason.partition("; ")  # its remedy names the test model
    return (
        "test only: not protected against any real editor. VAE auto took the test model "
        f"`{FALLBACK}`, because Stable Diffusion's `{PREFERRED}` is not available ({cause}); run the command again once it is"
    )


def _expanded(names: Sequence[str], device: Device, precision: Precision) -> tuple[str, ...]:
    """The encoders if all of them are available."""
    if AUTO not in names:
        return expand(names)
    auto = (PREFERRED, *_cached_beside(device, precision))
    return expand([one for name in names for one in (auto if name == AUTO else (name,))])


def _cached_beside(device: Device, precision: Precision) -> tuple[str, ...]:
    """Encoders that `auto` takes beside the preferred one: those of `today` in the local cache, on a large CUDA device only. On a
    CPU each would add the time of the first."""
    others = tuple(
        name
        for name in FAMILIES["today"].members
        if name != PREFERRED
        and not (precision == "fp16" and REGISTRY[name].overflows_fp16)
        and is_cached(REGISTRY[name])
    )
    if not others or device in ("cpu", "mps"):
        return ()
    from pca_protect.device import is_large_gpu  # noqa: PLC0415 - torch

    return others if is_large_gpu(device) else ()


def _looked_up(names: Sequence[str]) -> tuple[str, ...]:
    """Encoders that are looked up before they are loaded: that of `auto`, and those of families that are not named otherwise."""
    named = expand([name for name in names if name not in FAMILIES])
    members = expand([name for name in names if name in FAMILIES])
    return (*((PREFERRED,) if AUTO in names else ()), *(member for member in members if member not in named))


def _uncached(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in _looked_up(names) if not is_cached(REGISTRY[name])))


def _unavailable(members: Sequence[str], names: Sequence[str], *, offline: bool) -> dict[str, str]:
    """Why members of a family are unavailable. One that is also named by itself counts as available: it is required, and loading
    it says what is wrong."""
    reasons: dict[str, str] = {}
    looked_up = _looked_up(names)
    for member in members:
        if member in looked_up:
            try:
                locate(member, offline=offline)
            except ModelError as error:
                reasons[member] = str(error)
    return reasons


def _left_out(asked: str, member: str, reason: str) -> str:
    return (
        f"VAE {asked} is used without {member}, so there is no protection against {REGISTRY[member].family} "
        f"({shorten(reason, _REASON, placeholder=' ...')})"
    )


def _none_of(family: str, reasons: dict[str, str]) -> ModelError:
    """The error for a family without any available encoder, with the nearest alternative."""
    here = next(
        (entry for entry in REGISTRY.values() if not entry.embedded and entry.has_variance and is_cached(entry)), None
    )
    nearest = (
        f"`vae={FALLBACK}` is built in, for trying only"
        if here is None
        else f"`vae={here.name}` is in the local cache and covers {here.family}"
    )
    first = shorten(next(iter(reasons.values())), 300 - 130, placeholder=" ...")
    return ModelError(f"VAE {family}: none of {', '.join(reasons)} is available ({first}); {nearest}")
