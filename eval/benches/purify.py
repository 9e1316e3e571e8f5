"""`pca-protect bench purify`: what is left of a protection after what happens to pictures.

Purifying changes clean pictures too, so both sides are purified: the effect of a protection is how far the edit of the
purified protected picture is from the edit of the purified clean one. A protection that was washed off has none.
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
from pca_protect.eval.metrics.load import load_metrics, visibility
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.pictures import Rgb, square_picture
from pca_protect.eval.purifiers.filters import Purifier
from pca_protect.eval.purifiers.models import load_purifier
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.eval.stats import comparison, ratio_of_means
from pca_protect.eval.trial import EditPrompt, Trial, kept_edits, prompts_for

NONE = "none"

Washed = Mapping[str, Json]
"""Purifier -> measurement of one picture."""

COLUMNS = (
    *("purifier", "what", "arm", "mode", "budget_levels", "objective", "metric", "effect", "before"),
    *("retained", "ci_low", "ci_high", "retained_above_noise", "noise_effect", "noise_retained", "difference", "p"),
    *("changes_picture", "n", "kept"),
)
"""`effect`: distance to the edit of the purified clean picture, `before` the same without a purifier; `retained`, with its
interval: their ratio; `noise_effect`, `noise_retained`: the same of uniform noise of the same budget; `retained_above_noise`:
the ratio of what exceeds that noise; `difference` and `p`: effect minus noise's, in pairs; `changes_picture`: FLIP between
the clean picture before and after."""


def purify_rows(
    washed: Sequence[Washed], what: Mapping[str, str], prompts: Sequence[EditPrompt], config: PurifyConfig
) -> list[Row]:
    """A row for every purifier and arm."""
    kept = [kept_edits(picture[NONE]["clean"], prompts) for picture in washed]
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
    rows = []
    for purifier, phrase in what.items():
        changes = statistics.fmean(float(picture[purifier]["changes_picture"]) for picture, _ in counted)
        noise, noise_before = effects[purifier, NOISE_LINF], effects[NONE, NOISE_LINF]
        for arm in config.arm_names():
            after, before = effects[purifier, arm], effects[NONE, arm]
            retained = ratio_of_means(after, before)
            compared = comparison(dict(enumerate(after)), dict(enumerate(noise)))
            above = ratio_of_means(_minus(after, noise), _minus(before, noise_before))
            control = arm == NOISE_LINF
            rows.append(
                {
                    "purifier": purifier,
                    "what": phrase,
                    "arm": arm,
                    "mode": ARMS[arm].mode,
                    "budget_levels": config.budget_levels,
                    "objective": "2",
                    "metric": VISIBILITY,
                    "effect": compared["effect"],
                    "before": statistics.fmean(before),
                    "retained": retained.value,
                    "ci_low": retained.ci_low,
                    "ci_high": retained.ci_high,
                    "retained_above_noise": None if control else above.value,
                    "noise_effect": None if control else compared["noise_effect"],
                    "noise_retained": None if control else ratio_of_means(noise, noise_before).value,
                    "difference": None if control else compared["difference"],
                    "p": None if control else compared["p"],
                    "changes_picture": changes,
                    "n": len(counted),
                    "kept": share,
                }
            )
    return [{column: row[column] for column in COLUMNS} for row in rows]


def _minus(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [value - other for value, other in zip(values, others, strict=True)]


def measure_purify(config: PurifyConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Measure what `folder` does not hold yet, and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds something else; see `Results`.
        ModelError, DeviceError: an editor, a purifier or the device cannot be had.
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
        seeds=tuple(range(config.seeds)),
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
    """Distances of edits after one purifier: of each arm to the clean one's; and what purifying does to the clean picture."""
    purified = purifier(picture, seed)
    if purifier.name == NONE:
        clean, measured = trial.clean(picture)
    else:
        clean, measured = trial.edits(purified), {}
    arms = {}
    for name, changed in variants.items():
        edits = trial.edits(purifier(changed, seed))
        arms[name] = {edit: visibility(clean[edit], edits[edit]) for edit in edits}
    return {"arms": arms, "clean": measured, "changes_picture": visibility(picture, purified)}
