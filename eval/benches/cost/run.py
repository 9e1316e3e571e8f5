"""`pca-protect bench cost`: time and memory of protection.

Five comparisons, each with a reference:
    a complete protection with the minimum of encoder passes            arms `paper`, `balanced`  : `bare`
    a step with that of the published loop, on SD's VAE architecture    arm  `ours`               : `published`
    gradient checkpointing with none                                    arm  `ours-little-memory` : `ours`
    methods from the literature with ours, at equal steps               arms by their names       : `pca-diffusion`
    start-up time of the command line                                   arm  `startup`
Methods are compared on the embedded editor, and some on Stable Diffusion's architecture with a UNet of real size. Each row has
its target; a missed target is a result, not an error.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pca_protect.device import resolve_device
from pca_protect.errors import PcaProtectError
from pca_protect.eval.benches.cost.arms import Arm, Measured, Startup, groups_of
from pca_protect.eval.benches.cost.config import CostConfig
from pca_protect.eval.benches.cost.processes import run_in_turns
from pca_protect.eval.benches.cost.random_models import RANDOM_VAE, save_random_vae
from pca_protect.eval.benches.cost.table import arm_rows, startup_row
from pca_protect.eval.environment import environment
from pca_protect.eval.results import Finished, OnProgress, Results

_PROTECT = "from pca_protect.cli.main import protect; protect()"
"""Equivalent of the installed `protect` script."""


def measure_cost(config: CostConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        PictureError, ModelError, DeviceError: a picture, a model or the device is unavailable, or memory ran out.
    """
    report: OnProgress = on_progress or (lambda label, done, turns: None)
    device = resolve_device(config.device)
    groups = groups_of(config, device)
    results = Results(
        folder, command="pca-protect bench cost", config=config.as_dict(), environment=environment(device), timed=True
    )
    if "startup" not in results:
        report("startup", 0, 1)
        results.add({"startup": asdict(measure_startup())})
    missing = [group for group in groups if any(_key(arm) not in results for arm in group)]
    with tempfile.TemporaryDirectory() as scratch:
        if missing:
            save_random_vae(Path(scratch), block_out_channels=config.block_out_channels, seed=config.seed)
        for group in missing:
            results.add(_measure(group, Path(scratch), report))
    measured = [(arm, Measured(**results[_key(arm)])) for group in groups for arm in group]
    rows = [*arm_rows(measured), startup_row(Startup(**results["startup"]))]
    tables = {"cost": rows}
    return Finished(tables, results.write_tables(tables))


def _key(arm: Arm) -> str:
    return f"{arm.name} | {arm.vae} | {arm.picture.width} px | {arm.precision} | batch {arm.batch}"


def _measure(group: Sequence[Arm], random_vae: Path, report: OnProgress) -> dict[str, dict[str, object]]:
    label = f"{', '.join(dict.fromkeys(arm.name for arm in group))} at {group[0].picture.width} px"
    turns = sum(2 + arm.rounds * (arm.steps + 1) for arm in group)
    done = 0

    def on_turn() -> None:
        nonlocal done
        done += 1
        report(label, done, turns)

    report(label, 0, turns)
    arms = [replace(arm, vae=str(random_vae)) if arm.vae == RANDOM_VAE else arm for arm in group]
    measured = run_in_turns(arms, on_turn=on_turn)
    return {
        _key(arm): asdict(replace(one, vae=RANDOM_VAE) if arm.vae == RANDOM_VAE else one)
        for arm, one in zip(group, measured, strict=True)
    }


def measure_startup(repetitions: int = 5) -> Startup:
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        _show_help()
        seconds.append(time.perf_counter() - started)
    log = _show_help("-X", "importtime").splitlines()
    return Startup(statistics.median(seconds), any(line.rpartition("|")[2].strip() == "torch" for line in log))


def _show_help(*python_options: str) -> str:
    """Run `protect --help` in a fresh interpreter. Returns its stderr."""
    command = [sys.executable, *python_options, "-c", _PROTECT, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PcaProtectError(f"`protect --help` failed; run it yourself and report this: {done.stderr.strip()[-300:]}")
    return done.stderr
