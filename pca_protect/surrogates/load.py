"""Loading a surrogate by name: encoder only, frozen, on its device."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from warnings import warn

import torch
from torch import nn

from pca_protect.device import is_out_of_memory, resolve_device, resolve_dtype
from pca_protect.device_names import Device, Precision
from pca_protect.errors import DeviceError, FallbackWarning, ModelError, UsageError, first_line, quoted
from pca_protect.surrogates import build, checkpoint
from pca_protect.surrogates.build import MAX_QUOTED, kind_named, require_colour, require_finite
from pca_protect.surrogates.encoder import AnySurrogate, Encoder, Surrogate, ensemble
from pca_protect.surrogates.families import FAMILIES
from pca_protect.surrogates.kinds import Kind
from pca_protect.surrogates.locate import WeightFiles, locate
from pca_protect.surrogates.memory_efficient import reduce_saved_activations, use_kernels
from pca_protect.surrogates.one_frame import over_one_frame
from pca_protect.surrogates.probe import blank_mean, downscaling_and_channels
from pca_protect.surrogates.registry import FALLBACK, embedded_warning, point_warning
from pca_protect.surrogates.resolve import Resolved, resolve
from pca_protect.surrogates.self_test import require_agreement


def load_surrogate(
    name: str = "auto",
    *,
    device: Device | torch.device = "auto",
    precision: Precision = "auto",
    offline: bool = False,
    compiled: bool = False,
    fallback: bool = True,
) -> Surrogate:
    """Load an encoder to protect against.

    >>> surrogate = load_surrogate("pocket", device="cpu")
    >>> surrogate.latent_channels, surrogate.has_variance
    (4, True)

    Args:
        name: a name of `REGISTRY` or `PROGRAMS`, a hub id, a diffusers folder, or a `.safetensors` file. `auto` takes the Stable
            Diffusion VAE if it is cached or can be downloaded, and otherwise the embedded `pocket` with a `FallbackWarning`.
        device: `auto` prefers cuda, then mps, then cpu; `cuda:1`, or a `torch.device`, selects one. On an
            accelerator, the encodings of two test pictures must agree with the CPU's, see `self_test`.
        precision: `auto` is bf16 on CUDA devices with native support and fp32 elsewhere.
        offline: touch no network; only embedded models, local files and the hub's local cache.
        compiled: compile the encoder with `torch.compile` at first use, and again for each picture size. This takes about a
            minute and needs a C++ compiler. It changes the summation order, which flips signs near zero.
        fallback: allow `auto` to take the embedded model, which protects against no real editor.

    Raises:
        UsageError: the name is unknown, or a family of several encoders.
        ModelError: the model cannot be downloaded, or its files are damaged, pickled or of an unknown kind.
        DeviceError: the device is not available, is out of memory or disagrees with the CPU, or the model overflows in this
            precision.
    """
    if name in FAMILIES:
        raise UsageError(
            f"VAE {name} stands for several encoders and only one is loaded here; name one of {', '.join(FAMILIES[name].members)}"
        )
    resolved = resolve((name,), offline=offline, fallback=fallback)
    _warn(resolved)
    return _members(resolved, device, precision, offline=offline, compiled=compiled)[0]


def load_surrogates(
    names: Sequence[str],
    *,
    device: Device | torch.device = "auto",
    precision: Precision = "auto",
    offline: bool = False,
    fallback: bool = True,
) -> AnySurrogate:
    """Load the encoders of a configuration, see `ProtectConfig.vaes`: a surrogate for one name, an ensemble for several.

    Raises:
        UsageError: two have the same weights. `resolve` and `load_surrogate` list all other errors.
    """
    resolved = resolve(names, offline=offline, fallback=fallback, device=str(device), precision=precision)
    _warn(resolved)
    return load_resolved(resolved, device=device, precision=precision, offline=offline)


def load_resolved(
    resolved: Resolved, *, device: Device | torch.device = "auto", precision: Precision = "auto", offline: bool = False
) -> AnySurrogate:
    """`load_surrogates` for resolved names. A fallback is in the surrogate's warnings, without a Python warning."""
    return ensemble(_members(resolved, device, precision, offline=offline))


