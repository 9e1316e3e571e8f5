"""Memory of editors: weights too large for the GPU stay in main memory; batches are halved when memory runs out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pca_protect.errors import DeviceError

_WEIGHTS_SHARE = 0.8
"""Share of the free GPU memory that weights may take; the rest is for activations."""


@dataclass
class BatchLimit:
    """Largest number of edits per call that fits into memory, as far as known.

    Attributes:
        size: None before memory ran out.
    """

    size: int | None = None

    def halve(self, failed: int) -> None:
        """Note that this number of edits, above 1, did not fit."""
        self.size = failed // 2


def modules_of(pipeline: Any) -> dict[str, nn.Module]:  # noqa: ANN401 - of many classes
    """The parts of a pipeline that have weights, by name."""
    return {part: module for part, module in pipeline.components.items() if isinstance(module, nn.Module)}


def place(pipeline: Any, device: torch.device, *, name: str) -> bool:  # noqa: ANN401 - of many classes
    """Move a pipeline to a device. If its weights do not fit into a GPU, only the part that computes is there at any time.

    Returns:
        Whether the parts stay in main memory (`enable_model_cpu_offload`).

    Raises:
        DeviceError: the largest part alone does not fit.
    """
    parts = modules_of(pipeline)
    if device.type == "cuda":
        sizes = {part: _bytes(module) for part, module in parts.items()}
        room = _WEIGHTS_SHARE * _free_bytes(device)
        largest = max(sizes, key=lambda part: sizes[part])
        if sizes[largest] > room:
            raise DeviceError(
                f"{name}: its {largest} has {sizes[largest] / 1e9:.1f} GB of weights and device {device} has room for "
                f"{room / 1e9:.1f} GB; use a larger GPU, or `precision=bf16` if it was fp32"
            )
        if sum(sizes.values()) > room:
            pipeline.enable_model_cpu_offload(device=device)
            return True
    for module in parts.values():
        nn.Module.to(module, device)  # diffusers' override warns of harmless moves
    return False


def slice_decoding(vae: Any, device: torch.device) -> None:  # noqa: ANN401 - of many classes
    """Encode and decode one picture at a time on accelerators. Tiling would save more, but changes what the encoder sees."""
    if device.type != "cpu" and hasattr(vae, "enable_slicing"):
        vae.enable_slicing()


def _bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _free_bytes(device: torch.device) -> int:
    """Free memory of a GPU, with what PyTorch's allocator holds unused."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
