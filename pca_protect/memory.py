"""Which windows and batches fit into memory: asked before the work, since a process that runs out cannot say so."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import psutil
import torch
from torch import Tensor

from pca_protect.config import ProtectConfig
from pca_protect.errors import PictureError
from pca_protect.scales import encoded_pixels
from pca_protect.surrogates.adapter import Surrogate
from pca_protect.tiling import windows

SMALLEST_TILE_PX = 128

_LARGEST_BATCH = 16
"""More pictures of 512x512 px fill a GPU no better."""
_PROBE_SIDE_PX = 128
_COPIES_BYTES_PER_PIXEL = 16
"""Of the changed picture, the noisy one, and what encoding and reading back take. Measured: peak memory grew by 16 bytes a
pixel from 5 to 20 megapixels."""
_OVERHEAD = 1.5
"""Peak memory over what is kept for the backward pass: gradients and work space. Measured on the CPU: 1.47 and 1.25 with
the embedded VAE at 512 and 1024 px, 1.23 and 1.04 with the Stable Diffusion architecture at 256 and 512 px."""


def fitting_tile(surrogate: Surrogate, config: ProtectConfig, *, height: int, width: int, source: str) -> int:
    """The largest tile side, of the configuration's and its quarters, whose gradient fits into memory for one picture.

    Raises:
        PictureError: none does.
    """
    room = _room(surrogate.device, config.max_memory_megabytes)
    if surrogate.device.type == "cpu":
        room -= _COPIES_BYTES_PER_PIXEL * height * width
    for tile_px in smaller_tiles(config.tile_px):
        needed = _needed(surrogate, config, height, width, tile_px)
        if needed <= room:
            return tile_px
    raise PictureError(
        f"{source}: a window of {tile_px} px needs about {needed / 1e6:.0f} MB with {surrogate.name} and "
        f"{max(room, 0) / 1e6:.0f} MB are free; "
        + ("raise --max-memory" if config.max_memory_megabytes else "close other programs or use another device")
    )


def smaller_tiles(tile_px: int) -> list[int]:
    """A tile side and those to fall back to, in descending order: its quarters, in multiples of 64 px, and the smallest."""
    quarters = {tile_px * part // 256 * 64 for part in (4, 3, 2, 1)}
    return sorted({max(side, min(SMALLEST_TILE_PX, tile_px)) for side in quarters}, reverse=True)


def batch_size(surrogate: Surrogate, config: ProtectConfig, *, height: int, width: int) -> int:
    """How many pictures of a size to work on at once: as configured, one on the CPU, which gains nothing, and what fits on
    other devices."""
    if config.batch is not None:
        return config.batch
    if surrogate.device.type == "cpu":
        return 1
    needed = _needed(surrogate, config, height, width, config.tile_px)
    return int(max(1, min(_LARGEST_BATCH, _room(surrogate.device, config.max_memory_megabytes) / needed)))


def _needed(surrogate: Surrogate, config: ProtectConfig, height: int, width: int, tile_px: int) -> float:
    """Bytes for the gradient of one window at every scale."""
    window = windows(height, width, tile_px=tile_px)[0]
    return _OVERHEAD * _kept_bytes_per_pixel(surrogate) * encoded_pixels(window, height, width, config.scales)


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


def _room(device: torch.device, max_megabytes: int | None) -> float:
    """Bytes that may still be taken, of what is free and of what the user allows."""
    room: float
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        used = torch.cuda.memory_allocated(device)
        room = free + torch.cuda.memory_reserved(device) - used
    else:
        room = min(int(psutil.virtual_memory().available), _left_in_container())
        used = int(psutil.Process().memory_info().rss)
    return room if max_megabytes is None else min(room, max_megabytes * 1e6 - used)


def _left_in_container() -> float:
    """Bytes below the limit of this process's control group (Linux, version 2); infinite where there is none."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (float((folder / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # `max` is no number
        return math.inf
    return limit - used + float(statistics.get("inactive_file", 0))  # files that the system only keeps at hand