def _warn(resolved: Resolved) -> None:
    for warning in resolved.warnings:
        warn(warning, FallbackWarning, stacklevel=3)


def _members(
    resolved: Resolved, device: Device | torch.device, precision: Precision, *, offline: bool, compiled: bool = False
) -> list[Surrogate]:
    found = [_load(locate(name, offline=offline), device, precision, compiled) for name in resolved.names]
    if resolved.warnings:
        first = resolved.names.index(FALLBACK) if resolved.fallback_warning else 0
        said = (
            {embedded_warning(FALLBACK)} if resolved.fallback_warning else set()
        )  # the fallback's warning says it too
        others = (warning for warning in found[first].warnings if warning not in said)
        found[first] = replace(found[first], warnings=(*resolved.warnings, *others))
    return found


def surrogate_of(vae: nn.Module, *, name: str, origin: str) -> Surrogate:
    """A copy of the encoder of a loaded diffusers VAE, in the same precision on the same device.

    Raises:
        ModelError: the VAE is of a kind that cannot be a surrogate, or its weights are not finite.
        DeviceError: the device is out of memory.
    """
    class_name = type(vae).__name__
    kind = kind_named(class_name, origin)
    original = require_colour(build.copied(vae, class_name), class_name, origin)
    weights = original.state_dict()
    require_finite(weights, origin)
    identity = checkpoint.digest(weights)
    parameter = next(original.parameters())
    device, dtype = parameter.device, parameter.dtype
    if dtype == torch.float32:
        encoder, load_fp32 = original, None
    else:
        encoder, load_fp32 = copy.deepcopy(original), partial(_fp32_of, original, kind, device, name)
    multiple, latent_channels = _ready(encoder, kind, device, dtype, name)
    return Surrogate(name, origin, identity, encoder, multiple, latent_channels, load_fp32=load_fp32)


def surrogate_of_module(module: nn.Module, *, multiple: int, has_variance: bool, name: str) -> Surrogate:
    """See `Surrogate.from_module`.

    Raises:
        ModelError: the module has no parameters, its weights are not finite, or it fails on a blank picture.
        DeviceError: the device is out of memory.
    """
    if next(module.parameters(), None) is None:
        raise ModelError(f"{name}: the module has no parameter, so its device and precision are unknown; register one")
    encoder = Encoder(copy.deepcopy(module), None, has_variance=has_variance, takes_video=False)
    encoder.eval().requires_grad_(False)
    reduce_saved_activations(encoder)
    weights = encoder.state_dict()
    require_finite(weights, name)
    device = next(encoder.parameters()).device
    try:
        mean = blank_mean(encoder, 8 * multiple, device)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise _no_memory(name, device) from error
        raise ModelError(
            f"{name}: the module fails on a blank picture of {8 * multiple} px ({quoted(first_line(error), MAX_QUOTED)}); it has "
            "to take (B, 3, H, W) and return latents (B, C, h, w)"
        ) from error
    return Surrogate(name, "memory", checkpoint.digest(weights), encoder, multiple, mean.shape[1])


def _load(found: WeightFiles, device_name: Device | torch.device, precision: Precision, compiled: bool) -> Surrogate:
    entry = found.entry
    overflows = entry.overflows_fp16 if entry else _config_says_overflow(found.config)
    device = resolve_device(device_name)
    dtype = resolve_dtype(precision, device, overflows_fp16=overflows, model=found.name)
    encoder, kind, identity = build.read(found)
    on_cpu = None if device.type == "cpu" else copy.deepcopy(encoder)
    multiple, latent_channels = _ready(encoder, kind, device, dtype, found.name)
    surrogate = Surrogate(found.name, found.origin, identity, encoder, multiple, latent_channels)
    warnings, kernels = [], device.type == "cuda" and not compiled and use_kernels(encoder, True)
    if on_cpu is not None:
        _ready(on_cpu, kind, torch.device("cpu"), torch.float32, found.name)
        reference = replace(surrogate, encoder=on_cpu)
        if kernels and (problem := _kernel_problem(reference, surrogate, device)):
            warnings.append(f"the fused normalisation fails on {device} ({problem}); PyTorch's slower one replaces it")
            kernels = use_kernels(encoder, False)
        if not kernels:
            _require_agreement(reference, surrogate, device)
    if compiled:
        encoder.compile()
    embedded = entry is not None and entry.embedded
    if embedded:
        warnings.append(embedded_warning(found.name))
    if not encoder.has_variance:
        warnings.append(point_warning(found.name))
    return replace(
        surrogate,
        warnings=tuple(warnings),
        embedded=embedded,
        load_fp32=None if dtype == torch.float32 else partial(_fp32_again, found, identity, device, kernels),
    )


