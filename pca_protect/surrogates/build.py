"""An encoder on the CPU: from files with their weights, or copied from a VAE in memory."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pca_protect.errors import ModelError, first_line, quoted
from pca_protect.surrogates import checkpoint, hub
from pca_protect.surrogates.encoder import Encoder
from pca_protect.surrogates.kinds import KINDS, Kind
from pca_protect.surrogates.kl_encoder import empty_kl_encoder, kl_shape
from pca_protect.surrogates.locate import WeightFiles

MAX_QUOTED = 120
"""Maximum number of characters quoted from another library's message."""
_MAX_NAME = 90
"""Maximum number of characters of a class or tensor name in a message."""


def read(found: WeightFiles) -> tuple[Encoder, Kind, str]:
    """The encoder, on the CPU in the precision of its file, its kind, and the digest of its weights."""
    class_name = None if found.config is None else str(found.config.get("_class_name", "AutoencoderKL"))
    if class_name is not None:
        kind_named(class_name, found.origin)
    tensors = checkpoint.read_encoder(found.weights, class_name)
    require_finite(tensors, found.origin)
    config = found.config or checkpoint.infer_config(tensors, found.weights[0])
    class_name = class_name or str(config["_class_name"])
    encoder = _build(config, class_name, found.origin)
    if problem := checkpoint.misfit(encoder.state_dict(), tensors):
        remedy = "both files of one model" if found.config else "the whole diffusers folder"
        raise ModelError(f"{found.origin}: the weights do not fit the configuration ({problem}); give {remedy}")
    encoder.load_state_dict(tensors, strict=True, assign=True)
    return encoder, kind_named(class_name, found.origin), checkpoint.digest(tensors)


def _build(config: dict[str, Any], class_name: str, origin: str) -> Encoder:
    """An encoder without weights: of our own class, or of the diffusers class in the configuration. The decoder that diffusers
    builds with it is never allocated."""
    own = _own_encoder(config, class_name)
    if own is not None:
        return require_colour(own, class_name, origin)
    hub.require_client()
    from accelerate import init_empty_weights  # noqa: PLC0415
    from diffusers import models  # noqa: PLC0415

    kind = kind_named(class_name, origin)
    cls = getattr(models, class_name, None)
    if cls is None:
        raise ModelError(f"{origin}: this diffusers has no {class_name}; upgrade with `pip install -U diffusers`")
    known = inspect.signature(cls.__init__).parameters
    try:
        if kind.channels(config) != 3 and kind.channels_key not in known:
            raise ModelError(
                f"{origin}: this diffusers' {class_name} takes no {kind.channels_key}; upgrade with `pip install -U diffusers`"
            )
        with init_empty_weights():
            vae: nn.Module = cls(**{key: value for key, value in config.items() if key in known})
    except (TypeError, ValueError, IndexError, KeyError, ArithmeticError, AssertionError, RuntimeError) as error:
        raise ModelError(
            f"{origin}: config.json is not valid for {class_name} ({quoted(first_line(error), MAX_QUOTED)}); download "
            "config.json again"
        ) from error
    return require_colour(encoder_of(vae, class_name), class_name, origin)


def _own_encoder(config: Mapping[str, object], class_name: str) -> Encoder | None:
    """An encoder of our own class without weights; None if only the diffusers class supports it, see `kl_shape`."""
    shape = kl_shape(config, class_name)
    if shape is None:
        return None
    return Encoder(*empty_kl_encoder(shape), has_variance=True, takes_video=False, channels=shape.in_channels)


def copied(vae: nn.Module, class_name: str) -> Encoder:
    """A copy of the encoder of a VAE in memory. It is of our own class only if all tensors match: a VAE can have adapters."""
    encoder = copy.deepcopy(encoder_of(vae, class_name))
    own = _own_encoder(dict(vae.config), class_name)  # type: ignore[arg-type]
    if own is None or checkpoint.misfit(own.state_dict(), encoder.state_dict()):
        return encoder
    own.load_state_dict(encoder.state_dict(), strict=True, assign=True)
    return own


def kind_named(class_name: str, origin: str) -> Kind:
    if class_name not in KINDS:
        article = "an" if class_name[:1] in "AEIOU" else "a"
        raise ModelError(
            f"{origin}: {article} {quoted(class_name, _MAX_NAME)} cannot be a surrogate; give the VAE of an image editor, such "
            "as an AutoencoderKL (`pca-protect vaes` lists some)"
        )
    return KINDS[class_name]


def encoder_of(vae: nn.Module, class_name: str) -> Encoder:
    kind = KINDS[class_name]
    config: dict[str, Any] = dict(vae.config)  # type: ignore[arg-type]
    return Encoder(
        vae.encoder,  # type: ignore[arg-type]
        getattr(vae, "quant_conv", None),
        has_variance=kind.has_variance,
        takes_video=kind.takes_video,
        channels=kind.channels(config),
        patch=kind.patch(config),
    )


def require_colour(encoder: Encoder, class_name: str, origin: str) -> Encoder:
    """The encoder itself, once its input is known to be RGB or RGBA."""
    if encoder.channels not in (3, 4):
        raise ModelError(
            f"{origin}: this {class_name} takes {encoder.channels} input channels; give a VAE that takes RGB or RGBA"
        )
    return encoder


def require_finite(weights: Mapping[str, Tensor], origin: str) -> None:
    for name, tensor in weights.items():
        wide = tensor.float() if tensor.itemsize == 1 else tensor  # `isfinite` does not support every fp8 type
        if not bool(wide.flatten().isfinite().all()):
            raise ModelError(
                f"{origin}: tensor {quoted(name, _MAX_NAME)} holds values that are not finite; download the file again, or "
                "give another copy"
            )
