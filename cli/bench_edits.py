"""`pca-protect bench editing|prompts|transfer|purify`: effect of protection on edits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pca_protect.cli import bench_options, console
from pca_protect.cli import bench_output as output
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.options import compute
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.benches import configs
from pca_protect.eval.metrics.available import HOW_TO_ADD, default_metrics, has_learned_weights
from pca_protect.eval.metrics.registry import VISIBILITY

NO_EDITOR = "none"


def editing(
    images: bench_options.ImagesOrManifest = None,
    manifest: bench_options.Manifest = None,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/editing"),
    quick: bench_options.Quick = False,
    editor: bench_options.Editors = [],  # noqa: B006 - typer copies it
    arm: bench_options.Arms = [],  # noqa: B006
    budget: bench_options.Budgets = [],  # noqa: B006
    prompt: bench_options.Prompts = [],  # noqa: B006
    seeds: bench_options.Seeds = None,
    own_controls: bench_options.OwnControls = [],  # noqa: B006
    strength: bench_options.Strengths = [],  # noqa: B006
    guidance: bench_options.Guidance = None,
    steps: bench_options.EditSteps = None,
    size: bench_options.EditSize = None,
    metric: bench_options.Metrics = [],  # noqa: B006
    visible_metric: bench_options.VisibleMetrics = [],  # noqa: B006
    keep_edits: bench_options.KeepEdits = False,
    batch: bench_options.Batch = configs.EditingConfig.batch,
    device: compute.DeviceName = ProtectConfig.device,
    precision: bench_options.Precision = configs.EditingConfig.precision,
    seed: bench_options.Seed = configs.EditingConfig.seed,
) -> None:
    """Do edits of protected pictures move, and do they fail? Every method on every picture, edited with every prompt and seed.

    Controls: clean edits with other seeds; noise of the same levels, visibility and spectrum; another picture's perturbation. An
    edit moves if it is further from the clean edit than other seeds are, and fails if it follows the prompt less or is of less
    quality.

    With an embedded editor on two CPU cores --quick takes about 15 minutes and the full run on 24 pictures about 4 hours. A rerun
    adds only missing measurements.
    """
    config = output.configured(
        configs.editing(**output.pictures_from(images, manifest, prompt), quick=quick),
        device=device,
        precision=precision,
        batch=batch,
        seed=seed,
        own_controls=own_controls,
        strengths=strength,
        guidance=guidance,
        steps=steps,
        size_px=size,
        pictures=pictures,
        editors=editor,
        arms=arm,
        budgets=budget,
        prompts=prompt,
        seeds=seeds,
        metrics=metric,
        visible=visible_metric,
        keep_edits=keep_edits,
    )
    with needs_extra():
        from pca_protect.eval.benches.editing import measure_editing
    if not metric and not quick:
        config = replace(config, metrics=default_metrics(out))
        if not has_learned_weights():
            console.say(HOW_TO_ADD)
    finished = measure_editing(config, out, on_progress=output.progress())
    columns = (
        *("editor", "arm", "budget_levels", "effect", "seed_line", "difference", "p_holm"),
        *("moves", "beyond_noise", "own_picture", "fails", "fails_in", "n"),
    )
    output.finish(finished, "outcomes", columns)


def prompts(
    images: bench_options.ImagesOrManifest = None,
    manifest: bench_options.Manifest = None,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/prompts"),
    quick: bench_options.Quick = False,
    editor: bench_options.Editors = [],  # noqa: B006
    arm: bench_options.Arms = [],  # noqa: B006
    budget: bench_options.Budgets = [],  # noqa: B006
    prompt: bench_options.Prompts = [],  # noqa: B006
    seeds: bench_options.Seeds = None,
    batch: bench_options.Batch = configs.EditingConfig.batch,
    device: compute.DeviceName = ProtectConfig.device,
    precision: bench_options.Precision = configs.EditingConfig.precision,
    seed: bench_options.Seed = configs.EditingConfig.seed,
) -> None:
    """Does the effect depend on the prompt? One protection of each picture, edited with many prompts.

    With an embedded editor on two CPU cores --quick takes about 5 minutes and the full run on 24 pictures about 40. A rerun
    adds only missing measurements.
    """
    config = output.configured(
        configs.prompts(**output.pictures_from(images, manifest, prompt), quick=quick),
        device=device,
        precision=precision,
        batch=batch,
        seed=seed,
        pictures=pictures,
        editors=editor,
        arms=arm,
        budgets=budget,
        prompts=prompt,
        seeds=seeds,
    )
    with needs_extra():
        from pca_protect.eval.benches.editing import measure_editing
    finished = measure_editing(config, out, table="prompts", on_progress=output.progress())
    columns = (
        "editor",
        "arm",
        "budget_levels",
        "prompt",
        "effect",
        "control",
        "noise_effect",
        "difference",
        "ci_low",
        "ci_high",
        "p_holm",
        "spread",
    )
    output.finish(finished, "prompts", columns)


def transfer(
    images: bench_options.Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/transfer"),
    quick: bench_options.Quick = False,
    vae: bench_options.Vaes = [],  # noqa: B006
    editor: bench_options.EditorsOrNone = [],  # noqa: B006
    preset: bench_options.Preset = configs.TransferConfig.preset,
    mode: bench_options.Modes = [],  # noqa: B006
    budget: bench_options.Budget = configs.TransferConfig.budget_levels,
    prompt: bench_options.Prompts = [],  # noqa: B006
    seeds: bench_options.Seeds = None,
    size: bench_options.Size = configs.TransferConfig.size_px,
    batch: bench_options.Batch = configs.TransferConfig.batch,
    device: compute.DeviceName = ProtectConfig.device,
    precision: bench_options.Precision = configs.TransferConfig.precision,
    seed: bench_options.Seed = configs.TransferConfig.seed,
) -> None:
    """Does protection against one VAE transfer to another? Every single surrogate and every ensemble of all but one, measured on
    the posterior of every target and on edits by editors with its encoder.

    With the embedded models on two CPU cores --quick takes about 6 minutes and the full run on 24 pictures about 90. A rerun
    adds only missing measurements.
    """
    config = output.configured(
        configs.transfer(str(images), quick=quick),
        device=device,
        precision=precision,
        preset=preset,
        budget_levels=budget,
        size_px=size,
        batch=batch,
        seed=seed,
        pictures=pictures,
        vaes=vae,
        editors=[name for name in editor if name != NO_EDITOR],
        modes=mode,
        prompts=prompt,
        seeds=seeds,
    )
    if NO_EDITOR in editor:
        if len(editor) > 1:
            raise UsageError(f"editors {', '.join(editor)}: `{NO_EDITOR}` excludes all others; leave one out")
        config = replace(config, editors=())
    with needs_extra():
        from pca_protect.eval.benches.transfer import measure_transfer
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
        "p_holm",
        "seed_line",
        "above_seed",
        "seed_p_holm",
        "n",
    )
    output.finish(finished, "transfer", columns, only=lambda row: row["metric"] in ("latent", VISIBILITY))


def purify(
    images: bench_options.Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/purify"),
    quick: bench_options.Quick = False,
    editor: bench_options.Editor = configs.PurifyConfig.editor,
    arm: bench_options.Arms = [],  # noqa: B006
    purifier: bench_options.Purifiers = [],  # noqa: B006
    budget: bench_options.Budget = configs.PurifyConfig.budget_levels,
    prompt: bench_options.Prompts = [],  # noqa: B006
    seeds: bench_options.Seeds = None,
    batch: bench_options.Batch = configs.PurifyConfig.batch,
    device: compute.DeviceName = ProtectConfig.device,
    precision: bench_options.Precision = configs.PurifyConfig.precision,
    seed: bench_options.Seed = configs.PurifyConfig.seed,
) -> None:
    """Is protection robust? Its remaining effect after compression, resizing, filters, VAE round trips and denoisers.

    With an embedded editor on two CPU cores --quick takes about 5 minutes and the full run on 24 pictures about 80. A rerun
    adds only missing measurements.
    """
    config = output.configured(
        configs.purify(str(images), quick=quick),
        device=device,
        precision=precision,
        editor=editor,
        budget_levels=budget,
        batch=batch,
        seed=seed,
        pictures=pictures,
        arms=arm,
        purifiers=purifier,
        prompts=prompt,
        seeds=seeds,
    )
    with needs_extra():
        from pca_protect.eval.benches.purify import measure_purify
    finished = measure_purify(config, out, on_progress=output.progress())
    columns = (
        *("purifier", "arm", "effect", "noise_effect", "retained_above_noise", "above_ci_low", "above_ci_high"),
        *("p_holm", "retained", "changes_picture", "n"),
    )
    output.finish(finished, "purify", columns)
