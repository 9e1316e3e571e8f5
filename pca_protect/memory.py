"""Whether a picture fits: asked before the work, since a process that runs out of memory cannot say so."""

from __future__ import annotations

from functools import lru_cache

import psutil
import torch
from torch import Tensor

from pca_protect.errors import PictureError
from pca_protect.surrogates.adapter import Surrogate

_PROBE_SIDE_PX = 128
_OVERHEAD = 1.5
"""Peak memory over what is kept for the backward pass: gradients and work space. Measured on the CPU: 1.47 and 1.25 with
the embedded VAE at 512 and 1024 px, 1.23 and 1.04 with the Stable Diffusion architecture at 256 and 512 px."""


def require_memory(surrogate: Surrogate, pixels: int, source: str) -> None:
    """Refuse a picture whose gradient would need more memory than is free.

    Raises:
        PictureError: with what it needs, what is there, and what would fit.
    """
    needed = _OVERHEAD * _kept_bytes_per_pixel(surrogate) * pixels
    free = _free_bytes(surrogate.device)
    if needed > free:
        fits = free / needed * pixels / 1e6
        raise PictureError(
            f"{source}: needs about {needed / 1e9:.1f} GB with {surrogate.name} and {free / 1e9:.1f} GB are free; "
            f"make it smaller than {fits:.2g} megapixels or use a device with more memory"
        )


@lru_cache(maxsize=8)
def _kept_bytes_per_pixel(surrogate: Surrogate) -> float:
    """What the encoder keeps for the backward pass, measured on a small blank picture."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in surrogate.encoder.parameters()}
    blank = torch.zeros(1, 3, _PROBE_SIDE_PX, _PROBE_SIDE_PX, device=surrogate.device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        mean = surrogate.posterior(blank).mean
    kept = sum(size for pointer, size in storages.items() if pointer not in weights)
    del mean  # held until here: a freed storage's address could be another's
    return kept / _PROBE_SIDE_PX**2


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(psutil.virtual_memory().available)
