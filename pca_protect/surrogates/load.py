"""A surrogate by name, ready to use: frozen, encoder only, on its device."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pca_protect import compute
from pca_protect.config import Device, Precision
from pca_protect.errors import DeviceError, ModelError
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.adapter import Encoder, Surrogate
from pca_protect.surrogates.lean import keep_less
from pca_protect.surrogates.locate import Located, locate
from pca_protect.surrogates.registry import FALLBACK, PREFERRED, embedded_warning
from pca_protect.surrogates.self_test import require_agreement
from pca_protect.surrogates.several import Encoders, several

_HAS_VARIANCE = {
    "AutoencoderKL": True,
    "AutoencoderKLFlux2": True,
    "AutoencoderKLQwenImage": True,
    "AutoencoderTiny": False,
    "AutoencoderDC": False,
}
"""The diffusers classes that can be surrogates."""

_TAKES_VIDEO = {"AutoencoderKLQwenImage"}


def load_surrogate(
    name: str = "auto",
    *,
    device: Device | torch.device = "auto",
    precision: Precision = "auto",
    offline: bool = False,
    compiled: bool = False,
) -> Surrogate:
    """Load an encoder to protect against.

    >>> surrogate = load_surrogate("pocket", device="cpu")
    >>> surrogate.latent_channels, surrogate.has_variance
    (4, True)

    Args:
        name: a name of `REGISTRY`, a hub id, a diffusers folder, or a `.safetensors` file. `auto` takes the Stable
            Diffusion VAE if it is cached or can be downloaded, and the embedded `pocket` with a warning otherwise.
        device: `auto` prefers cuda, then mps, then cpu; `cuda:1`, or a `torch.device`, names one of several. An
            accelerator has to encode two test pictures as the CPU does, see `self_test`.
        precision: `auto` is bf16 on CUDA devices that do it natively and fp32 elsewhere.
        offline: touch no network; only embedded models, local files and the hub's local cache.
        compiled: let `torch.compile` translate the encoder when it is first used, and again for pictures of another size.
            Takes a minute or so and a C++ compiler; sums are added in another order then, which turns signs near zero.

    Raises:
        UsageError: the name means nothing.
        ModelError: the model cannot be fetched, or its files are damaged, pickled or of an unknown kind.
        DeviceError: the device is not there, has no memory left or computes another result than the CPU, or the model overflows
            in this precision.
    """
    if name != "auto":
        return _load(locate(name, offline=offline), device, precision, compiled)
    try:
        return _load(locate(PREFERRED, offline=offline), device, precision, compiled)
    except ModelError as error:
        fallback = _load(locate(FALLBACK, offline=offline), device, precision, compiled)
        reason = f"--vae auto could not have `{PREFERRED}` ({error}) and took `{FALLBACK}`"
        return replace(fallback, warnings=(reason, *fallback.warnings))


def load_surrogates(
    names: Sequence[str],
    *,
    device: Device | torch.device = "auto",
    precision: Precision = "auto",
    offline: bool = False,
) -> Encoders:
    """Load what a configuration names, see `ProtectConfig.vaes`: one as `load_surrogate` returns it, several together.

    Raises:
        UsageError: two have the same weights; and what `load_surrogate` raises.
    """
    return several([load_surrogate(name, device=device, precision=precision, offline=offline) for name in names])


def surrogate_of(vae: nn.Module, *, name: str, origin: str) -> Surrogate:
    """A copy of the encoder of a diffusers VAE that is in memory already, in the same precision on the same device.

    Raises:
        ModelError: the VAE is of a kind that cannot be a surrogate.
    """
    kind = type(vae).__name__
    if kind not in _HAS_VARIANCE:
        raise ModelError(f"{origin}: a {kind} cannot be a surrogate; known kinds are {', '.join(_HAS_VARIANCE)}")
    encoder = copy.deepcopy(_encoder_of(vae, kind)).eval().requires_grad_(False)
    keep_less(encoder)
    parameter = next(encoder.parameters())
    multiple, latent_channels = _probe(encoder, parameter.device, parameter.dtype)
    return Surrogate(name, origin, checkpoint.digest(encoder.state_dict()), encoder, multiple, latent_channels)


def _load(found: Located, device_name: Device | torch.device, precision: Precision, compiled: bool) -> Surrogate:
    entry = found.entry
    overflows = entry.overflows_fp16 if entry else _config_says_overflow(found.config)
    device = compute.resolve_device(device_name)
    dtype = compute.resolve_dtype(precision, device, overflows_fp16=overflows, model=found.name)
    tensors = checkpoint.read_encoder(found.weights)
    config = found.config or checkpoint.infer_config(tensors, found.weights)
    encoder = _build(config, found.origin)
    try:
        encoder.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        first_line = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(f"{found.origin}: the weights do not fit the configuration ({first_line})") from error
    identity = checkpoint.digest(tensors)
    encoder.eval().requires_grad_(False)
    keep_less(encoder)
    on_cpu = None if device.type == "cpu" else copy.deepcopy(encoder).float()
    try:
        encoder.to(device=device, dtype=dtype)
        if device.type == "cuda":
            channels_last(encoder)
        multiple, latent_channels = _probe(encoder, device, dtype)
        surrogate = Surrogate(found.name, found.origin, identity, encoder, multiple, latent_channels)
        if on_cpu is not None:
            reference = replace(surrogate, encoder=on_cpu)
            require_agreement(reference.posterior, surrogate.posterior, device=device, dtype=dtype, name=found.name)
    except RuntimeError as error:
        if not compute.is_out_of_memory(error):
            raise
        raise DeviceError(
            f"{found.name}: {device} has no memory for its weights; give fewer or smaller VAEs, or --device cpu"
        ) from error
    if compiled:
        encoder.compile()
    warnings = []
    if entry is not None and entry.embedded:
        warnings.append(embedded_warning(entry.name))
    if not encoder.has_variance:
        warnings.append(f"{found.name} returns a point, not a distribution: only the mean term of the loss applies")
    return replace(surrogate, warnings=tuple(warnings))


def channels_last(encoder: nn.Module) -> None:
    """Lay out the weights of two-dimensional convolutions, and with them all that comes out of them, as tensor cores take
    them. Values stay as they are."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _build(config: dict[str, Any], origin: str) -> Encoder:
    """An encoder without weights. The decoder that diffusers would build beside it never gets memory."""
    from accelerate import init_empty_weights  # noqa: PLC0415
    from diffusers import models  # noqa: PLC0415

    kind = config.get("_class_name", "AutoencoderKL")
    if kind not in _HAS_VARIANCE:
        raise ModelError(f"{origin}: a {kind} cannot be a surrogate; known kinds are {', '.join(_HAS_VARIANCE)}")
    cls = getattr(models, kind, None)
    if cls is None:
        raise ModelError(f"{origin}: this diffusers has no {kind}; upgrade with `pip install -U diffusers`")
    known = inspect.signature(cls.__init__).parameters
    try:
        with init_empty_weights():
            vae: nn.Module = cls(**{key: value for key, value in config.items() if key in known})
    except (TypeError, ValueError, IndexError) as error:
        raise ModelError(f"{origin}: its configuration makes no {kind} ({error})") from error
    return _encoder_of(vae, kind)


def _encoder_of(vae: nn.Module, kind: str) -> Encoder:
    return Encoder(
        vae.encoder,  # type: ignore[arg-type]
        getattr(vae, "quant_conv", None),
        has_variance=_HAS_VARIANCE[kind],
        takes_video=kind in _TAKES_VIDEO,
    )


def _config_says_overflow(config: dict[str, Any] | None) -> bool:
    """`force_upcast` is diffusers' own mark of a VAE that overflows in fp16, but it is its default too: it counts
    only for the scaling factor of SDXL."""
    return config is not None and bool(config.get("force_upcast")) and config.get("scaling_factor") == 0.13025


def _probe(encoder: Encoder, device: torch.device, dtype: torch.dtype) -> tuple[int, int]:
    """Downscaling and latent channels, measured on a blank picture."""
    side = 64
    with torch.no_grad():
        mean = encoder(torch.zeros(1, 3, side, side, device=device, dtype=dtype)).mean
    return side // mean.shape[-1], mean.shape[1]
