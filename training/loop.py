"""The optimisation of an editor's weights: learning rate, gradient clipping, moving average, checkpoints, progress."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from training.checkpoints import SAVE_EVERY, follow, resume, save
from training.recipes import Schedule, Stage
from training.vae import learning_rate


def optimise(
    model: nn.Module, schedule: Schedule, loss: Callable[[int, Stage], Tensor], run: Path, device: torch.device
) -> None:
    """Minimise a loss with AdamW; resume from and write the checkpoint in `run`.

    Args:
        loss: (step, stage) -> scalar. It must draw its randomness from the step, so that a resumed run sees new samples.
    """
    model = model.to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    state = {"model": model, "average": average, "optimizer": optimizer}
    step, seconds = resume(state, run, device)
    recent = 0.0
    started = time.time() - seconds

    while step < schedule.steps:
        total = loss(step, schedule.stage(step))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        recent += float(total.detach())
        follow(average, model, step)
        if step % 100 == 0:
            print(f"{step}/{schedule.steps} {time.time() - started:.0f} s loss {recent / 100:.4f}", flush=True)
            recent = 0.0
        if step % SAVE_EVERY == 0 or step == schedule.steps:
            save(state, run, step, time.time() - started)
