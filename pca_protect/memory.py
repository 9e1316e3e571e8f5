"""Which windows and batches fit into memory: asked before the work, since a process that runs out cannot say so."""

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
"""More pictures of 512x512 px fill a GPU no better."""
_LARGEST_WHOLE_PIXELS = {"mps": 768**2}
_LARGEST_WHOLE_PIXELS_ELSEWHERE = 2048**2
"""Of pictures that are evaluated at once, by device: the attention of most encoders takes time, and on MPS memory, with the
square of the pixels."""
_PROBE_SIDE_PX = 128
_COPIES_BYTES_PER_PIXEL = 16
"""Of the changed picture, the noisy one, and what encoding and reading back take. Measured: peak memory grew by 16 bytes a
pixel from 5 to 20 megapixels."""
_WORKING_TENSORS = 6
"""So many of the largest that are kept come and go beside them in the backward pass. Estimates over measured peaks on the
CPU, plain and checkpointed: 1.3 to 1.4 and 1.3 with the Stable Diffusion architecture at 512 px; 0.9 to 1.2 and 0.8 to 1.1 at
256 px, where one run takes a quarter more than the next; 1.0 to 1.2 and 0.8 to 1.1 with the embedded VAE from 256 to 1024 px."""
_GIVEN_BACK_BYTES = 2**25
"""The C library gives larger pieces of memory back as soon as they are free (glibc: M_MMAP_THRESHOLD at its highest). Of
smaller ones it is taken to give back none: with a threshold of 4 MB the peak was 351 instead of 470 to 609 MB."""


@dataclass(frozen=True)
class MemoryPlan:
    """How to work on a window so that its gradient fits into memory.

    Attributes:
        tile_px: side of the largest window.
        checkpointed: whether with `Surrogate.checkpointed`, which changes no byte of what comes out.
    """

    tile_px: int
    checkpointed: bool


def candidate_plans(surrogate: AnySurrogate, tile_px: int) -> list[MemoryPlan]:
    """Plans in the order in which they are tried: large windows first, which protect best, each without checkpoints first,
    which is faster."""
    sides = smaller_tiles(tile_px, grid_px=_grid_px(surrogate))
    return [MemoryPlan(side, checkpointed) for side in sides for checkpointed in (False, True)]


