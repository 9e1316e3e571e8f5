"""`pca-protect bench editing` and `bench prompts`: every picture under every arm, edited with every prompt and seed, compared
with the clean edit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from pca_protect.errors import UsageError
from pca_protect.eval.arms.denoiser import denoiser_of, has_denoiser
from pca_protect.eval.arms.noise import levels_as_visible, uniform_noise
from pca_protect.eval.arms.perturb import Target, generator_for, perturb
from pca_protect.eval.arms.registry import CONTROLS, NOISE_VISIBLE, arms_named
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.metrics.load import load_metrics, visibility
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.pictures import Rgb, square_picture
from pca_protect.eval.results import Finished, Json, OnProgress, Results, Row
from pca_protect.eval.tables import Measured, editing_rows, frontier_rows, prompt_rows, rival_rows
from pca_protect.eval.trial import Trial, prompts_for

STRIPS = 4
"""Number of pictures whose edits are saved for the report."""


def measure_editing(
    config: EditingConfig,
    folder: Path,
    *,
    table: Literal["editing", "prompts"] = "editing",
    on_progress: OnProgress | None = None,
) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    A picture that cannot be read or edited gets a row in the table `failures` instead. All editors are loaded and checked against
    arms and settings before the first edit.

    Args:
        table: effects of arms, or their dependence on the prompt.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: an editor, a metric or the device is unavailable.
    """
    bench = Bench(table, config, folder, on_progress)
    editors = [
        load_editor(name, device=config.device, precision=config.precision, size_px=config.size_px)
        for name in config.editors
    ]
    trials = [_trial(editor, config, bench.device) for editor in editors]
    possible = [_possible(editor, config) for editor in editors]
    targets = [_target(editor, own) for editor, own in zip(editors, possible, strict=True)]
    results = bench.open(
        editor_weights={editor.name: editor.digest for editor in editors},
        vae_weights={editor.name: editor.surrogate.digest for editor in editors},
    )
    kept = [path.name for path in bench.pictures][:STRIPS]
    measured: list[Measured] = []
    for trial, target, own in zip(trials, targets, possible, strict=True):
        name = trial.editor.name
        work = _Work(own, trial, target, results, folder / "pictures" / name.lstrip("/").replace("/", "_"), kept)
        bench.each_picture(name, work.measure, editor=name)
        whole = [path.name for path in bench.pictures if work.has(path.name)]
        measured.append(Measured(name, trial.prompts, whole, work.entries(whole)))
    wanted = (
        {"editing": editing_rows, "rivals": rival_rows, "frontier": frontier_rows}
        if table == "editing"
        else {"prompts": prompt_rows}
    )
    tables = {
        name: [row for one, own in zip(measured, possible, strict=True) for row in rows(one, own)]
        for name, rows in wanted.items()
    }
    skipped: list[Row] = [
        {"editor": editor.name, "arm": arm, "reason": "needs a UNet whose only inputs are latents, time and prompt"}
        for editor, own in zip(editors, possible, strict=True)
        for arm in config.arm_names()
        if arm not in own.arm_names()
    ]
    return bench.finish({**tables, **({"skipped": skipped} if skipped else {})})


def _trial(editor: Editor, config: EditingConfig, device: torch.device) -> Trial:
    trial = Trial(
        editor=editor,
        settings=_settings(editor, config),
        prompts=tuple(prompts_for(editor, config.prompts)),
        seeds=tuple(range(config.seeds)),
        metrics=load_metrics(config.metrics, size_px=editor.size_px, device=device),
        batch=config.batch,
        visible=load_metrics(config.visible, size_px=editor.size_px, device=device) if config.visible else None,
    )
    editor.require(trial.settings)
    return trial


def _possible(editor: Editor, config: EditingConfig) -> EditingConfig:
    """The settings without the arms that this editor cannot have.

    Raises:
        UsageError: no arm is left.
    """
    arms = arms_named(config.arms)
    if all(arm.needs != "denoiser" for arm in arms) or has_denoiser(editor):
        return config
    own = tuple(arm.name for arm in arms if arm.needs != "denoiser")
    if not set(own) - set(CONTROLS):
        raise UsageError(f"{editor.name}: has no plain UNet, which {', '.join(config.arms)} need; name another arm")
    return replace(config, arms=own)


