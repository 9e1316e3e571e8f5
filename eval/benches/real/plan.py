"""Plan of `bench real`: per editor the edits, hours and gigabytes. Nothing is downloaded but the index of each pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pca_protect.errors import ModelError
from pca_protect.eval.arms.controls import OWN_CONTROLS
from pca_protect.eval.arms.registry import Arm, arms_named
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.benches.editing import entries_of
from pca_protect.eval.benches.real.download import missing_gigabytes
from pca_protect.eval.benches.real.profiles import REQUIREMENTS, Profile
from pca_protect.eval.editors.load import source_of
from pca_protect.eval.editors.registry import EDITORS
from pca_protect.eval.metrics.pool import MOST_WORKERS
from pca_protect.eval.pictures import readable
from pca_protect.eval.results import Row
from pca_protect.presets import PRESETS

_ENCODER_TERAFLOPS = 1.12
"""A forward pass of Stable Diffusion's encoder at 512x512 px, in 1e12 operations; a gradient step takes three times as many."""

_METRIC_SECONDS = 4.1
"""FLIP four times and SSIM twice, the metrics of one edit at 512x512 px, measured on one core."""

_DEFAULT_STEPS = PRESETS["paper"].steps


@dataclass(frozen=True)
class PlannedEditor:
    """One row of the plan.

    Attributes:
        editor: its name.
        source: hub id or folder.
        licence: as the publisher names it; None if unknown.
        size_px: side of the pictures; None for the pipeline's own.
        download_gb: still to be downloaded; None if unknown.
        download_is_nominal: the hub did not tell the size; the number is that of the published files.
        gpu_gb: weights in half precision; None if unknown.
        host_gb: main memory while loading; None if unknown.
        edits: number of edits of all pictures.
        hours: estimated; None if unknown.
        refused: why the editor cannot be run; empty if it can.
    """

    editor: str
    source: str
    licence: str | None
    size_px: int | None
    download_gb: float | None
    download_is_nominal: bool
    gpu_gb: float | None
    host_gb: float | None
    edits: int
    hours: float | None
    refused: str


@dataclass(frozen=True)
class Plan:
    """Attributes:
    profile: size of GPU that the hours are for.
    config: settings of all editors.
    pictures: number of readable pictures that are used.
    editors: in the order of the run.
    """

    profile: Profile
    config: EditingConfig
    pictures: int
    editors: tuple[PlannedEditor, ...]

    @property
    def possible(self) -> tuple[PlannedEditor, ...]:
        """The editors that can be run."""
        return tuple(one for one in self.editors if not one.refused)

    @property
    def hours(self) -> float:
        """Sum of the estimates of `possible`."""
        return sum(one.hours or 0.0 for one in self.possible)

    @property
    def download_gb(self) -> float:
        """Sum of the downloads of `possible`."""
        return sum(one.download_gb or 0.0 for one in self.possible)


def instructions_of(config: EditingConfig) -> tuple[list[int], list[Row]]:
    """The number of prompts of each readable picture, and rows of a table `failures` for the other pictures.

    Raises:
        UsageError: the manifest is wrong, or the folder holds no readable picture.
    """
    if config.manifest:
        return [len(entry.prompts) for entry in entries_of(config)], []
    digests, failures = readable(Path(config.images), config.pictures)
    return [len(config.prompts)] * len(digests), failures


def plan_real(config: EditingConfig, profile: Profile, *, instructions: Sequence[int]) -> Plan:
    """Ask the hub for the size of every download and estimate the hours.

    Args:
        instructions: number of prompts of each picture.

    Raises:
        UsageError: an editor is unknown.
    """
    planned = tuple(_planned(name, config, profile, instructions) for name in config.editors)
    return Plan(profile, config, len(instructions), planned)


def edits_per_prompt(config: EditingConfig) -> int:
    """Number of edits of one picture with one prompt; at most, since arms of near visibility share the noise of equal
    visibility."""
    arms = arms_named(config.arm_names())
    protected = [arm for arm in arms if arm.needs != "nothing"]
    unrelated = 1
    changed = len(arms) + len(protected) + len(config.decided_arms()) * len(OWN_CONTROLS) + unrelated
    return max(2, config.seeds) + changed * config.seeds


def _planned(name: str, config: EditingConfig, profile: Profile, instructions: Sequence[int]) -> PlannedEditor:
    entry, needs = EDITORS.get(name), REQUIREMENTS.get(name)
    source = source_of(name)
    row = PlannedEditor(
        editor=name,
        source=str(source) if entry is None or entry.repo_id else "built in",
        licence=entry.licence if entry else None,
        size_px=config.size_px or (entry.size_px if entry else None),
        download_gb=0.0,
        download_is_nominal=False,
        gpu_gb=needs.gpu_gigabytes if needs else None,
        host_gb=needs.host_gigabytes if needs else None,
        edits=sum(instructions) * edits_per_prompt(config),
        hours=_hours(name, config, profile, instructions),
        refused="",
    )
    if isinstance(source, Path):
        return row
    try:
        missing = missing_gigabytes(source)
    except ModelError as error:
        missing, row = None, replace(row, refused=str(error))
    if missing is None:
        return replace(row, download_gb=needs.download_gigabytes if needs else None, download_is_nominal=True)
    return replace(row, download_gb=missing)


def _hours(name: str, config: EditingConfig, profile: Profile, instructions: Sequence[int]) -> float | None:
    """Estimate from numbers of operations and the profile's assumed speeds."""
    entry, needs = EDITORS.get(name), REQUIREMENTS.get(name)
    if entry is None or needs is None:
        return None
    size_px = config.size_px or entry.size_px
    steps = (config.steps or entry.settings.steps) * (entry.settings.strength or 1.0)
    edit = needs.calls * steps * needs.teraflops * (size_px / entry.size_px) ** 2 / profile.edit_teraflops
    area = (size_px / 512) ** 2
    gradients = sum(_gradient_steps(arm) for arm in arms_named(config.arms)) * len(config.budgets)
    protect = gradients * 3 * _ENCODER_TERAFLOPS * area / profile.protect_teraflops
    workers = min(MOST_WORKERS, max((os.cpu_count() or 1) - 1, 1))
    measure = _METRIC_SECONDS * area / workers
    edits = sum(instructions) * edits_per_prompt(config)
    return (edits * (edit + measure) + len(instructions) * protect) / 3600


def _gradient_steps(arm: Arm) -> int:
    if arm.needs == "nothing":
        return 0
    return PRESETS[arm.preset].steps if arm.preset else _DEFAULT_STEPS


def require_editors(plan: Plan) -> None:
    """Raises:
    ModelError: none of the editors can be run.
    """
    if not plan.possible:
        raise ModelError(plan.editors[0].refused)
