"""What protection costs: `pca-protect bench cost`.

Three questions, each with its own yardstick:
    what a whole protection takes beyond the encoder passes it cannot do without    arms `paper`, `balanced`  : `bare`
    what a step takes beside the published loop, on Stable Diffusion's architecture arm  `ours`               : `published`
    how long the command line takes to start                                        arm  `startup`
Targets stand beside what was measured; missing one is a result, not an error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast

import torch

from pca_protect import compute
from pca_protect.eval.cost.arm import Arm, Measured
from pca_protect.eval.cost.config import CostConfig
from pca_protect.eval.cost.random_vae import save_random_vae
from pca_protect.eval.cost.startup import Startup, measure_startup
from pca_protect.eval.cost.table import Row, arm_rows, startup_row
from pca_protect.eval.cost.turns import run_in_turns
from pca_protect.eval.environment import environment
from pca_protect.eval.pictures import made_picture, pictures_in, square_picture
from pca_protect.eval.results import Results

CUDA_BATCHES = (4, 16)
RANDOM_VAE = "SD architecture, random weights"

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being measured, turns done, turns in all)."""


@dataclass(frozen=True)
class CostResult:
    rows: list[Row]
    paths: tuple[Path, ...]


def measure_cost(config: CostConfig, folder: Path, *, on_progress: OnProgress | None = None) -> CostResult:
    """Measure what `folder` does not hold yet, and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds something else; see `Results`.
        PictureError, ModelError, DeviceError: a picture, a model or the device cannot be had, or memory ran out.
    """
    report = on_progress or (lambda label, done, turns: None)
    device = compute.resolve_device(config.device)
    groups = _groups(config, device)
    results = Results(
        folder, command="pca-protect bench cost", config=config.as_dict(), environment=environment(device)
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
    return CostResult(rows, results.write_tables({"cost": rows}))


def _groups(config: CostConfig, device: torch.device) -> list[list[Arm]]:
    """All arms; those that are compared with one another stand together and will run in turns."""
    if config.images is None:
        picture = made_picture(config.size_px, config.seed)
    else:
        picture = square_picture(pictures_in(Path(config.images))[0], config.size_px)
    bare = Arm(
        name="bare",
        vae=config.vae,
        picture=picture,
        device=cast(Literal["cpu", "cuda", "mps"], device.type),
        precision="auto",
        steps=config.steps,
        rounds=config.rounds,
        threads=torch.get_num_threads(),
    )
    # One step of the large architecture takes half a minute on a CPU core, and a fraction of a second on a GPU.
    steps = 1 if device.type == "cpu" else config.steps
    published = replace(bare, name="published", vae=RANDOM_VAE, precision="fp32", steps=steps)
    ours = replace(published, name="ours")
    groups = [[bare, replace(bare, name="paper"), replace(bare, name="balanced")], [published, ours]]
    if device.type == "cuda":
        bf16 = replace(ours, precision="bf16")
        groups[-1].append(bf16)
        groups += [[replace(bf16, batch=batch)] for batch in CUDA_BATCHES]  # one by one: they may not fit together
    return groups


def _key(arm: Arm) -> str:
    return f"{arm.name} {arm.precision} batch {arm.batch}"


def _measure(group: Sequence[Arm], random_vae: Path, report: OnProgress) -> dict[str, dict[str, object]]:
    label = ", ".join(dict.fromkeys(arm.name for arm in group))
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