def _target(editor: Editor, config: EditingConfig) -> Target:
    needs_denoiser = any(arm.needs == "denoiser" for arm in arms_named(config.arm_names()))
    return Target(editor.surrogate, denoiser_of(editor) if needs_denoiser else None)


def _settings(editor: Editor, config: EditingConfig) -> EditSettings:
    own = editor.settings
    return replace(
        own,
        strength=own.strength if config.strength is None else config.strength,
        guidance=own.guidance if config.guidance is None else config.guidance,
        steps=own.steps if config.steps is None else config.steps,
    )


class _Work:
    """The measurements with one editor: lookup, and computation of missing ones.

    Args:
        kept: names of the pictures whose first edits are written to `folder`.
    """

    def __init__(
        self,
        config: EditingConfig,
        trial: Trial,
        target: Target,
        results: Results,
        folder: Path,
        kept: Sequence[str],
    ) -> None:
        self._trial = trial
        self._target = target
        self._results = results
        self._folder = folder
        self._kept = kept
        self._seed = config.seed
        self._arms = arms_named(config.arm_names())
        self._budgets = config.budgets

    def has(self, picture: str) -> bool:
        """Whether the measurements of a picture are complete."""
        return all(self._key(picture, variant) in self._results for variant in self._variants())

    def entries(self, pictures: Sequence[str]) -> dict[str, dict[str, Json]]:
        """Picture -> variant -> measurement, where a variant is `clean` or `ARM BUDGET`."""
        return {
            picture: {variant: self._results[self._key(picture, variant)] for variant in self._variants()}
            for picture in pictures
        }

    def measure(self, path: Path) -> None:
        """Add the missing measurements of one picture."""
        if self.has(path.name):
            return
        picture = square_picture(path, self._trial.editor.size_px).rgb
        clean, measured = self._trial.clean(picture)
        self._keep(path, "original", picture)
        self._keep(path, "clean", next(iter(clean.values())))
        self._add(path.name, "clean", measured)
        for budget in self._budgets:
            for arm in [*(arm for arm in self._arms if arm.name != NOISE_VISIBLE), *arms_named([NOISE_VISIBLE])]:
                variant = f"{arm.name} {budget}"
                if self._key(path.name, variant) in self._results:
                    continue
                started = time.perf_counter()
                if arm.name == NOISE_VISIBLE:
                    changed = self._visible_noise(path.name, picture, budget)
                else:
                    changed = perturb(arm, picture, self._target, budget_levels=budget, seed=self._seed)
                seconds = time.perf_counter() - started
                edits, measured = self._trial.changed(picture, changed, clean)
                measured["seconds"] = seconds
                self._keep(path, f"{variant} protected", changed)
                self._keep(path, variant, next(iter(edits.values())))
                self._add(path.name, variant, measured)

    def _visible_noise(self, name: str, picture: Rgb, budget: int) -> Rgb:
        """Noise that matches the visibility of the most visible method."""
        methods = [f"{arm.name} {budget}" for arm in self._arms if arm.name not in CONTROLS]
        most = max(self._results[self._key(name, variant)]["visible"][VISIBILITY] for variant in methods)
        seed = generator_for(picture, self._seed + 1).initial_seed()
        levels = levels_as_visible(picture, most, visibility, seed)
        return uniform_noise(picture, levels, torch.Generator().manual_seed(seed))

    def _variants(self) -> list[str]:
        return ["clean", *(f"{arm.name} {budget}" for budget in self._budgets for arm in self._arms)]

    def _key(self, picture: str, variant: str) -> str:
        return f"{self._trial.editor.name} | {picture} | {variant}"

    def _add(self, picture: str, variant: str, measured: Json) -> None:
        key = self._key(picture, variant)
        if key not in self._results:
            self._results.add({key: measured})

    def _keep(self, path: Path, name: str, picture: Rgb) -> None:
        if path.name not in self._kept:
            return
        target = self._folder / path.stem / f"{name.replace(' ', '-')}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(target)
