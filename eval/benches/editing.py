"""`pca-protect bench editing` and `bench prompts`: every picture under every arm, edited with every prompt and seed, compared
with the clean edit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from pca_protect.errors import UsageError
from pca_protect.eval import saved_edits
from pca_protect.eval.arms.denoiser import denoiser_of, has_denoiser
from pca_protect.eval.arms.perturb import Target, refusal
from pca_protect.eval.arms.registry import Arm, arms_named
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.benches.editing_work import Work
from pca_protect.eval.blocked import blocked_rows, unmeasured_rows
from pca_protect.eval.comparisons import frontier_rows, rank_rows, rival_rows
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.manifest import ManifestEntry, read_manifest, shared_prompts, square_mask
from pca_protect.eval.measured import Measured
from pca_protect.eval.metrics.load import load_metrics
from pca_protect.eval.metrics.pool import metric_pool, workers_beside
from pca_protect.eval.results import Finished, OnProgress, Row
from pca_protect.eval.tables import editing_rows, outcome_rows, prompt_rows
from pca_protect.eval.trial import EditPrompt, Trial, prompts_for

STRIPS = 4
"""Number of pictures whose edits are saved for the report."""

_TABLES: dict[str, dict[str, Callable[[Measured, EditingConfig], list[Row]]]] = {
    "editing": {
        "editing": editing_rows,
        "outcomes": outcome_rows,
        "rivals": rival_rows,
        "frontier": frontier_rows,
        "prompts": prompt_rows,
    },
    "prompts": {"prompts": prompt_rows},
}


def measure_editing(
    config: EditingConfig,
    folder: Path,
    *,
    table: Literal["editing", "prompts"] = "editing",
    on_progress: OnProgress | None = None,
) -> Finished:
    """Add the measurements missing from `folder` and write its tables, after each editor.

    A picture that cannot be read or edited gets a row in the table `failures` instead, and an arm or a setting that an editor
    cannot have a row in `skipped`. All editors are loaded and checked before the first edit. Edits that a safety checker blacks
    out are counted in the table `blocked`; `blocked_prompts` names the prompts of a picture that have no clean edit left.

    Args:
        table: effects of arms, or their dependence on the prompt.

    Raises:
        UsageError: a setting or the manifest is wrong, no editor can have any of the arms, or `folder` holds other results; see
            `Results`.
        ModelError, DeviceError: an editor, a metric or the device is unavailable, or an editor ignores the picture.
    """
    entries = entries_of(config)
    if table == "prompts" and entries and not shared_prompts(entries):
        raise UsageError(f"manifest {config.manifest}: no two pictures share a prompt; run `bench editing`")
    pictures = {entry.picture: entry.digest for entry in entries} or None
    bench = Bench(table, config, folder, on_progress, pictures=pictures)
    with metric_pool(workers_beside(bench.device)) as pool:
        return _measure(bench, config, folder, table, pool, entries)


def entries_of(config: EditingConfig) -> list[ManifestEntry]:
    """The entries of the manifest that are measured; empty without a manifest.

    Raises:
        UsageError: see `read_manifest`.
    """
    return read_manifest(Path(config.manifest))[: config.pictures] if config.manifest else []


def _measure(
    bench: Bench,
    config: EditingConfig,
    folder: Path,
    table: str,
    pool: Executor | None,
    entries: Sequence[ManifestEntry],
) -> Finished:
    editors = [
        load_editor(name, device=config.device, precision=config.precision, size_px=config.size_px)
        for name in config.editors
    ]
    skipped: list[Row] = []
    work = [
        (label, *_prepared(editor, settings, config, bench.device, pool, skipped, entries))
        for editor in editors
        for label, settings in _settings(editor, config, skipped).items()
    ]
    results = bench.open(
        editor_weights={editor.name: editor.digest for editor in editors},
        vae_weights={editor.name: editor.surrogate.digest for editor in editors},
        safety_checkers=[editor.name for editor in editors if editor.has_safety_checker],
        **({"manifest": {entry.picture.name: entry.as_dict() for entry in entries}} if entries else {}),
    )
    pictures = list(bench.pictures)
    works = [
        Work(
            config,
            _trials(trial, entries),
            target,
            results,
            label=name,
            arms=arms,
            pictures=pictures,
            folder=folder / "pictures" / _file_name(name),
            kept=[path.name for path in pictures[:STRIPS]],
            all_edits=folder / saved_edits.FOLDER / _file_name(name) if config.keep_edits else None,
        )
        for name, trial, target, arms in work
    ]
    for one in works:
        one.require_sight()
    finished = Finished({}, ())
    measured: list[Measured] = []
    for (name, trial, _, arms), one in zip(work, works, strict=True):
        bench.each_picture(name, one.measure, editor=name)
        whole = [path.name for path in pictures if one.has(path.name)]
        arm_names = tuple(arm.name for arm in arms)
        timed = len({json.dumps(one | {"batch": None}) for one in results.environments}) == 1
        measured.append(Measured(name, trial.prompts, whole, one.entries(whole), arm_names, config.seeds, timed))
        skipped += _without_values(measured[-1], config)
        tables = {
            title: [row for one in measured for row in rows(one, config)] for title, rows in _TABLES[table].items()
        }
        further = {
            "ranks": rank_rows(tables.get("editing", [])),
            "skipped": skipped,
            "blocked": [row for one in measured for row in blocked_rows(one)],
            "blocked_prompts": [row for one in measured for row in unmeasured_rows(one)],
        }
        finished = bench.finish({**tables, **{title: rows for title, rows in further.items() if rows}})
    return finished


def _trials(trial: Trial, entries: Sequence[ManifestEntry]) -> Callable[[Path], Trial]:
    """Picture -> its trial: with the prompts, mask and description of its line in the manifest."""
    of_picture = {entry.picture: entry for entry in entries}

    def trial_of(path: Path) -> Trial:
        if path not in of_picture:
            return trial
        entry = of_picture[path]
        inpaints = entry.mask is not None and trial.editor.kind == "inpaint"
        return replace(
            trial,
            prompts=tuple(prompts_for(trial.editor, entry.prompts)),
            mask=square_mask(entry.mask, trial.editor.size_px) if entry.mask and inpaints else None,
            description=entry.description,
        )

    return trial_of


def _prepared(
    editor: Editor,
    settings: EditSettings,
    config: EditingConfig,
    device: torch.device,
    pool: Executor | None,
    skipped: list[Row],
    entries: Sequence[ManifestEntry],
) -> tuple[Trial, Target, list[Arm]]:
    """Trial, target and possible arms of an editor. Adds rows to `skipped`. With a manifest the trial has the prompts of all
    pictures.

    Raises:
        UsageError: no arm but noise is left.
    """
    named = {name: text for entry in entries for name, text in entry.prompts.items()}
    trial = Trial(
        editor=editor,
        settings=settings,
        prompts=tuple(EditPrompt(name, text, None) for name, text in named.items())
        or tuple(prompts_for(editor, config.prompts)),
        seeds=config.seeds,
        metrics=load_metrics(config.metrics, size_px=editor.size_px, device=device, pool=pool),
        batch=config.batch,
        visible=load_metrics(config.visible, size_px=editor.size_px, device=device) if config.visible else None,
        leaves_out_blocked=True,
    )
    if editor.kind != "inpaint" and any(entry.mask for entry in entries):
        ignored: Row = {"editor": editor.name, "arm": None, "setting": "mask"}
        ignored["reason"] = f"an editor of kind {editor.kind} ignores masks"
        skipped += [ignored] if ignored not in skipped else []
    editor.require(trial.settings)
    arms = arms_named(config.arm_names())
    plain = has_denoiser(editor)
    wanted = plain and any(arm.needs == "denoiser" for arm in arms)
    target = Target(editor.surrogate, denoiser_of(editor) if wanted else None)
    possible = []
    for arm in arms:
        if arm.needs == "denoiser":
            reason = "" if plain else "needs a UNet on the device whose only inputs are latents, time and prompt"
        else:
            reason = refusal(arm, editor.surrogate)
        if reason:
            row: Row = {"editor": editor.name, "arm": arm.name, "setting": None, "reason": reason}
            skipped += [row] if row not in skipped else []
        else:
            possible.append(arm)
    if all(arm.needs == "nothing" for arm in possible):
        raise UsageError(
            f"{editor.name}: supports none of the arms ({skipped[-1]['reason']}); choose others with --arm"
        )
    return trial, target, possible


def _without_values(measured: Measured, config: EditingConfig) -> list[Row]:
    """Rows of `skipped` for metrics without a value for any picture, such as that of faces."""
    found = {metric for _, metric in measured.questions()} if measured.pictures else set(config.metrics)
    return [
        {"editor": measured.editor, "arm": None, "setting": f"metric {name}", "reason": "has no value for any picture"}
        for name in config.metrics
        if name not in found
    ]


def _settings(editor: Editor, config: EditingConfig, skipped: list[Row]) -> dict[str, EditSettings]:
    """Label in the column `editor` -> settings, one for each strength. Adds rows to `skipped`."""

    def lacks(setting: str) -> None:
        reason = f"an editor of kind {editor.kind} has none"
        skipped.append({"editor": editor.name, "arm": None, "setting": setting, "reason": reason})

    own = replace(editor.settings, steps=editor.settings.steps if config.steps is None else config.steps)
    if config.guidance is not None and own.guidance is None:
        lacks(f"guidance {config.guidance:g}")
    elif config.guidance is not None:
        own = replace(own, guidance=config.guidance)
    if config.strengths and own.strength is None:
        for strength in config.strengths:
            lacks(f"strength {strength:g}")
        return {editor.name: own}
    if len(config.strengths) > 1:
        return {f"{editor.name}, strength {one:g}": replace(own, strength=one) for one in config.strengths}
    return {editor.name: replace(own, strength=config.strengths[0]) if config.strengths else own}


def _file_name(editor: str) -> str:
    return editor.lstrip("/").replace("/", "_")
