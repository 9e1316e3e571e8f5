"""`pca-protect bench cost --what step`: one gradient step of our encoder against diffusers', on SD's VAE architecture.

Both compute the same loss and its gradient in the pixels with frozen weights, one step at a time in turn, in fp32. The difference
is `winograd`, `kl_encoder` and `memory_efficient`.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import torch

from pca_protect.device import resolve_device
from pca_protect.eval.benches.cost.arms import Arm, Measured
from pca_protect.eval.benches.cost.config import CostConfig
from pca_protect.eval.benches.cost.processes import run_in_turns
from pca_protect.eval.benches.cost.random_models import RANDOM_VAE, save_random_vae
from pca_protect.eval.environment import environment
from pca_protect.eval.pictures import made_picture
from pca_protect.eval.results import Finished, OnProgress, Results, Row

OURS, PLAIN = "bare", "diffusers"
TARGETS = {256: 1.6, 512: 1.8}
"""Side in pixels -> wanted ratio of the seconds, on CPUs."""


def measure_step(config: CostConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    Raises:
        UsageError: `folder` holds other results; see `Results`.
        ModelError, DeviceError: a model or the device is unavailable, or memory ran out.
    """
    report: OnProgress = on_progress or (lambda label, done, turns: None)
    device = resolve_device(config.device)
    settings = {
        "sizes_px": config.sizes_px,
        "rounds": config.rounds,
        "seed": config.seed,
        "block_out_channels": config.block_out_channels,
        "device": config.device,
        "threads": torch.get_num_threads(),
    }
    results = Results(
        folder,
        command="pca-protect bench cost --what step",
        config=settings,
        environment=environment(device),
        timed=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        missing = [size_px for size_px in config.sizes_px if f"{size_px} px" not in results]
        if missing:
            save_random_vae(Path(scratch), block_out_channels=config.block_out_channels, seed=config.seed)
        for size_px in missing:
            report(f"a step at {size_px} px", 0, 1)
            ours = Arm(
                name=OURS,
                vae=scratch,
                picture=made_picture(size_px, config.seed),
                device=str(device),
                precision="fp32",
                steps=1,
                rounds=config.rounds,
                threads=torch.get_num_threads(),
            )
            both = run_in_turns([ours, replace(ours, name=PLAIN)], on_turn=lambda: None)
            measured = {
                name: asdict(replace(one, vae=RANDOM_VAE)) for name, one in zip((OURS, PLAIN), both, strict=True)
            }
            results.add({f"{size_px} px": measured})
    rows = [
        row
        for size_px in config.sizes_px
        for row in step_rows(size_px, {name: Measured(**one) for name, one in results[f"{size_px} px"].items()}, device)
    ]
    return Finished({"step": rows}, results.write_tables({"step": rows}))


def step_rows(size_px: int, measured: dict[str, Measured], device: torch.device) -> list[Row]:
    """A row per encoder. `ratio`: seconds of diffusers over ours, medians over the rounds; higher is better.

    Args:
        measured: `OURS` and `PLAIN`.
    """
    seconds = {name: statistics.median(one.seconds) for name, one in measured.items()}
    on_cpu = device.type == "cpu"
    target = TARGETS.get(size_px) if on_cpu else None
    ratio = seconds[PLAIN] / seconds[OURS]
    common = {
        "size_px": size_px,
        "device": str(device),
        "instruction_set": torch.backends.cpu.get_cpu_capability() if on_cpu else None,
        "threads": torch.get_num_threads() if on_cpu else None,
    }
    return [
        {"arm": PLAIN, **common, "seconds": seconds[PLAIN], "ratio": None, "target": None, "met": None},
        {
            "arm": "ours",
            **common,
            "seconds": seconds[OURS],
            "ratio": ratio,
            "target": target,
            "met": None if target is None else ratio >= target,
        },
    ]
