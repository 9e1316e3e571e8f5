"""`pca-protect bench purify`: effect of a protection after purification (re-encoding, filters, models).

Purification also changes clean pictures, so both sides are purified. The effect is the distance between the edits of the
purified protected and the purified clean picture; 0 if the purifier removed the protection.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pca_protect.eval.arms.denoiser import denoiser_of
from pca_protect.eval.arms.perturb import Target, perturb
from pca_protect.eval.arms.registry import ARMS, NOISE_LINF, arms_named
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.configs import PurifyConfig
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.measured import kept_edits, seed_line
from pca_protect.eval.metrics.load import load_metrics, visibility
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.pictures import Rgb, square_picture
from pca_protect.eval.purifiers.filters import Purifier
from pca_protect.eval.purifiers.models import load_purifier
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.eval.stats import comparison, ratio_of_means, with_holm
from pca_protect.eval.trial import EditPrompt, Trial, prompts_for

NONE = "none"

Washed = Mapping[str, Json]
"""Purifier -> measurement of one picture."""

WORST = "worst"
"""Row of the purifier that leaves least of an arm's effect above noise, chosen for each picture."""

COLUMNS = (
    *("purifier", "what", "arm", "mode", "budget_levels", "objective", "metric", "effect", "before"),
    *("retained", "ci_low", "ci_high", "retained_above_noise", "above_ci_low", "above_ci_high", "noise_effect"),
    *("noise_retained", "difference", "difference_ci_low", "difference_ci_high", "p", "p_holm", "seed_line"),
    *("changes_picture", "n", "kept"),
)
"""`effect`: distance to the edit of the purified clean picture; `before`: the same without a purifier; `noise_effect`: of uniform
noise of the same budget. `difference`, with its interval, `p` and `p_holm` (over the purifiers of an arm): effect minus noise
effect, paired. `retained_above_noise`, with its interval: share of that difference that is left; the column that says what a
protection keeps. `retained` and `noise_retained`: effect / before, which noise has too. `seed_line`: distance between edits
of the clean picture with other seeds, without a purifier. `changes_picture`: FLIP between the clean picture before and after
purification."""


def purify_rows(
    washed: Sequence[Washed], what: Mapping[str, str], prompts: Sequence[EditPrompt], config: PurifyConfig
) -> list[Row]:
    """A row for every purifier and arm, and one for each arm's worst purifier."""
    kept = [kept_edits(picture[NONE]["clean"], prompts, config.seeds) for picture in washed]
    counted = [(picture, edits) for picture, edits in zip(washed, kept, strict=True) if edits]
    if not counted:
        return []
    share = sum(map(len, kept)) / (len(kept) * len(prompts) * config.seeds)
    effects = {
        (purifier, arm): [
            statistics.fmean(float(picture[purifier]["arms"][arm][edit]) for edit in edits)
            for picture, edits in counted
        ]
        for purifier in what
        for arm in config.arm_names()
    }
    changes = {name: [float(picture[name]["changes_picture"]) for picture, _ in counted] for name in what}
    common = {
        "budget_levels": config.budget_levels,
        "objective": "2",
        "metric": VISIBILITY,
        "seed_line": statistics.fmean(seed_line(picture[NONE]["clean"], edits) for picture, edits in counted),
        "n": len(counted),
        "kept": share,
    }
    rows: list[Row] = []
    for arm in config.arm_names():
        before, noise_before = effects[NONE, arm], effects[NONE, NOISE_LINF]
        washes = {name: (effects[name, arm], effects[name, NOISE_LINF], changes[name]) for name in what}
        phrases = dict(what)
        if arm != NOISE_LINF and len(what) > 1:
            washes[WORST] = _worst([washes[name] for name in what if name != NONE])
            phrases[WORST] = "the worst of these for each picture"
        found: list[Row] = []
        for name, (after, noise, changed) in washes.items():
            row = _row(before, noise_before, after, noise, control=arm == NOISE_LINF)
            about = {"purifier": name, "what": phrases[name], "arm": arm, "mode": ARMS[arm].mode}
            found.append({**common, **about, **row, "changes_picture": statistics.fmean(changed)})
        rows += with_holm(found, ())
    order = {name: place for place, name in enumerate([*what, WORST])}
    rows.sort(key=lambda row: order[str(row["purifier"])])
    return [{column: row[column] for column in COLUMNS} for row in rows]