@dataclass(frozen=True)
class Demand:
    """What pictures of one size ask of memory.

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
    """The first of `candidate_plans` that goes into memory for one picture.

    Args:
        source: of the picture, for messages.

    Raises:
        PictureError: none does.
    """
    room = _room(surrogate.device, demand.max_megabytes)
    if surrogate.device.type == "cpu":
        room -= _COPIES_BYTES_PER_PIXEL * demand.height * demand.width
    for plan in candidate_plans(surrogate, demand.tile_px):
        needed = _needed(surrogate, demand, plan)
        if needed <= room:
            return plan
    smallest = windows(demand.height, demand.width, tile_px=plan.tile_px, grid_px=_grid_px(surrogate))[0].seen
    side_px = max(side.stop - side.start for side in smallest)
    remedy = "close other programs or use another device"
    if demand.max_megabytes:
        least = demand.max_megabytes + math.ceil((needed - room) / 1e6)
        remedy = f"raise --max-memory to {least}, of which the program itself and the models take most"
    raise PictureError(
        f"{source}: a window of {side_px} px needs about {math.ceil(needed / 1e6)} MB with {surrogate.name} and "
        f"{max(room, 0) / 1e6:.0f} MB are free; {remedy}"
    )


def smaller_tiles(tile_px: int, *, grid_px: int = GRID_PX) -> list[int]:
    """A tile side and those to fall back to, in descending order: its quarters, in multiples of 64 px, down to the smallest
    that the grid allows."""
    least = max(SMALLEST_TILE_PX, -(-smallest_tile(grid_px) // 64) * 64)
    quarters = {tile_px * part // 256 * 64 for part in (4, 3, 2, 1)}
    return sorted({max(side, min(least, tile_px)) for side in quarters}, reverse=True)


def _grid_px(surrogate: AnySurrogate) -> int:
    return window_grid(member.multiple for member in surrogate.members)


def batch_size(surrogate: AnySurrogate, demand: Demand, *, at_most: int | None) -> int:
    """Number of pictures of a size to work on at once: no more than fit into memory, where the graphs of all of them exist
    until the backward pass.

    Args:
        at_most: upper limit. If None, 16 on CUDA, and 1 on the CPU, which gains nothing by batches, and on MPS, where a large
            tensor aborts the process.
    """
    if at_most is None:
        at_most = _LARGEST_BATCH if surrogate.device.type == "cuda" else 1
    if at_most == 1:
        return 1
    needed = _needed(surrogate, demand, MemoryPlan(demand.tile_px, checkpointed=False))
    if surrogate.device.type == "cpu":
        needed += _COPIES_BYTES_PER_PIXEL * demand.height * demand.width
    return int(max(1, min(at_most, _room(surrogate.device, demand.max_megabytes) / needed)))


def evaluated_at_once(
    surrogate: Surrogate, *, height: int, width: int, pictures: int, max_megabytes: int | None = None
) -> int:
    """How many of some pictures of a size fit into memory for a forward pass of an encoder; 0 if not even one does."""
    kind = surrogate.device.type
    if height * width > _LARGEST_WHOLE_PIXELS.get(kind, _LARGEST_WHOLE_PIXELS_ELSEWHERE):
        return 0
    largest = max(_kept(surrogate).plain) * height * width
    needed = _WORKING_TENSORS * largest + _scratch(surrogate, largest)
    fitting = int(_room(surrogate.device, max_megabytes) / needed)
    return min(fitting, pictures if kind == "cuda" else 1)


def _needed(surrogate: AnySurrogate, demand: Demand, plan: MemoryPlan) -> float:
    """Bytes for the gradient of one window at every scale, of the greediest encoder: they take turns."""
    return max(_needed_by(member, demand, plan) for member in surrogate.members)


def _needed_by(surrogate: Surrogate, demand: Demand, plan: MemoryPlan) -> float:
    height, width = demand.height, demand.width
    window = windows(height, width, tile_px=plan.tile_px, grid_px=window_grid([surrogate.multiple]))[0]
    pixels = encoded_pixels(window, height, width, demand.sizes)
    kept = _kept(surrogate)
    needed = (kept.checkpointed if plan.checkpointed else sum(kept.plain)) + _WORKING_TENSORS * max(kept.plain)
    if surrogate.device.type == "cpu":
        needed += sum(size for size in kept.plain if size * pixels < _GIVEN_BACK_BYTES)
    return needed * pixels + _scratch(surrogate, max(kept.plain) * pixels)


def _scratch(surrogate: Surrogate, largest: float) -> float:
    """Bytes that Winograd convolutions hold beside their tensors, the largest of which has so many."""
    on_cpu = surrogate.device.type == "cpu" and surrogate.dtype == torch.float32
    return winograd.scratch_bytes(surrogate.encoder, largest) if on_cpu else 0.0


@dataclass(frozen=True)
class _Kept:
    """What an encoder keeps for the backward pass, in bytes per pixel.

    Attributes:
        plain: every storage.
        checkpointed: in all where blocks are computed again, with what the greediest block keeps then.
    """

    plain: tuple[float, ...]
    checkpointed: float


_MEASURED: WeakKeyDictionary[nn.Module, _Kept] = WeakKeyDictionary()
"""By encoder, while another reference keeps it alive."""


def _kept(surrogate: Surrogate) -> _Kept:
    kept = _MEASURED.get(surrogate.encoder)
    if kept is None:
        kept = _MEASURED[surrogate.encoder] = _measured(surrogate)
    return kept


def _measured(surrogate: Surrogate) -> _Kept:
    """On a small blank picture, in one forward pass of the encoder as it is."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in surrogate.encoder.parameters()}
    sizes: dict[int, int] = {}  # of all storages that are kept, by their address
    within: list[set[int]] = []  # those that a block keeps, its input apart
    inputs: dict[int, int] = {}
    outside: set[int] = set()
    held: list[Tensor] = []  # the address of a storage that is let go could become another's
    inside = False

    def note(tensor: Tensor) -> Tensor:
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
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor))
        held.append(surrogate.posterior(blank).mean)
    stays = inputs | {pointer: sizes[pointer] for pointer in outside}
    again = max((sum(sizes[pointer] for pointer in block - stays.keys()) for block in within), default=0)
    area = _PROBE_SIDE_PX**2
    if not sizes:  # frozen convolutions alone save nothing; what goes into them exists all the same
        sizes[blank.data_ptr()] = blank.nbytes
    return _Kept(tuple(size / area for size in sizes.values()), (sum(stays.values()) + again) / area)


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
