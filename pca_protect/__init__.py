"""Protect pictures against diffusion editing. Needs only a VAE encoder.

Public names are imported on first use: `import pca_protect` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pca_protect.version import __version__

if TYPE_CHECKING:
    from pca_protect.attack.losses import posterior_collapse
    from pca_protect.collapse import PosteriorCollapse
    from pca_protect.config import ProtectConfig
    from pca_protect.errors import (
        Cancelled,
        DeviceError,
        FallbackWarning,
        ModelError,
        PcaProtectError,
        PictureError,
        ProtectionWarning,
        UsageError,
    )
    from pca_protect.modes import register_mode
    from pca_protect.protected import Protected
    from pca_protect.protection import protect, protect_batch
    from pca_protect.record import Record
    from pca_protect.surrogates.encoder import Surrogate
    from pca_protect.surrogates.load import load_surrogate

_MODULES = {
    "Cancelled": "errors",
    "DeviceError": "errors",
    "FallbackWarning": "errors",
    "ModelError": "errors",
    "PcaProtectError": "errors",
    "PictureError": "errors",
    "PosteriorCollapse": "collapse",
    "ProtectConfig": "config",
    "Protected": "protected",
    "ProtectionWarning": "errors",
    "Record": "record",
    "Surrogate": "surrogates.encoder",
    "UsageError": "errors",
    "load_surrogate": "surrogates.load",
    "posterior_collapse": "attack.losses",
    "protect": "protection",
    "protect_batch": "protection",
    "register_mode": "modes",
}

__all__ = [
    "Cancelled",
    "DeviceError",
    "FallbackWarning",
    "ModelError",
    "PcaProtectError",
    "PictureError",
    "PosteriorCollapse",
    "ProtectConfig",
    "Protected",
    "ProtectionWarning",
    "Record",
    "Surrogate",
    "UsageError",
    "__version__",
    "load_surrogate",
    "posterior_collapse",
    "protect",
    "protect_batch",
    "register_mode",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
