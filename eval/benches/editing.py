"""`pca-protect bench editing` and `bench prompts`: every arm on every picture, edited with every prompt and seed, beside the
clean edit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from pca_protect.eval.arms.denoiser import denoiser_of
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
from pca_protect.eval.results import Finished, Json, OnProgress, Results
from pca_protect.eval.tables import Measured, editing_rows, frontier_rows, prompt_rows, rival_rows
from pca_protect.eval.trial import Trial, prompts_for

STRIPS = 4
"""Number of pictures kept with their edits, for the report."""


def measure_editing(
    config: EditingConfig,
    folder: Path,
    *,
    table: Literal["editing", "prompts"] = "editing",
    on_progress: OnProgress | None = None,
) -> Finished:
    """Measure what `folder` does not hold yet, and write its tables.

    A picture that cannot be read or edited is named in the table `failures` and left out; the others are measured. Every
    editor is loaded, and refused if an arm or a setting does not fit it, before the first edit.

    Args:
        table: the question: what arms do, or how much that depends on the prompt.

    Raises:
        UsageError: a setting is wrong, or `folder` holds something else; see `Results`.
        ModelError, DeviceError: an editor, a metric or the device cannot be had.
    """
    bench = Bench(table, config, folder, on_progress)
    editors = [load_editor(name, device=config.device, precision=config.precision) for name in config.editors]
    trials = [_trial(editor, config, bench.device) for editor in editors]
    targets = [_target(editor, config) for editor in editors]
    results = bench.open(
        editor_weights={editor.name: editor.digest for editor in editors},
        vae_weights={editor.name: editor.surrogate.digest for editor in editors},
    )
    kept = [path.name for path in bench.pictures][:STRIPS]
    measured: list[Measured] = []
    for trial, target in zip(trials, targets, strict=True):
        name = trial.editor.name
        work = _Work(config, trial, target, results, folder / "pictures" / name.lstrip("/").replace("/", "_"), kept)
        bench.each_picture(name, work.measure, editor=name)
        whole = [path.name for path in bench.pictures if work.has(path.name)]
        measured.append(Measured(name, trial.prompts, whole, work.entries(whole)))
    wanted = (
        {"editing": editing_rows, "rivals": rival_rows, "frontier": frontier_rows}
        if table == "editing"
        else {"prompts": prompt_rows}
    )
    return bench.finish({name: [row for one in measured for row in rows(one, config)] for name, rows in wanted.items()})


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
    """One editor's share: which measurements there are, and making those that are missing.

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
        """Whether everything about a picture was measured."""
        return all(self._key(picture, variant) in self._results for variant in self._variants())

    def entries(self, pictures: Sequence[str]) -> dict[str, dict[str, Json]]:
        """What was measured: picture -> variant -> measurement, where a variant is `clean` or `ARM BUDGET`."""
        return {
            picture: {variant: self._results[self._key(picture, variant)] for variant in self._variants()}
            for picture in pictures
        }

    def measure(self, path: Path) -> None:
        """Measure what is missing of one picture."""
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
        """Noise as visible as the most visible method."""
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