def _require_agreement(on_cpu: Surrogate, surrogate: Surrogate, device: torch.device) -> None:
    """See `self_test.require_agreement`.

    Raises:
        DeviceError: the device disagrees with the CPU, or is out of memory.
    """
    name = surrogate.name
    try:
        require_agreement(
            on_cpu.posterior,
            surrogate.posterior,
            device=device,
            dtype=surrogate.dtype,
            name=name,
            multiple=surrogate.multiple,
        )
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise _no_memory(name, device) from error


def _kernel_problem(on_cpu: Surrogate, surrogate: Surrogate, device: torch.device) -> str | None:
    """Reason why the fused kernels cannot be used, for messages; None if they agree with the CPU."""
    from pca_protect.surrogates.norm_silu import FAILURES  # noqa: PLC0415 - needs Triton

    try:
        _require_agreement(on_cpu, surrogate, device)
    except (DeviceError, ModelError, *FAILURES) as error:
        return quoted(first_line(error), MAX_QUOTED)
    return None


def _ready(encoder: Encoder, kind: Kind, device: torch.device, dtype: torch.dtype, name: str) -> tuple[int, int]:
    """Freeze an encoder, reduce its time and memory, move it to its device, and run it on a blank picture.

    Returns:
        Downscaling factor, and number of latent channels.

    Raises:
        ModelError: the encoder fails on a blank picture.
        DeviceError: the device is out of memory.
    """
    encoder.eval().requires_grad_(False)
    try:
        over_one_frame(encoder, kind)
        reduce_saved_activations(encoder)
        encoder.to(device=device, dtype=dtype)
        if device.type == "cuda":
            channels_last(encoder)
        return downscaling_and_channels(encoder, device)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise _no_memory(name, device) from error
        raise ModelError(
            f"{name}: its encoder fails on a blank picture on {device} ({quoted(first_line(error), MAX_QUOTED)}); check that its "
            "configuration and weights belong together, or give another VAE"
        ) from error


def _no_memory(name: str, device: torch.device) -> DeviceError:
    return DeviceError(f"{name}: {device} has no memory for its weights; give fewer or smaller VAEs, or `device=cpu`")


def _fp32_again(found: WeightFiles, identity: str, device: torch.device, kernels: bool) -> Encoder:
    """The same encoder in fp32, read from its files again."""
    encoder, kind, now = build.read(found)
    if now != identity:
        raise ModelError(f"{found.origin}: the weights have changed since they were loaded; start again")
    _ready(encoder, kind, device, torch.float32, found.name)
    use_kernels(encoder, kernels)
    return encoder


def _fp32_of(original: Encoder, kind: Kind, device: torch.device, name: str) -> Encoder:
    """The same encoder in fp32, from the copy in memory."""
    encoder = copy.deepcopy(original)
    _ready(encoder, kind, device, torch.float32, name)
    return encoder


def channels_last(encoder: nn.Module) -> None:
    """Store the weights of 2-D convolutions, and thereby their outputs, in the layout of tensor cores. Values do not
    change."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _config_says_overflow(config: dict[str, Any] | None) -> bool:
    """`force_upcast` marks a VAE that overflows in fp16, but is also diffusers' default: it counts only with SDXL's scaling
    factor."""
    return config is not None and bool(config.get("force_upcast")) and config.get("scaling_factor") == 0.13025
