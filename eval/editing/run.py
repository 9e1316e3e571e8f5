"""`pca-protect bench editing`: every arm on every picture, edited with every prompt and seed, beside the clean edit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from pca_protect.device import resolve_device
from pca_protect.errors import ModelError
from pca_protect.eval.arms.denoiser import denoiser_of
from pca_protect.eval.arms.noise import levels_as_visible, uniform_noise
from pca_protect.eval.arms.perturb import Target, generator_for, perturb
from pca_protect.eval.arms.registry import CONTROLS, NOISE_VISIBLE, arms_named
from pca_protect.eval.editing.config import EditingConfig
from pca_protect.eval.editing.frontier import frontier_rows
from pca_protect.eval.editing.table import Measured, editing_rows, prompt_rows, rival_rows
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.environment import environment
from pca_protect.eval.metrics.load import load_metrics, visibility
from pca_protect.eval.metrics.registry import VISIBILITY
from pca_protect.eval.pictures import Rgb, readable, square_picture
from pca_protect.eval.results import Finished, Json, OnProgress, Results
from pca_protect.eval.trial import Trial, prompts_for

STRIPS = 4
"""So many pictures are kept with their edits, for the report."""


def measure_editing(
    config: EditingConfig,
    folder: Path,
    *,
    table: Literal["editing", "prompts"] = "editing",
    on_progress: OnProgress | None = None,
) -> Finished:
    """Measure what `folder` does not hold yet, and write its tables.

    A picture that cannot be read or edited is named in the table `failures` and left out; the others are measured.

    Args:
        table: the question: what arms do, or how much that depends on the prompt.

    Raises:
        UsageError: a setting is wrong, or `folder` holds something else; see `Results`.
        ModelError, DeviceError: an editor, a metric or the device cannot be had.
    """
    report = on_progress or (lambda label, done, in_all: None)
    device = resolve_device(config.device)
    pictures, failures = readable(Path(config.images), config.pictures)
    editors = [load_editor(name, device=config.device, precision=config.precision) for name in config.editors]
    results = Results(
        folder,
        command=f"pca-protect bench {table}",
        config={
            **config.as_dict(),
            "pictures": {path.name: digest for path, digest in pictures.items()},
            "editor_weights": {editor.name: editor.digest for editor in editors},
            "vae_weights": {editor.name: editor.surrogate.digest for editor in editors},
        },
        environment=environment(device),
    )
    measured: list[Measured] = []
    for editor in editors:
        trial = Trial(
            editor=editor,
            settings=_settings(editor, config),
            prompts=tuple(prompts_for(editor, config.prompts)),
            seeds=tuple(range(config.seeds)),
            metrics=load_metrics(config.metrics, size_px=editor.size_px, device=device),
            batch=config.batch,
            visible=load_metrics(config.visible, size_px=editor.size_px, device=device) if config.visible else None,
        )
        work = _Work(config, trial, results, folder / "pictures" / editor.name.lstrip("/").replace("/", "_"))
        for done, path in enumerate(pictures):
            report(editor.name, done, len(pictures))
            try:
                work.measure(path, keep=done < STRIPS)
            except ModelError as error:
                failures.append({"editor": editor.name, "picture": path.name, "reason": str(error)})
                continue
        whole = [path.name for path in pictures if work.has(path.name)]
        measured.append(Measured(editor.name, trial.prompts, whole, work.entries(whole)))
    wanted = (
        {"editing": editing_rows, "rivals": rival_rows, "frontier": frontier_rows}
        if table == "editing"
        else {"prompts": prompt_rows}
    )
    tables = {name: [row for one in measured for row in rows(one, config)] for name, rows in wanted.items()}
    if failures:
        tables["failures"] = failures
    return Finished(tables, results.write_tables(tables))


def _settings(editor: Editor, config: EditingConfig) -> EditSettings:
    own = editor.settings
    return replace(
        own,
        strength=own.strength if config.strength is None else config.strength,
        guidance=own.guidance if config.guidance is None else config.guidance,
        steps=own.steps if config.steps is None else config.steps,
    )


class _Work:
    """One editor's share: which measurements there are, and making those that are missing."""

    def __init__(self, config: EditingConfig, trial: Trial, results: Results, kept: Path) -> None:
        self._trial = trial
        self._results = results
        self._kept = kept
        self._seed = config.seed
        self._arms = arms_named(config.arm_names())
        self._budgets = config.budgets
        denoiser = denoiser_of(trial.editor) if any(arm.needs == "denoiser" for arm in self._arms) else None
        self._target = Target(trial.editor.surrogate, denoiser)

    def has(self, picture: str) -> bool:
        """Whether everything about a picture was measured."""
        return all(self._key(picture, variant) in self._results for variant in self._variants())

    def entries(self, pictures: Sequence[str]) -> dict[str, dict[str, Json]]:
        """What was measured: picture -> variant -> measurement, where a variant is `clean` or `ARM BUDGET`."""
        return {
            picture: {variant: self._results[self._key(picture, variant)] for variant in self._variants()}
            for picture in pictures
        }

    def measure(self, path: Path, *, keep: bool) -> None:
        """Measure what is missing of one picture.

        Args:
            keep: write pictures of the first edit too.
        """
        if self.has(path.name):
            return
        picture = square_picture(path, self._trial.editor.size_px).rgb
        clean, measured = self._trial.clean(picture)
        if keep:
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
                if keep:
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
        target = self._kept / path.stem / f"{name.replace(' ', '-')}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(target)
