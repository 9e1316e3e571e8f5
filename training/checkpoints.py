"""Checkpoints, from which a stopped training run resumes, and the moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

EMA_DECAY = 0.999
SAVE_EVERY = 250

State = Mapping[str, Any]
"""Name -> model or optimiser, anything with `state_dict` and `load_state_dict`."""


def resume(state: State, run: Path, device: torch.device) -> tuple[int, float]:
    """Load the last checkpoint, if there is one. Returns the completed steps and their seconds."""
    checkpoint = run / "last.pt"
    if not checkpoint.is_file():
        return 0, 0.0
    saved = torch.load(checkpoint, weights_only=True, map_location=device)
    for name, part in state.items():
        part.load_state_dict(saved[name])
    print(f"resumed at step {saved['step']}", flush=True)
    return saved["step"], saved["seconds"]


def save(state: State, run: Path, step: int, seconds: float) -> None:
    """Write a checkpoint atomically."""
    torch.save(
        {**{name: part.state_dict() for name, part in state.items()}, "step": step, "seconds": seconds}, run / "next.pt"
    )
    (run / "next.pt").replace(run / "last.pt")


def follow(average: nn.Module, model: nn.Module, step: int) -> None:
    """Update the exponential moving average; the decay rises to `EMA_DECAY`."""
    with torch.no_grad():
        towards = 1 - min(EMA_DECAY, step / (10 + step))
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), towards)
