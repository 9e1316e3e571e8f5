"""Options of `pca-protect bench ...` that several benchmarks have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.benches.configs import ALL_PROMPTS, FILTER_NAMES
from pca_protect.eval.editors.registry import EDITORS
from pca_protect.eval.metrics.registry import METRICS
from pca_protect.modes import PUBLISHED_MODES

Images = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Pictures to protect and edit; 24 or more.", show_default=False)
]
Pictures = Annotated[int | None, typer.Option(metavar="N", help="Use so many of them at most.", show_default=False)]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="Where results go, and where a rerun resumes from.")]
Quick = Annotated[bool, typer.Option("--quick", help="Fewer of everything; explicit options count all the same.")]
_EDITOR_HELP = f"{', '.join(EDITORS)}; or a hub id, or the folder of a diffusers pipeline."
Editors = Annotated[
    list[str], typer.Option("--editor", metavar="NAME", help=f"May be repeated. {_EDITOR_HELP}", show_default=False)
]
Editor = Annotated[str, typer.Option(metavar="NAME", help=_EDITOR_HELP)]
Arms = Annotated[
    list[str],
    typer.Option(
        "--arm", metavar="NAME", help=f"What to compare; may be repeated. {', '.join(ARMS)}.", show_default=False
    ),
]
Budgets = Annotated[
    list[int], typer.Option("--budget", metavar="LEVELS", help="May be repeated.  [default: 16]", show_default=False)
]
Budget = Annotated[int, typer.Option(metavar="LEVELS", help="Largest change of any channel, in levels of 255.")]
Prompts = Annotated[
    list[str],
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help="An instruction, or the name of a style that the embedded editors know: "
        f"{', '.join(ALL_PROMPTS)}. May be repeated.",
        show_default=False,
    ),
]
Seeds = Annotated[
    int | None, typer.Option(metavar="N", help="Edits of each picture with each prompt.", show_default=False)
]
Strength = Annotated[
    float | None, typer.Option(metavar="S", help="Of the edit, instead of the editor's own.", show_default=False)
]
Guidance = Annotated[float | None, typer.Option(metavar="G", help="Instead of the editor's own.", show_default=False)]
EditSteps = Annotated[
    int | None, typer.Option("--edit-steps", metavar="N", help="Instead of the editor's own.", show_default=False)
]
Metrics = Annotated[
    list[str],
    typer.Option("--metric", metavar="NAME", help=f"May be repeated. {', '.join(METRICS)}.", show_default=False),
]
VisibleMetrics = Annotated[
    list[str],
    typer.Option(
        "--visible-metric",
        metavar="NAME",
        help="May be repeated. Measure how visible the protection is in these too, and edits not.",
        show_default=False,
    ),
]
Batch = Annotated[int, typer.Option(metavar="N", help="Edits made at a time.")]
Precision = Annotated[
    str, typer.Option(metavar="auto|fp32|bf16|fp16", help="Of the editor; protection is made in fp32.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Draws noise and whatever else a method draws.")]
Vaes = Annotated[
    list[str], typer.Option("--vae", metavar="NAME", help="Surrogate and target; may be repeated.", show_default=False)
]
Vae = Annotated[str, typer.Option(metavar="NAME", help="Encoder; see `pca-protect vaes`.")]
Preset = Annotated[str, typer.Option(metavar="NAME", help="How protections are optimised.")]
Modes = Annotated[
    list[str],
    typer.Option(
        "--mode",
        metavar="NAME",
        help=f"May be repeated; {', '.join(PUBLISHED_MODES)} if not given.",
        show_default=False,
    ),
]
Size = Annotated[int, typer.Option(metavar="PX", help="Side of the pictures; every editor has to take it.")]
Purifiers = Annotated[
    list[str],
    typer.Option(
        "--purifier",
        metavar="NAME",
        help="May be repeated. "
        f"{', '.join(FILTER_NAMES)}; vae=NAME, denoise-STRENGTH=EDITOR, upscale=SOURCE, gridpure=SOURCE.",
        show_default=False,
    ),
]
