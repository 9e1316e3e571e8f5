"""Windows and batches that fit into memory, estimated before the work: a process killed for memory reports nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import psutil
import torch
from torch import Tensor, nn

from pca_protect.errors import PictureError
from pca_protect.image.scales import encoded_pixels
from pca_protect.image.tiling import GRID_PX, smallest_tile, window_grid, windows
from pca_protect.surrogates import winograd
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate
from pca_protect.surrogates.memory_efficient import blocks_of

SMALLEST_TILE_PX = 128

_LARGEST_BATCH = 16
"""Larger batches of 512x512 px do not raise the throughput of a GPU."""
_LARGEST_WHOLE_PIXELS = {"mps": 768**2}
_LARGEST_WHOLE_PIXELS_ELSEWHERE = 2048**2
"""Largest picture that is evaluated in one piece, by device: time of attention, and on MPS its memory, is quadratic in the
pixels."""
_PROBE_SIDE_PX = 128
_COPIES_BYTES_PER_PIXEL = 16
"""Changed picture, noise control, encoding and reading back. Measured: peak memory grew by 16 bytes per pixel from 5 to 20
megapixels."""
_WORKING_TENSORS = 6
"""Temporary tensors of the backward pass, in units of the largest saved tensor. Ratio of estimate to measured peak on the CPU,
plain and checkpointed: 1.3 to 1.4 and 1.3 with the Stable Diffusion architecture at 512 px; 0.9 to 1.2 and 0.8 to 1.1 at
256 px, where runs differ by a quarter; 1.0 to 1.2 and 0.8 to 1.1 with the embedded VAE from 256 to 1024 px."""
_CUDA_SHARE, _CUDA_WORKSPACE_BYTES = 0.9, 0.5e9
"""Part of the free memory of a CUDA device that is used: the rest is for fragmentation and the workspaces of cuDNN."""
_RETURNED_BYTES = 2**25
"""The C library returns larger allocations to the system when they are freed (glibc: highest M_MMAP_THRESHOLD). Smaller ones
are assumed to stay: with a threshold of 4 MB the peak was 351 MB instead of 470 to 609 MB."""


@dataclass(frozen=True)
class MemoryPlan:
    """Window size and checkpointing with which the gradient of a window fits into memory.

    Attributes:
        tile_px: side of the largest window.
        checkpointed: use `Surrogate.checkpointed`, which changes no byte of the result.
    """

    tile_px: int
    checkpointed: bool


def candidate_plans(surrogate: AnySurrogate, tile_px: int) -> list[MemoryPlan]:
    """Plans in order of preference: large windows first, which protect best; each first without checkpoints, which is
    faster."""
    sides = smaller_tiles(tile_px, grid_px=_grid_px(surrogate))
    return [MemoryPlan(side, checkpointed) for side in sides for checkpointed in (False, True)]


@dataclass(frozen=True)
class Demand:
    """Sizes that determine the memory for pictures of one size.

    Attributes:
        height, width: in pixels.
        sizes: heights and widths at which encoders see them.
        tile_px: side of the largest window.
        max_megabytes: the user's limit on memory, None if there is none.
    """

    height: int
    width: int
    sizes: Sequence[tuple[int, int]]
    tile_px: int
    max_megabytes: int | None = None


def choose_plan(surrogate: AnySurrogate, demand: Demand, *, source: str) -> MemoryPlan:
    """The first of `candidate_plans` that fits into memory for one picture.

    Args:
        source: of the picture, for messages.

    Raises:
        PictureError: none fits.
    """
    available = _available_bytes(surrogate.device, demand.max_megabytes)
    if surrogate.device.type == "cpu":
        available -= _COPIES_BYTES_PER_PIXEL * demand.height * demand.width
    for plan in candidate_plans(surrogate, demand.tile_px):
        needed = _needed(surrogate, demand, plan)
        if needed <= available:
            return plan
    smallest = windows(demand.height, demand.width, tile_px=plan.tile_px, grid_px=_grid_px(surrogate))[0].seen
    side_px = max(side.stop - side.start for side in smallest)
    remedy = "close other programs or use another device"
    if demand.max_megabytes:
        least = demand.max_megabytes + math.ceil((needed - available) / 1e6)
        remedy = f"raise `max_memory_megabytes` to {least}, most of which the program itself and the models take"
    raise PictureError(
        f"{source}: a window of {side_px} px needs about {math.ceil(needed / 1e6)} MB with {surrogate.name} and "
        f"{max(available, 0) / 1e6:.0f} MB are available; {remedy}"
    )


def smaller_tiles(tile_px: int, *, grid_px: int = GRID_PX) -> list[int]:
    """Window sides in descending order: the tile and its quarters, in multiples of 64 px, down to the smallest that the grid
    allows."""
    least = max(SMALLEST_TILE_PX, -(-smallest_tile(grid_px) // 64) * 64)
    quarters = {tile_px * part // 256 * 64 for part in (4, 3, 2, 1)}
    return sorted({max(side, min(least, tile_px)) for side in quarters}, reverse=True)


def _grid_px(surrogate: AnySurrogate) -> int:
    return window_grid(member.multiple for member in surrogate.members)


def batch_size(surrogate: AnySurrogate, demand: Demand, *, at_most: int | None) -> int:
    """Largest batch of pictures of a size that fits into memory. The graphs of all of them exist until the backward pass.

    Args:
        at_most: upper limit. None is 16 on CUDA; 1 on the CPU, where batches gain nothing, and on MPS, where a large tensor
            aborts the process.
    """
    if at_most is None:
        at_most = _LARGEST_BATCH if surrogate.device.type == "cuda" else 1
    if at_most == 1:
        return 1
    needed = _needed(surrogate, demand, MemoryPlan(demand.tile_px, checkpointed=False))
    if surrogate.device.type == "cpu":
        needed += _COPIES_BYTES_PER_PIXEL * demand.height * demand.width
    return int(max(1, min(at_most, _available_bytes(surrogate.device, demand.max_megabytes) / needed)))


def evaluated_at_once(
    surrogate: Surrogate, *, height: int, width: int, pictures: int, max_megabytes: int | None = None
) -> int:
    """Number of pictures of a size that fit into memory for a forward pass of an encoder; 0 if not even one does."""
    kind = surrogate.device.type
    if height * width > _LARGEST_WHOLE_PIXELS.get(kind, _LARGEST_WHOLE_PIXELS_ELSEWHERE):
        return 0
    largest = max(_saved(surrogate).plain) * height * width
    needed = _WORKING_TENSORS * largest + _scratch(surrogate, largest)
    fitting = int(_available_bytes(surrogate.device, max_megabytes) / needed)
    return min(fitting, pictures if kind == "cuda" else 1)


def _needed(surrogate: AnySurrogate, demand: Demand, plan: MemoryPlan) -> float:
    """Bytes for the gradient of one window at every scale, for the encoder that needs most: members run one at a time."""
    return max(_needed_by(member, demand, plan) for member in surrogate.members)


def _needed_by(surrogate: Surrogate, demand: Demand, plan: MemoryPlan) -> float:
    height, width = demand.height, demand.width
    window = windows(height, width, tile_px=plan.tile_px, grid_px=window_grid([surrogate.multiple]))[0]
    pixels = encoded_pixels(window, height, width, demand.sizes)
    saved = _saved(surrogate)
    needed = (saved.checkpointed if plan.checkpointed else sum(saved.plain)) + _WORKING_TENSORS * max(saved.plain)
    if surrogate.device.type == "cpu":
        needed += sum(size for size in saved.plain if size * pixels < _RETURNED_BYTES)
    return needed * pixels + _scratch(surrogate, max(saved.plain) * pixels)


def _scratch(surrogate: Surrogate, largest: float) -> float:
    """Scratch memory of Winograd convolutions in bytes, for a largest tensor of that size in bytes."""
    on_cpu = surrogate.device.type == "cpu" and surrogate.dtype == torch.float32
    return winograd.scratch_bytes(surrogate.encoder, largest) if on_cpu else 0.0


@dataclass(frozen=True)
class _SavedBytes:
    """Activations that an encoder saves for the backward pass, in bytes per pixel.

    Attributes:
        plain: per storage.
        checkpointed: total with checkpointing, including the recomputed activations of the largest block.
    """

    plain: tuple[float, ...]
    checkpointed: float


_MEASURED: WeakKeyDictionary[nn.Module, _SavedBytes] = WeakKeyDictionary()
"""By encoder, while another reference keeps it alive."""


def _saved(surrogate: Surrogate) -> _SavedBytes:
    saved = _MEASURED.get(surrogate.encoder)
    if saved is None:
        saved = _MEASURED[surrogate.encoder] = _measured(surrogate)
    return saved


def _measured(surrogate: Surrogate) -> _SavedBytes:
    """Measures one forward pass of the plain encoder on a small blank picture."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in surrogate.encoder.parameters()}
    sizes: dict[int, int] = {}  # saved storages, by address
    within: list[set[int]] = []  # saved inside a block, without its input
    inputs: dict[int, int] = {}
    outside: set[int] = set()
    held: list[Tensor] = []  # keeps the storages alive: a freed address is reused
    inside = False

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        pointer = storage.data_ptr()
        if pointer not in weights:
            sizes[pointer] = storage.nbytes()
            (within[-1] if inside else outside).add(pointer)
        return tensor

    def enter(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal inside
        storage = given[0].untyped_storage()
        inputs[storage.data_ptr()] = storage.nbytes()
        held.append(given[0])
        within.append(set())
        inside = True

    def leave(*_: object) -> None:
        nonlocal inside
        inside = False

    blank = torch.zeros(1, 3, _PROBE_SIDE_PX, _PROBE_SIDE_PX, device=surrogate.device, requires_grad=True)
    with ExitStack() as stack:
        for block in blocks_of(surrogate.encoder):
            stack.callback(block.register_forward_pre_hook(enter).remove)
            stack.callback(block.register_forward_hook(leave).remove)
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor))
        held.append(surrogate.posterior(blank).mean)
    stays = inputs | {pointer: sizes[pointer] for pointer in outside}
    again = max((sum(sizes[pointer] for pointer in block - stays.keys()) for block in within), default=0)
    area = _PROBE_SIDE_PX**2
    if not sizes:  # frozen convolutions alone save nothing, but their input exists
        sizes[blank.data_ptr()] = blank.nbytes
    return _SavedBytes(tuple(size / area for size in sizes.values()), (sum(stays.values()) + again) / area)


def _available_bytes(device: torch.device, max_megabytes: int | None) -> float:
    """Bytes available to this process: free memory, limited by the user's maximum."""
    available: float
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        used = torch.cuda.memory_allocated(device)
        available = _CUDA_SHARE * (free + torch.cuda.memory_reserved(device) - used) - _CUDA_WORKSPACE_BYTES
    else:
        available = min(int(psutil.virtual_memory().available), _left_in_container())
        used = int(psutil.Process().memory_info().rss)
    return available if max_megabytes is None else min(available, max_megabytes * 1e6 - used)


def _left_in_container() -> float:
    """Bytes left below the limit of this process's control group (Linux, version 2); infinite without one."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (float((folder / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # `max` is no number
        return math.inf
    return limit - used + float(statistics.get("inactive_file", 0))  # page cache, reclaimable
