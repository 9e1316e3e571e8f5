"""`pca-protect bench ...`: the evaluation module from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pca_protect.cli import bench_options, options
from pca_protect.cli import bench_output as output
from pca_protect.cli import bench_protection as protection
from pca_protect.cli.bench_edits import editing, prompts, purify, transfer
from pca_protect.cli.extras import needs_extra
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.benches.cost.config import FULL, QUICK, MemoryConfig, ScaleConfig

bench_app = typer.Typer(
    help="Measure whether edits fail, transfer, what survives, what it costs, and how good the embedded models are.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@bench_app.callback()
def bench() -> None:
    """Measure whether edits fail, transfer, what survives, what it costs, and how good the embedded models are."""


Images = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Measure on its first picture instead of a made one.", show_default=False),
]
Photographs = Annotated[
    Path,
    typer.Option("--images", metavar="FOLDER", help="Photographs that were not trained on.", show_default=False),
]
EditImages = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Pictures to edit, 40 or more; those of --images if not given.", show_default=False
    ),
]
EditSeed = Annotated[int, typer.Option("--seed", metavar="N", help="Draws the noise of the edits.")]
Sizes = Annotated[
    list[int],
    typer.Option(
        "--size",
        metavar="PX",
        help="Side of the picture. May be repeated: methods are compared at each, the rest is measured at the largest.  "
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
        metavar="|".join(("time", "memory", "scale", "folders")),
        help="`time` of a protection beside other methods, peak `memory` of large pictures, work and file sizes at `scale`, or "
        "planning large `folders`.",
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help=f"Repetitions to take the median of.  [default: {FULL.rounds}; quick: {QUICK.rounds}]",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Makes the picture and the random weights.")]
Folders = Annotated[list[Path], typer.Argument(help="Folders with results of benchmarks.", show_default=False)]
Page = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The page to write.")]


@bench_app.command()
def cost(
    what: What = "time",
    out: bench_options.Out = Path("results/cost"),
    quick: bench_options.Quick = False,
    images: Images = None,
    device: options.DeviceName = FULL.device,
    vae: bench_options.Vae = FULL.vae,
    size: Sizes = [],  # noqa: B006 - typer copies it
    steps: Steps = FULL.steps,
    rounds: Rounds = None,
    seed: Seed = FULL.seed,
) -> None:
    """Time and memory: a whole protection beside bare encoder passes; a step beside the published loop's, on the
    architecture of Stable Diffusion's VAE with random weights; methods from the literature beside posterior collapse, on
    the embedded editor and, but for --quick, on the architecture of Stable Diffusion; and start-up.

    On one CPU core --quick takes some ten minutes and the full run more than an hour, with 16 GB of memory; a rerun measures only
    what is missing.
    """
    if what not in ("time", "memory", "scale", "folders"):
        raise UsageError(f"--what {what}: is none of time, memory, scale, folders; give one of them")
    if what in ("memory", "scale") and images is None:
        raise UsageError(f"--what {what}: is measured on photographs; give a folder of them with --images")
    folder, progress = out if what == "time" else out.with_name(f"{out.name}-{what}"), output.progress()
    common = {"device": device, "seed": seed}
    with needs_extra():
        from pca_protect.eval.benches.cost import folders, memory, run, scale
    if what == "folders":
        numbers = folders.QUICK_NUMBERS if quick else folders.NUMBERS
        finished, table = folders.measure_folders(folder, numbers=numbers, on_progress=progress), "folders"
    elif what == "memory":
        asked = MemoryConfig(str(images), 1 if quick else None, tiles_px=(256,) if quick else MemoryConfig.tiles_px)
        config = output.configured(asked, vae=vae, tiles_px=size, steps=steps, **common)
        finished, table = memory.measure_memory(config, folder, on_progress=progress), "memory"
    elif what == "scale":
        small = ScaleConfig(str(images), 1 if quick else 6, size_px=256 if quick else ScaleConfig.size_px)
        finished = scale.measure_scale(
            output.configured(small, size_px=max(size, default=None), **common), folder, on_progress=progress
        )
        table = "work"
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
    device: options.DeviceName = ProtectConfig.device,
    seed: EditSeed = 0,
) -> None:
    """The embedded models as stand-ins for real ones. VAEs: reconstruction, information, how far noise and the published
    attack move the latent, whether latent spaces differ. Editors: whether edits succeed, with a contact sheet.

    --quick measures the attack on the middle of each picture, edits 40 pictures and takes 20 denoising steps. On
    two CPU cores the full run takes hours.
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
    """One HTML page about several finished benchmarks, in the order given. It needs no network and no other file."""
    with needs_extra():
        from pca_protect.eval.report.page import write_report
    page.parent.mkdir(parents=True, exist_ok=True)
    output.show([], [write_report(folders, page)])


_COMMANDS: tuple[Callable[..., None], ...] = (
    *(editing, prompts, transfer, purify),
    *(protection.uploads, protection.steps, protection.flat, protection.scales, protection.grid, protection.check),
)
for _command in _COMMANDS:
    bench_app.command()(_command)
bench_app.command(hidden=True)(protection.ingredients)
