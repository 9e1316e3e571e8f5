"""`pca-protect bench real`: the benchmark of edits on published editors, planned and priced before the download."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import psutil
import typer

from pca_protect.cli import bench_options, console
from pca_protect.cli import bench_output as output
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.options import compute
from pca_protect.config import ProtectConfig
from pca_protect.errors import ModelError, UsageError
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.benches.real import profiles
from pca_protect.eval.metrics.registry import METRICS

if TYPE_CHECKING:
    from pca_protect.eval.benches.real.plan import Plan

ProfileSize = Annotated[
    int | None,
    typer.Option(
        "--profile",
        metavar="|".join(map(str, profiles.PROFILES)),
        help="GPU memory in GB; decides which editors are measured.  [default: this GPU's; 8 for a plan without a GPU]",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the download.")]
BatchOrProfile = Annotated[
    int | None,
    typer.Option(
        "--batch", metavar="N", help="Edits per call of the editor.  [default: the profile's]", show_default=False
    ),
]
PrecisionOrHalf = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="fp32|bf16|fp16",
        help="Precision of the editors.  [default: bf16, or fp16 on GPUs without it]",
        show_default=False,
    ),
]

_OUTCOMES = (
    *("editor", "arm", "budget_levels", "effect", "seed_line", "difference", "p_holm"),
    *("moves", "beyond_noise", "own_picture", "fails", "fails_in", "n"),
)


def real(
    images: bench_options.ImagesOrManifest = None,
    manifest: bench_options.Manifest = None,
    profile: ProfileSize = None,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/real"),
    quick: bench_options.Quick = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    editor: bench_options.Editors = [],  # noqa: B006 - typer copies it
    arm: bench_options.Arms = [],  # noqa: B006
    prompt: bench_options.Prompts = [],  # noqa: B006
    seeds: bench_options.Seeds = None,
    size: bench_options.EditSize = None,
    steps: bench_options.EditSteps = None,
    metric: bench_options.Metrics = [],  # noqa: B006
    batch: BatchOrProfile = None,
    device: compute.DeviceName = ProtectConfig.device,
    precision: PrecisionOrHalf = None,
    seed: bench_options.Seed = EditingConfig.seed,
) -> None:
    """Measure published editors on a GPU.

    The controls are those of `bench editing`. Prints the plan (editors, sizes, pictures, methods, hours, gigabytes) and asks
    before the download. The hours are estimates from numbers of operations. A rerun adds only missing measurements; each editor
    has a folder, and report.html covers all.
    """
    with needs_extra():
        from pca_protect.device import resolve_device
        from pca_protect.eval.benches.real.download import require_disk
        from pca_protect.eval.benches.real.plan import instructions_of, plan_real, require_editors
        from pca_protect.eval.benches.real.run import half_precision, measure_real, profile_of, with_available_metrics
    used_device = resolve_device(device)
    if profile is None and dry_run and used_device.type != "cuda":
        profile = min(profiles.PROFILES)
    chosen = profile_of(used_device) if profile is None else profiles.profile_named(profile)
    config = output.configured(
        profiles.real(profile=chosen, **output.pictures_from(images, manifest, prompt), quick=quick),
        pictures=pictures,
        editors=editor,
        arms=arm,
        prompts=prompt,
        seeds=seeds,
        size_px=size,
        steps=steps,
        metrics=metric,
        batch=batch,
        device=device,
        precision=precision or half_precision(used_device),
        seed=seed,
    )
    instructions, unreadable = instructions_of(config)
    plan = plan_real(config, chosen, instructions=instructions)
    _show(plan)
    for failure in unreadable:
        console.warn(f"{failure['picture']}: {failure['reason']}; left out")
    if dry_run:
        return
    require_editors(plan)
    require_disk(plan.download_gb)
    if not yes:
        _ask(plan)
    available, missing = with_available_metrics(plan.config, used_device)
    for name, reason in missing.items():
        console.warn(f"metric {name} is left out: {reason}")
    if not any(METRICS[name].of == "prompt" for name in available.metrics):
        console.warn("no metric compares edits with the prompt: `fails` is judged by quality alone")
    results = measure_real(
        plan_real(available, chosen, instructions=instructions) if missing else plan, out, on_progress=output.progress()
    )
    rows = [row for finished in results.finished.values() for row in finished.tables["outcomes"]]
    output.show(
        [{name: row.get(name) for name in _OUTCOMES} for row in rows], [results.report] if results.report else []
    )
    for name, reason in results.failed.items():
        console.error(f"{name} was not measured: {reason}")
    if results.failed:
        raise typer.Exit(ModelError.exit_code)


def _show(plan: Plan) -> None:
    """Print the plan to stdout."""
    config = plan.config
    output.show(
        [
            {
                "editor": one.editor,
                "source": one.source,
                "licence": one.licence,
                "size_px": one.size_px,
                "download_gb": None if one.download_gb is None else round(one.download_gb, 2),
                "gpu_gb": one.gpu_gb,
                "host_gb": one.host_gb,
                "edits": one.edits,
                "hours": None if one.hours is None else round(one.hours, 1),
                "runs": not one.refused,
            }
            for one in plan.editors
        ],
        [],
    )
    console.result(
        f"{plan.pictures} pictures, prompts: {config.manifest or ', '.join(config.prompts)}; {config.seeds} edit(s) each; clean "
        "edits 2 or more"
    )
    console.result(
        f"methods: {', '.join(config.arm_names())}; with controls of their own: {', '.join(config.decided_arms())}"
    )
    console.result(
        f"metrics: {', '.join(config.metrics)}; weights of metrics are at most {profiles.METRICS_GIGABYTES} GB more"
    )
    console.result(
        f"in all {plan.download_gb:.1f} GB to download and about {plan.hours:.1f} h on a {plan.profile.card} "
        "(estimated from numbers of operations, not measured)"
    )
    memory_gb = psutil.virtual_memory().total / 1e9
    for one in plan.editors:
        if one.refused:
            console.warn(f"{one.editor} cannot be run: {one.refused}")
        elif one.download_is_nominal:
            console.warn(
                f"{one.editor}: the size of the download is unknown; the plan counts all files of the repository"
            )
        if one.host_gb and one.host_gb > memory_gb:
            console.warn(
                f"{one.editor} takes {one.host_gb:.0f} GB of main memory to load; this machine has {memory_gb:.0f} GB"
            )


def _ask(plan: Plan) -> None:
    """Ask before the download.

    Raises:
        UsageError: nobody can answer.
        typer.Abort: the answer is no.
    """
    if not sys.stdin.isatty():
        raise UsageError("bench real asks before it downloads, but standard input is not a terminal; add --yes")
    typer.confirm(f"Download {plan.download_gb:.1f} GB and run for about {plan.hours:.1f} h?", abort=True, err=True)
