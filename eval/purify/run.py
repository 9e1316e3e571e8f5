"""`pca-protect bench purify`: what is left of a protection after what happens to pictures.

Purifying changes clean pictures too, so both sides are purified: the effect of a protection is how far the edit of the
purified protected picture is from the edit of the purified clean one. A protection that was washed off has none.
"""

from __future__ import annotations

from pathlib import Path

from pca_protect.device import resolve_device
from pca_protect.errors import ModelError
from pca_protect.eval.arms.denoiser import denoiser_of
from pca_protect.eval.arms.perturb import Target, perturb
from pca_protect.eval.arms.registry import arms_named
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.environment import environment
from pca_protect.eval.metrics.load import load_metrics, visibility
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.pictures import Rgb, readable, square_picture
from pca_protect.eval.purify.config import PurifyConfig
from pca_protect.eval.purify.filters import Purifier
from pca_protect.eval.purify.models import load_purifier
from pca_protect.eval.purify.table import NONE, Washed, purify_rows
from pca_protect.eval.results import Finished, Json, OnProgress, Results
from pca_protect.eval.trial import Trial, prompts_for


def measure_purify(config: PurifyConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Measure what `folder` does not hold yet, and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds something else; see `Results`.
        ModelError, DeviceError: an editor, a purifier or the device cannot be had.
    """
    report = on_progress or (lambda label, done, in_all: None)
    device = resolve_device(config.device)
    pictures, failures = readable(Path(config.images), config.pictures)
    editor = load_editor(config.editor, device=config.device, precision=config.precision)
    purifiers = [Purifier(NONE, "nothing", lambda image, _: image)]
    purifiers += [load_purifier(name, device=config.device, precision=config.precision) for name in config.purifiers]
    results = Results(
        folder,
        command="pca-protect bench purify",
        config={
            **config.as_dict(),
            "pictures": {path.name: digest for path, digest in pictures.items()},
            "editor_weights": {editor.name: editor.digest},
            "vae_weights": {editor.name: editor.surrogate.digest},
        },
        environment=environment(device),
    )
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
    washed: list[Washed] = []
    for done, path in enumerate(pictures):
        report(editor.name, done, len(pictures))
        missing = [purifier for purifier in purifiers if f"{path.name} | {purifier.name}" not in results]
        try:
            if missing:
                picture = square_picture(path, editor.size_px).rgb
                variants = {
                    arm.name: perturb(arm, picture, target, budget_levels=config.budget_levels, seed=config.seed)
                    for arm in arms
                }
                for purifier in missing:
                    entry = _wash(trial, purifier, picture, variants, config.seed)
                    results.add({f"{path.name} | {purifier.name}": entry})
        except ModelError as error:
            failures.append({"editor": editor.name, "picture": path.name, "reason": str(error)})
            continue
        washed.append({purifier.name: results[f"{path.name} | {purifier.name}"] for purifier in purifiers})
    rows = purify_rows(washed, {purifier.name: purifier.what for purifier in purifiers}, trial.prompts, config)
    tables = {"purify": rows, **({"failures": failures} if failures else {})}
    return Finished(tables, results.write_tables(tables))


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
