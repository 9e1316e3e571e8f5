"""`pca-protect bench editing|prompts|transfer|purify`: effect of protection on edits."""

from __future__ import annotations

from pathlib import Path

from pca_protect.cli import bench_options, options
from pca_protect.cli import bench_output as output
from pca_protect.cli.extras import needs_extra
from pca_protect.config import ProtectConfig
from pca_protect.eval.benches import configs
from pca_protect.eval.metrics.registry import VISIBILITY


def editing(
    images: bench_options.Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/editing"),
    quick: bench_options.Quick = False,
    editor: bench_options.Editors = [],  # noqa: B006 - typer copies it
    arm: bench_options.Arms = [],  # noqa: B006
    budget: bench_options.Budgets = [],  # noqa: B006
    prompt: bench_options.Prompts = [],  # noqa: B006
    seeds: bench_options.Seeds = None,
    strength: bench_options.Strength = None,
    guidance: bench_options.Guidance = None,
    steps: bench_options.EditSteps = None,
    size: bench_options.EditSize = None,
    metric: bench_options.Metrics = [],  # noqa: B006
    visible_metric: bench_options.VisibleMetrics = [],  # noqa: B006
    batch: bench_options.Batch = configs.EditingConfig.batch,
    device: options.DeviceName = ProtectConfig.device,
    precision: bench_options.Precision = configs.EditingConfig.precision,
    seed: bench_options.Seed = configs.EditingConfig.seed,
) -> None:
    """Do edits of protected pictures fail? Every method on every picture, edited with every prompt and seed, compared with the
    edit of the original and two noise controls.

    With an embedded editor on two CPU cores --quick takes about 7 minutes and the full run on 24 pictures about 90. A rerun
    adds only missing measurements.
    """
    config = output.configured(
        configs.editing(str(images), quick=quick),
        device=device,
        precision=precision,
        batch=batch,
        seed=seed,
        strength=strength,
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
    )
    with needs_extra():
        from pca_protect.eval.benches.editing import measure_editing
    finished = measure_editing(config, out, on_progress=output.progress())
    columns = (
        *("editor", "arm", "budget_levels", "objective", "effect", "control", "noise_effect"),
        *("difference", "ci_low", "ci_high", "p_holm", "n", "kept"),
    )
    output.finish(
        finished,
        "editing",
        columns,
        only=lambda row: bool(row["metric"] == VISIBILITY and row["control"] and row["objective"] in ("1", "2")),
    )


def prompts(
    images: bench_options.Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/prompts"),
    quick: bench_options.Quick = False,
    editor: bench_options.Editors = [],  # noqa: B006
    arm: bench_options.Arms = [],  # noqa: B006
    budget: bench_options.Budgets = [],  # noqa: B006
    prompt: bench_options.Prompts = [],  # noqa: B006
    seeds: bench_options.Seeds = None,
    batch: bench_options.Batch = configs.EditingConfig.batch,
    device: options.DeviceName = ProtectConfig.device,
    precision: bench_options.Precision = configs.EditingConfig.precision,
    seed: bench_options.Seed = configs.EditingConfig.seed,
) -> None:
    """Does the effect depend on the prompt? One protection of each picture, edited with many prompts.

    With an embedded editor on two CPU cores --quick takes about 5 minutes and the full run on 24 pictures about 40. A rerun
    adds only missing measurements.
    """
    config = output.configured(
        configs.prompts(str(images), quick=quick),
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
        "noise_effect",
        "difference",
        "ci_low",
        "ci_high",
        "spread",
    )
    output.finish(finished, "prompts", columns)


def transfer(
    images: bench_options.Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/transfer"),
    quick: bench_options.Quick = False,
    vae: bench_options.Vaes = [],  # noqa: B006
    editor: bench_options.Editors = [],  # noqa: B006
    preset: bench_options.Preset = configs.TransferConfig.preset,
    mode: bench_options.Modes = [],  # noqa: B006
    budget: bench_options.Budget = configs.TransferConfig.budget_levels,
    prompt: bench_options.Prompts = [],  # noqa: B006
    seeds: bench_options.Seeds = None,
    size: bench_options.Size = configs.TransferConfig.size_px,
    batch: bench_options.Batch = configs.TransferConfig.batch,
    device: options.DeviceName = ProtectConfig.device,
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
        editors=editor,
        modes=mode,
        prompts=prompt,
        seeds=seeds,
    )
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
        "ci_low",
        "ci_high",
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
    device: options.DeviceName = ProtectConfig.device,
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
    columns = ("purifier", "arm", "effect", "retained", "ci_low", "ci_high", "noise_retained", "changes_picture", "n")
    output.finish(finished, "purify", columns)
