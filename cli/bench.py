"""`pca-protect bench ...`: the evaluation module from the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pca_protect.cli import console, options
from pca_protect.config import Device, ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.cost.config import FULL, QUICK

bench_app = typer.Typer(
    help="Measure what protection costs, and how good the embedded models are.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@bench_app.callback()
def bench() -> None:
    """Measure what protection costs, and how good the embedded models are."""


Out = Annotated[Path, typer.Option(metavar="FOLDER", help="Where results go, and where a rerun resumes from.")]
Quick = Annotated[bool, typer.Option("--quick", help="Smaller and fewer; explicit options count all the same.")]
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
Vae = Annotated[str, typer.Option(metavar="NAME", help="Encoder for whole protections; see `pca-protect vaes`.")]
Size = Annotated[
    int | None,
    typer.Option(
        metavar="PX",
        help=f"Side of the picture.  [default: {FULL.size_px}; quick: {QUICK.size_px}]",
        show_default=False,
    ),
]
Steps = Annotated[int, typer.Option(metavar="N", help="Gradient steps of a protection.")]
Rounds = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help=f"Repetitions to take the median of.  [default: {FULL.rounds}; quick: {QUICK.rounds}]",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Makes the picture and the random weights.")]


@bench_app.command()
def cost(
    out: Out = Path("results/cost"),
    quick: Quick = False,
    images: Images = None,
    device: options.DeviceName = FULL.device,
    vae: Vae = FULL.vae,
    size: Size = None,
    steps: Steps = FULL.steps,
    rounds: Rounds = None,
    seed: Seed = FULL.seed,
) -> None:
    """Time and memory: a whole protection beside bare encoder passes; a step beside the published loop's, on the
    architecture of Stable Diffusion's VAE with random weights; and start-up.

    On one CPU core --quick takes 2 minutes and the full run about 12; a rerun measures only what is missing.
    """
    from pca_protect.eval.cost.run import measure_cost

    config = replace(
        QUICK if quick else FULL,
        vae=vae,
        steps=steps,
        seed=seed,
        device=device,  # type: ignore[arg-type]  # the configuration validates it
        images=None if images is None else str(images),
        **_given(size_px=size, rounds=rounds),
    )
    result = measure_cost(config, out, on_progress=_progress())
    _show(result.rows, result.paths)


@bench_app.command()
def testbed(
    images: Photographs,
    edit_images: EditImages = None,
    out: Out = Path("results/testbed"),
    quick: Quick = False,
    device: options.DeviceName = ProtectConfig.device,
    seed: EditSeed = 0,
) -> None:
    """The embedded models as stand-ins for real ones. VAEs: reconstruction, information, how far noise and the published
    attack move the latent, whether latent spaces differ. Editors: whether edits succeed, with a contact sheet.

    --quick measures the attack on the middle of each picture, edits 40 pictures and takes 20 denoising steps.
    """
    try:
        from pca_protect.eval.testbed.run import measure_testbed
    except ModuleNotFoundError as error:
        raise UsageError(
            f"this benchmark needs {error.name}, which is not installed; `pip install 'pca-protect[eval]'` brings it"
        ) from error

    result = measure_testbed(
        images,
        out,
        edit_images=edit_images,
        quick=quick,
        device=cast(Device, device),
        seed=seed,
        on_progress=_progress(),
    )
    _show([{**row, "digest": str(row["digest"])[:12]} for row in result.rows], result.paths)


def _show(rows: Sequence[Mapping[str, object]], paths: Sequence[Path]) -> None:
    for line in _table(rows):
        console.result(line)
    for path in paths:
        console.result(str(path))


def _given(**values: int | None) -> dict[str, Any]:
    """Those options that were given, by the names of the configuration."""
    return {name: value for name, value in values.items() if value is not None}


def _progress(seconds_between: float = 10.0) -> Callable[[str, int, int], None]:
    """Says on stderr what is being measured, when it begins and now and then."""
    last_label, last_time = "", 0.0

    def report(label: str, done: int, turns: int) -> None:
        nonlocal last_label, last_time
        now = time.monotonic()
        if label != last_label or now - last_time >= seconds_between:
            console.say(f"measuring {label}: {done / turns:.0%}")
            last_label, last_time = label, now

    return report


def _table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Aligned text: a heading and a line for every row."""
    cells = [tuple(rows[0]), *(tuple(map(_cell, row.values())) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
