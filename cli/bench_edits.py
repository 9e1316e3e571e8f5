"""`pca-protect bench editing|prompts|transfer|purify|report`: what protection does to edits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pca_protect.cli import bench_output as output
from pca_protect.cli import options
from pca_protect.cli.extras import needs_extra
from pca_protect.config import ProtectConfig
from pca_protect.eval.arms.registry import ARMS
from pca_protect.eval.editing import config as editing_config
from pca_protect.eval.editing.config import EditingConfig
from pca_protect.eval.editors.registry import EDITORS
from pca_protect.eval.metrics.registry import METRICS, VISIBILITY
from pca_protect.eval.purify import config as purify_config
from pca_protect.eval.purify.config import PurifyConfig
from pca_protect.eval.transfer import config as transfer_config
from pca_protect.eval.transfer.config import TransferConfig
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
        f"{', '.join(editing_config.ALL_PROMPTS)}. May be repeated.",
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
        f"{', '.join(purify_config.FILTER_NAMES)}; vae=NAME, denoise-STRENGTH=EDITOR, upscale=SOURCE, gridpure=SOURCE.",
        show_default=False,
    ),
]
Folders = Annotated[list[Path], typer.Argument(help="Folders with results of benchmarks.", show_default=False)]
Page = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The page to write.")]


def editing(
    images: Images,
    pictures: Pictures = None,
    out: Out = Path("results/editing"),
    quick: Quick = False,
    editor: Editors = [],  # noqa: B006 - typer copies it
    arm: Arms = [],  # noqa: B006
    budget: Budgets = [],  # noqa: B006
    prompt: Prompts = [],  # noqa: B006
    seeds: Seeds = None,
    strength: Strength = None,
    guidance: Guidance = None,
    steps: EditSteps = None,
    metric: Metrics = [],  # noqa: B006
    visible_metric: VisibleMetrics = [],  # noqa: B006
    batch: Batch = EditingConfig.batch,
    device: options.DeviceName = ProtectConfig.device,
    precision: Precision = EditingConfig.precision,
    seed: Seed = EditingConfig.seed,
) -> None:
    """Do edits of protected pictures fail? Every method on every picture, edited with every prompt and seed, beside the edit
    of the original and two noise controls.

    With an embedded editor on two CPU cores --quick takes about 7 minutes and the full run on 24 pictures about 90; a rerun
    measures only what is missing.
    """
    base = editing_config.quick(str(images)) if quick else EditingConfig(str(images))
    config = replace(
        base,
        device=device,
        precision=precision,  # type: ignore[arg-type]
        batch=batch,
        seed=seed,
        strength=strength,
        guidance=guidance,
        steps=steps,
        **output.given(
            pictures=pictures,
            editors=editor,
            arms=arm,
            budgets=budget,
            prompts=prompt,
            seeds=seeds,
            metrics=metric,
            visible=visible_metric,
        ),
    )
    with needs_extra():
        from pca_protect.eval.editing.run import measure_editing
    finished = measure_editing(config, out, on_progress=output.progress())
    headline = [
        row
        for row in finished.tables["editing"]
        if row["metric"] == VISIBILITY and row["control"] and row["objective"] in ("1", "2")
    ]
    output.finish(
        finished,
        headline,
        (
            *("editor", "arm", "budget_levels", "objective", "effect", "control", "noise_effect"),
            *("difference", "ci_low", "ci_high", "p_holm", "n", "kept"),
        ),
    )


def prompts(
    images: Images,
    pictures: Pictures = None,
    out: Out = Path("results/prompts"),
    quick: Quick = False,
    editor: Editors = [],  # noqa: B006
    arm: Arms = [],  # noqa: B006
    budget: Budgets = [],  # noqa: B006
    prompt: Prompts = [],  # noqa: B006
    seeds: Seeds = None,
    batch: Batch = EditingConfig.batch,
    device: options.DeviceName = ProtectConfig.device,
    precision: Precision = EditingConfig.precision,
    seed: Seed = EditingConfig.seed,
) -> None:
    """Does the effect depend on the prompt? One protection of each picture, edited with many prompts.

    With an embedded editor on two CPU cores --quick takes about 5 minutes and the full run on 24 pictures about 40; a rerun
    measures only what is missing.
    """
    config = replace(
        editing_config.prompts(str(images), quick=quick),
        device=device,
        precision=precision,  # type: ignore[arg-type]
        batch=batch,
        seed=seed,
        **output.given(pictures=pictures, editors=editor, arms=arm, budgets=budget, prompts=prompt, seeds=seeds),
    )
    with needs_extra():
        from pca_protect.eval.editing.run import measure_editing
    finished = measure_editing(config, out, table="prompts", on_progress=output.progress())
    columns = (
        "editor",
        "arm",
        "budget_levels",
        "prompt",
        "effect",
        "noise_effect",
        "difference",
        "ci_low",
        "ci_high",
        "spread",
    )
    output.finish(finished, finished.tables["prompts"], columns)


def transfer(
    images: Images,
    pictures: Pictures = None,
    out: Out = Path("results/transfer"),
    quick: Quick = False,
    vae: Vaes = [],  # noqa: B006
    editor: Editors = [],  # noqa: B006
    preset: Preset = TransferConfig.preset,
    mode: Modes = [],  # noqa: B006
    budget: Budget = TransferConfig.budget_levels,
    prompt: Prompts = [],  # noqa: B006
    seeds: Seeds = None,
    size: Size = TransferConfig.size_px,
    batch: Batch = TransferConfig.batch,
    device: options.DeviceName = ProtectConfig.device,
    precision: Precision = TransferConfig.precision,
    seed: Seed = TransferConfig.seed,
) -> None:
    """Does protection against one VAE help against another? Every surrogate and every ensemble of all but one, measured on
    every target's posterior and by the edits of the editors that share a target's encoder.

    With the embedded models on two CPU cores --quick takes about 6 minutes and the full run on 24 pictures about 90; a rerun
    measures only what is missing.
    """
    base = transfer_config.quick(str(images)) if quick else TransferConfig(str(images))
    config = replace(
        base,
        device=device,
        precision=precision,  # type: ignore[arg-type]
        preset=preset,
        budget_levels=budget,
        size_px=size,
        batch=batch,
        seed=seed,
        **output.given(pictures=pictures, vaes=vae, editors=editor, modes=mode, prompts=prompt, seeds=seeds),
    )
    with needs_extra():
        from pca_protect.eval.transfer.run import measure_transfer
    finished = measure_transfer(config, out, on_progress=output.progress())
    columns = (
        "surrogate",
        "target",
        "mode",
        "same_encoder",
        "editor",
        "effect",
        "noise_effect",
        "ratio",
        "ci_low",
        "ci_high",
        "n",
    )
    headline = [row for row in finished.tables["transfer"] if row["metric"] in ("latent", VISIBILITY)]
    output.finish(finished, headline, columns)


def purify(
    images: Images,
    pictures: Pictures = None,
    out: Out = Path("results/purify"),
    quick: Quick = False,
    editor: Editor = PurifyConfig.editor,
    arm: Arms = [],  # noqa: B006
    purifier: Purifiers = [],  # noqa: B006
    budget: Budget = PurifyConfig.budget_levels,
    prompt: Prompts = [],  # noqa: B006
    seeds: Seeds = None,
    batch: Batch = PurifyConfig.batch,
    device: options.DeviceName = ProtectConfig.device,
    precision: Precision = PurifyConfig.precision,
    seed: Seed = PurifyConfig.seed,
) -> None:
    """Does protection survive? What is left of its effect after compression, resizing, filters, VAE round trips and denoisers.

    With an embedded editor on two CPU cores --quick takes about 5 minutes and the full run on 24 pictures about 80; a rerun
    measures only what is missing.
    """
    base = purify_config.quick(str(images)) if quick else PurifyConfig(str(images))
    config = replace(
        base,
        device=device,
        precision=precision,  # type: ignore[arg-type]
        editor=editor,
        budget_levels=budget,
        batch=batch,
        seed=seed,
        **output.given(pictures=pictures, arms=arm, purifiers=purifier, prompts=prompt, seeds=seeds),
    )
    with needs_extra():
        from pca_protect.eval.purify.run import measure_purify
    finished = measure_purify(config, out, on_progress=output.progress())
    columns = ("purifier", "arm", "effect", "retained", "ci_low", "ci_high", "noise_retained", "changes_picture", "n")
    output.finish(finished, finished.tables["purify"], columns)


def report(folders: Folders, page: Page = Path("results/report.html")) -> None:
    """One HTML page about several finished benchmarks, in the order given. It needs no network and no other file."""
    with needs_extra():
        from pca_protect.eval.report.page import write_report
    page.parent.mkdir(parents=True, exist_ok=True)
    output.show([], [write_report(folders, page)])