def _worst(
    washes: Sequence[tuple[Sequence[float], Sequence[float], Sequence[float]]],
) -> tuple[list[float], list[float], list[float]]:
    """For every picture the values (effect, noise effect, change) of the purifier with the least effect above noise."""
    by_picture = [zip(*wash, strict=True) for wash in washes]
    least = [min(options, key=lambda values: values[0] - values[1]) for options in zip(*by_picture, strict=True)]
    after, noise, changes = (list(values) for values in zip(*least, strict=True))
    return after, noise, changes


def _row(
    before: Sequence[float],
    noise_before: Sequence[float],
    after: Sequence[float],
    noise: Sequence[float],
    *,
    control: bool,
) -> Row:
    """Columns of effects of one arm after one purifier; those beside noise are None for the control itself."""
    retained = ratio_of_means(after, before)
    compared = comparison(dict(enumerate(after)), dict(enumerate(noise)))
    above = ratio_of_means(_minus(after, noise), _minus(before, noise_before))
    beside = {
        "retained_above_noise": above.value,
        "above_ci_low": above.ci_low,
        "above_ci_high": above.ci_high,
        "noise_effect": compared["noise_effect"],
        "noise_retained": ratio_of_means(noise, noise_before).value,
        "difference": compared["difference"],
        "difference_ci_low": compared["ci_low"],
        "difference_ci_high": compared["ci_high"],
        "p": compared["p"],
    }
    return {
        "effect": compared["effect"],
        "before": statistics.fmean(before),
        "retained": retained.value,
        "ci_low": retained.ci_low,
        "ci_high": retained.ci_high,
        **(dict.fromkeys(beside) if control else beside),
    }


def _minus(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [value - other for value, other in zip(values, others, strict=True)]


def measure_purify(config: PurifyConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: an editor, a purifier or the device is unavailable.
    """
    bench = Bench("purify", config, folder, on_progress)
    editor = load_editor(config.editor, device=config.device, precision=config.precision)
    purifiers = {NONE: Purifier(NONE, "nothing", lambda image, _: image)}
    for name in config.purifiers:
        purifiers[name] = load_purifier(name, device=config.device, precision=config.precision)
    trial = Trial(
        editor=editor,
        settings=editor.settings,
        prompts=tuple(prompts_for(editor, config.prompts)),
        seeds=config.seeds,
        metrics=load_metrics([VISIBILITY], size_px=editor.size_px),
        batch=config.batch,
    )
    arms = arms_named(config.arm_names())
    target = Target(editor.surrogate, denoiser_of(editor) if any(arm.needs == "denoiser" for arm in arms) else None)
    bench.open(editor_weights={editor.name: editor.digest}, vae_weights={editor.name: editor.surrogate.digest})

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        picture = square_picture(path, editor.size_px).rgb
        variants = {
            arm.name: perturb(arm, picture, target, budget_levels=config.budget_levels, seed=config.seed)
            for arm in arms
        }
        for name in missing:
            yield name, _wash(trial, purifiers[name], picture, variants, config.seed)

    entries = bench.entries(editor.name, list(purifiers), measure)
    washed = [{name: found[picture] for name, found in entries.items()} for picture in entries[NONE]]
    what = {name: purifier.what for name, purifier in purifiers.items()}
    return bench.finish({"purify": purify_rows(washed, what, trial.prompts, config)})


def _wash(trial: Trial, purifier: Purifier, picture: Rgb, variants: dict[str, Rgb], seed: int) -> Json:
    """Distances after one purifier: between the edits of each arm and the clean edits, and between purified and clean picture."""
    purified = purifier(picture, seed)
    if purifier.name == NONE:
        clean, measured = trial.clean(picture)
    else:
        clean, measured = trial.edits(purified, picture), {}
    arms = {}
    for name, changed in variants.items():
        edits = trial.edits(purifier(changed, seed), picture)
        arms[name] = {edit: visibility(clean[edit], edits[edit]) for edit in edits}
    return {"arms": arms, "clean": measured, "changes_picture": visibility(picture, purified)}
