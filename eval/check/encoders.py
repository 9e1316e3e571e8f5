"""Which encoders a picture is checked with."""

from __future__ import annotations

from collections.abc import Sequence

from pca_protect.config import Device
from pca_protect.errors import ModelError
from pca_protect.surrogates.encoder import Surrogate, is_same_encoder
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.load import load_surrogate
from pca_protect.surrogates.registry import REGISTRY, embedded_warning


def load_encoders(
    names: Sequence[str], *, device: Device, offline: bool
) -> tuple[tuple[Surrogate, ...], tuple[str, ...]]:
    """Encoders with different weights, whatever precision they were saved in. All run in fp32, as the stored figures of clean
    pictures were measured.

    Args:
        names: what `load_surrogate` takes; if empty, the embedded ones and those of the registry in the local cache. Of
            those one that does not load is left out, of the former it is an error.
        offline: touch no network.

    Returns:
        The encoders, and what has to be said about them.

    Raises:
        UsageError, ModelError, DeviceError: see `load_surrogate`.
    """
    loaded: list[Surrogate] = []
    warnings: list[str] = []
    for name in names or [entry.name for entry in REGISTRY.values() if is_cached(entry)]:
        try:
            surrogate = load_surrogate(name, device=device, precision="fp32", offline=offline or not names)
        except ModelError as error:
            if names:
                raise
            warnings.append(f"{name} is left out: {error}")
            continue
        same = next((earlier for earlier in loaded if is_same_encoder(earlier, surrogate)), None)
        if same is not None:
            warnings.append(f"{name} has the weights of {same.name} and is not checked again")
            continue
        loaded.append(surrogate)
        # That embedded models are a test bed is part of every answer.
        warnings += [text for text in surrogate.warnings if text != embedded_warning(surrogate.name)]
    return tuple(loaded), tuple(warnings)
