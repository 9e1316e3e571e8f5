"""`pca-protect bench judge|sheet`: blind judgement of saved edits, by a vision-language model or by people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pca_protect.cli import bench_options, console
from pca_protect.cli import bench_output as output
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.options import compute
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.judge.questions import DEFAULT_MODEL

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of `bench editing --keep-edits`.", show_default=False)]
Model = Annotated[
    str, typer.Option(metavar="ID", help="Vision-language model that follows instructions: hub id or folder.")
]
JudgedArms = Annotated[
    list[str],
    typer.Option(
        "--arm", metavar="NAME", help="Methods to judge; may be repeated.  [default: all saved]", show_default=False
    ),
]
Answers = Annotated[
    list[Path],
    typer.Option(
        metavar="FILE",
        help="People's answers to a sheet instead of a model's; one table per person, may be repeated.",
        show_default=False,
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Key of the sheet.  [default: sheet.key.json in RUN]", show_default=False),
]
JudgeOut = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Output folder; a rerun resumes from it.  [default: RUN/judge/NAME]", show_default=False
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="The page.  [default: RUN/sheet.html]", show_default=False),
]
SheetArms = Annotated[
    list[str],
    typer.Option(
        "--arm",
        metavar="NAME",
        help="Methods to show; may be repeated.  [default: the paper's two modes and this program's]",
        show_default=False,
    ),
]
JudgePrecision = Annotated[
    str, typer.Option("--precision", metavar="auto|fp32|bf16|fp16", help="Floating-point precision of the model.")
]
OrderSeed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of prompts, of A and B, and of the order.")]

_SHEET = "sheet.html"


def judge(
    run: Run,
    model: Model = DEFAULT_MODEL,
    answers: Answers = [],  # noqa: B006 - typer copies it
    key: Key = None,
    arm: JudgedArms = [],  # noqa: B006
    out: JudgeOut = None,
    device: compute.DeviceName = ProtectConfig.device,
    precision: JudgePrecision = EditingConfig.precision,
    offline: compute.Offline = False,
) -> None:
    """Do blind judges see that edits of protected pictures fail? A vision-language model, or people with a printed sheet.

    Asks whether each edit shows what was asked for, and which of two edits, the clean one and another, follows the instruction
    better and looks less damaged. A model gets each pair in both orders; a preference counts if both agree. Noise and clean edits
    with other seeds are judged like protections.

    effect is the share of edits that fail (`follows`), or of pairs in which the clean edit is preferred (`better`, `intact`).
    """
    if key and not answers:
        raise UsageError("--key needs the answers to its sheet; give them with --answers")
    with needs_extra():
        from pca_protect.eval.judge.answers import PEOPLE, judge_by_people
        from pca_protect.eval.judge.run import JudgeConfig, judge_run
        from pca_protect.eval.judge.sheet import key_of
    name = PEOPLE if answers else Path(model).name
    folder = out or run / "judge" / name
    if answers:
        finished = judge_by_people(run, key or key_of(run / _SHEET), answers, folder)
    else:
        config = output.configured(JudgeConfig(model), arms=arm, device=device, precision=precision, offline=offline)
        finished = judge_run(run, config, folder, on_progress=output.progress())
    for row in finished.tables["answers"]:
        console.say(_quality(row))
    columns = (
        *("editor", "arm", "budget_levels", "question", "effect", "control", "noise_effect", "difference"),
        *("ci_low", "ci_high", "p_holm", "n"),
    )
    output.finish(finished, "judge", columns)


def sheet(
    run: Run,
    path: Sheet = None,
    arm: SheetArms = [],  # noqa: B006
    pictures: bench_options.Pictures = None,
    seed: OrderSeed = 0,
) -> None:
    """Write a blind questionnaire for people: to print, with its key.

    Each item shows an original, the instruction and two edits: the clean one and one of a method, of noise or of another seed. Do
    not hand out the key. Read answers back with `bench judge RUN --answers FILE`.
    """
    with needs_extra():
        from pca_protect.eval.judge.sheet import write_sheet
    output.show([], write_sheet(run, path or run / _SHEET, seed=seed, arms=arm, pictures=pictures))


def _quality(row: output.Row) -> str:
    """Position bias and invalid answers to one question, in one line."""
    line = f"{row['question']}: {row['answers']} answers, {row['nonsense']:.0%} invalid or blank"
    if row["disagree"] is not None:
        line += f"; {row['disagree']:.0%} of {row['votes']} pairs judged differently in swapped order (position bias)"
    return line
