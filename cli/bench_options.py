"""Options shared by several commands of `pca-protect bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pca_protect.eval.arms.registry import ARMS, DECIDED_ARMS
from pca_protect.eval.benches.configs import ALL_PROMPTS, FILTER_NAMES, LOCAL_PROMPTS
from pca_protect.eval.editors.registry import EDITORS
from pca_protect.eval.metrics.registry import METRICS
from pca_protect.modes import PUBLISHED_MODES

Images = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Pictures to protect and edit; 24 or more.", show_default=False)
]
ImagesOrManifest = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="FOLDER",
        help="Pictures to protect and edit; 24 or more. Or --manifest.",
        show_default=False,
    ),
]
Manifest = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="FILE",
        help="Pictures with prompts and masks of their own, in place of --images and --prompt: one JSON object per line, such as "
        '{"picture": "beach.jpg", "prompts": ["make the sky red"], "mask": "sky.png", "description": "a beach"}.',
        show_default=False,
    ),
]
Pictures = Annotated[int | None, typer.Option(metavar="N", help="Maximum number of pictures.", show_default=False)]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="Output folder; a rerun resumes from it.")]
Quick = Annotated[bool, typer.Option("--quick", help="Reduced run; explicit options take precedence.")]
_EDITOR_HELP = f"{', '.join(EDITORS)}; or a hub id, or the folder of a diffusers pipeline."
Editors = Annotated[
    list[str],
    typer.Option("--editor", metavar="NAME", help=f"Editors; may be repeated. {_EDITOR_HELP}", show_default=False),
]
Editor = Annotated[str, typer.Option(metavar="NAME", help=f"Editor: {_EDITOR_HELP}")]
Arms = Annotated[
    list[str],
    typer.Option(
        "--arm", metavar="NAME", help=f"Methods to compare; may be repeated. {', '.join(ARMS)}.", show_default=False
    ),
]
Budgets = Annotated[
    list[int],
    typer.Option(
        "--budget",
        metavar="LEVELS",
        help="Largest change of any channel, in levels of 255. May be repeated.  [default: 16]",
        show_default=False,
    ),
]
Budget = Annotated[int, typer.Option(metavar="LEVELS", help="Largest change of any channel, in levels of 255.")]
Prompts = Annotated[
    list[str],
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help=f"An instruction, or an edit of the embedded editors: {', '.join((*ALL_PROMPTS, *LOCAL_PROMPTS))}. "
        "May be repeated.",
        show_default=False,
    ),
]
Seeds = Annotated[
    int | None, typer.Option(metavar="N", help="Number of edits per picture and prompt.", show_default=False)
]
OwnControls = Annotated[
    list[str],
    typer.Option(
        "--own-controls",
        metavar="NAME",
        help="Methods with two controls made from their own perturbation: shuffled between pictures, and noise of its spectrum. "
        f"May be repeated.  [default: {', '.join(DECIDED_ARMS)}]",
        show_default=False,
    ),
]
Strengths = Annotated[
    list[float],
    typer.Option(
        "--strength",
        metavar="S",
        help="Edit strength. May be repeated: measures each. Editors without a strength skip it.  [default: the editor's]",
        show_default=False,
    ),
]
EditorsOrNone = Annotated[
    list[str],
    typer.Option(
        "--editor",
        metavar="NAME",
        help=f"Editors; may be repeated. `none` measures posteriors alone. {_EDITOR_HELP}",
        show_default=False,
    ),
]
Guidance = Annotated[
    float | None, typer.Option(metavar="G", help="Guidance scale.  [default: the editor's]", show_default=False)
]
EditSteps = Annotated[
    int | None,
    typer.Option("--edit-steps", metavar="N", help="Denoising steps.  [default: the editor's]", show_default=False),
]
Metrics = Annotated[
    list[str],
    typer.Option(
        "--metric", metavar="NAME", help=f"Metrics; may be repeated. {', '.join(METRICS)}.", show_default=False
    ),
]
VisibleMetrics = Annotated[
    list[str],
    typer.Option(
        "--visible-metric",
        metavar="NAME",
        help="Further metrics for the visibility of the protection, not for edits. May be repeated.",
        show_default=False,
    ),
]
KeepEdits = Annotated[
    bool,
    typer.Option(
        "--keep-edits",
        help="Save edits as files, as `bench judge` and `bench sheet` need them; has to be given from the first run on.",
    ),
]
Batch = Annotated[int, typer.Option(metavar="N", help="Edits per call of the editor.")]
Precision = Annotated[
    str, typer.Option(metavar="auto|fp32|bf16|fp16", help="Precision of the editor; protection runs in fp32.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the noise and of randomised methods.")]
Vaes = Annotated[
    list[str],
    typer.Option(
        "--vae", metavar="NAME", help="Surrogate and target, or a family of them; may be repeated.", show_default=False
    ),
]
Vae = Annotated[str, typer.Option(metavar="NAME", help="Encoder; see `pca-protect vaes`.")]
Preset = Annotated[str, typer.Option(metavar="NAME", help="Preset of the protections.")]
Modes = Annotated[
    list[str],
    typer.Option(
        "--mode",
        metavar="NAME",
        help=f"Modes; may be repeated.  [default: {', '.join(PUBLISHED_MODES)}]",
        show_default=False,
    ),
]
Size = Annotated[
    int, typer.Option(metavar="PX", help="Side of the protected pictures; editors of another size see them resized.")
]
EditSize = Annotated[
    int | None,
    typer.Option("--size", metavar="PX", help="Side of the pictures.  [default: the editor's]", show_default=False),
]
Purifiers = Annotated[
    list[str],
    typer.Option(
        "--purifier",
        metavar="NAME",
        help="Processing of the pictures; may be repeated. "
        f"{', '.join(FILTER_NAMES)}; vae=NAME, denoise-STRENGTH=EDITOR, upscale=SOURCE, gridpure=SOURCE.",
        show_default=False,
    ),
]
