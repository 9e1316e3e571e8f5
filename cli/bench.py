"""`pca-protect bench ...`: the evaluation module from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pca_protect.cli import bench_options
from pca_protect.cli import bench_output as output
from pca_protect.cli import bench_protection as protection
from pca_protect.cli.bench_edits import editing, prompts, purify, transfer
from pca_protect.cli.bench_encoders import encoders
from pca_protect.cli.bench_judge import judge, sheet
from pca_protect.cli.bench_latents import latents
from pca_protect.cli.bench_real import real
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.options import compute
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.benches.cost.config import FULL, QUICK, MemoryConfig, ScaleConfig

bench_app = typer.Typer(
    help="Measure protection: edits, transfer, robustness and cost.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@bench_app.callback()
def bench() -> None:
    """Measure protection: edits, transfer, robustness and cost."""


Images = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Use its first picture instead of a synthetic one.", show_default=False),
]
Photographs = Annotated[
    Path,
    typer.Option("--images", metavar="FOLDER", help="Photographs outside the training set.", show_default=False),
]
EditImages = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Pictures to edit, 40 or more.  [default: those of --images]", show_default=False
    ),
]
EditSeed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the edits' noise.")]
Sizes = Annotated[
    list[int],
    typer.Option(
        "--size",
        metavar="PX",
        help="Side of the picture. May be repeated: compares methods at each size, measures the rest at the largest.  "
        f"[default: {' and '.join(map(str, FULL.sizes_px))}; quick: {' and '.join(map(str, QUICK.sizes_px))}]",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help=f"Gradient steps of a protection.  [default: {FULL.steps}; memory: {MemoryConfig.steps}]",
        show_default=False,
    ),
]
What = Annotated[
    str,
    typer.Option(
        metavar="|".join(("time", "step", "memory", "scale", "folders")),
        help="`time` of a protection and of other methods, of a `step` against diffusers' encoder, peak `memory` "
        "of large pictures, operations and file sizes at `scale`, or planning of large `folders`.",
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help=f"Repetitions; times are medians over them.  [default: {FULL.rounds}; quick: {QUICK.rounds}]",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the synthetic picture and the random weights.")]
Folders = Annotated[list[Path], typer.Argument(help="Folders with results of benchmarks.", show_default=False)]
Page = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Output file.")]


@bench_app.command()
def cost(
    what: What = "time",
    out: bench_options.Out = Path("results/cost"),
    quick: bench_options.Quick = False,
    images: Images = None,
    device: compute.DeviceName = FULL.device,
    vae: bench_options.Vae = FULL.vae,
    size: Sizes = [],  # noqa: B006 - typer copies it
    steps: Steps = FULL.steps,
    rounds: Rounds = None,
    seed: Seed = FULL.seed,
) -> None:
    """Time and memory of protection.

    Compares a complete protection with bare encoder passes, a step with the published loop's (Stable Diffusion's VAE
    architecture, random weights), and methods from the literature with posterior collapse (embedded editor; without --quick also
    Stable Diffusion's architecture). Also measures start-up time.

    On one CPU core --quick takes about ten minutes and the full run more than an hour, with 16 GB of memory. A rerun adds only
    missing measurements.
    """
    if what not in ("time", "step", "memory", "scale", "folders"):
        raise UsageError(f"--what {what}: unknown; choose from time, step, memory, scale, folders")
    if what in ("memory", "scale") and images is None:
        raise UsageError(f"--what {what}: needs photographs; give a folder with --images")
    folder, progress = out if what == "time" else out.with_name(f"{out.name}-{what}"), output.progress()
    common = {"device": device, "seed": seed}
    with needs_extra():
        from pca_protect.eval.benches.cost import encoder_step, folders, memory, run, scale
    if what == "folders":
        numbers = folders.QUICK_NUMBERS if quick else folders.NUMBERS
        finished, table = folders.measure_folders(folder, numbers=numbers, on_progress=progress), "folders"
    elif what == "memory":
        base = MemoryConfig(str(images), 1 if quick else None, tiles_px=(256,) if quick else MemoryConfig.tiles_px)
        config = output.configured(base, vae=vae, tiles_px=size, steps=steps, **common)
        finished, table = memory.measure_memory(config, folder, on_progress=progress), "memory"
    elif what == "scale":
        small = ScaleConfig(str(images), 1 if quick else 6, size_px=256 if quick else ScaleConfig.size_px)
        finished = scale.measure_scale(
            output.configured(small, size_px=max(size, default=None), **common), folder, on_progress=progress
        )
        table = "work"
    elif what == "step":
        stepped = output.configured(QUICK if quick else FULL, sizes_px=size, rounds=rounds, **common)
        finished, table = encoder_step.measure_step(stepped, folder, on_progress=progress), "step"
    else:
        timed = output.configured(
            QUICK if quick else FULL,
            vae=vae,
            steps=steps,
            images=None if images is None else str(images),
            sizes_px=size,
            rounds=rounds,
            **common,
        )
        finished, table = run.measure_cost(timed, folder, on_progress=progress), "cost"
    output.finish(finished, table)


@bench_app.command()
def testbed(
    images: Photographs,
    edit_images: EditImages = None,
    out: bench_options.Out = Path("results/testbed"),
    quick: bench_options.Quick = False,
    device: compute.DeviceName = ProtectConfig.device,
    seed: EditSeed = 0,
) -> None:
    """Compare the embedded models with goals derived from real ones.

    VAEs: reconstruction, information in the posterior, latent shift under noise and the published attack, similarity of latent
    spaces. Editors: success of edits, with a contact sheet.

    --quick attacks only the centre of each picture, edits 40 pictures and uses 20 denoising steps. On two CPU cores the full run
    takes hours.
    """
    with needs_extra():
        from pca_protect.eval.benches.testbed import measure_testbed
    finished = measure_testbed(
        images,
        out,
        edit_images=edit_images,
        quick=quick,
        device=device,
        seed=seed,
        on_progress=output.progress(),
    )
    output.finish(finished, "testbed", ("surrogate", "metric", "mean", "min", "max", "n", "target", "met"))


@bench_app.command()
def report(folders: Folders, page: Page = Path("results/report.html")) -> None:
    """Write one HTML page about finished benchmarks.

    The page has them in the given order and loads no other file.
    """
    with needs_extra():
        from pca_protect.eval.report.page import write_report
    page.parent.mkdir(parents=True, exist_ok=True)
    output.show([], [write_report(folders, page)])


_COMMANDS: tuple[Callable[..., None], ...] = (
    *(editing, prompts, transfer, purify, encoders, latents, real, judge, sheet),
    *(protection.uploads, protection.steps, protection.flat, protection.scales, protection.grid, protection.check),
)
for _command in _COMMANDS:
    _question, _, _ = str(_command.__doc__).partition("?")
    bench_app.command(short_help=f"{_question}?" if _question != _command.__doc__ else None)(_command)
bench_app.command(hidden=True)(protection.ingredients)
