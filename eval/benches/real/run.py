"""`pca-protect bench real`: the planned editors one after another, each in a folder of its own, and one report about all."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pca_protect.device_names import Precision
from pca_protect.errors import DeviceError, ModelError
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.benches.editing import measure_editing
from pca_protect.eval.benches.real.plan import Plan, require_editors
from pca_protect.eval.benches.real.profiles import Profile, largest_profile
from pca_protect.eval.metrics.load import load_metrics
from pca_protect.eval.metrics.registry import METRICS
from pca_protect.eval.report.page import write_report
from pca_protect.eval.results import Finished, OnProgress

_ANY_SIZE_PX = 512


@dataclass(frozen=True)
class RealResults:
    """Attributes:
    finished: by editor, of those that were measured.
    failed: editor -> why it was not measured.
    report: the page about all finished editors; None if there are none.
    """

    finished: Mapping[str, Finished]
    failed: Mapping[str, str]
    report: Path | None


def measure_real(plan: Plan, folder: Path, *, on_progress: OnProgress | None = None) -> RealResults:
    """Add the missing measurements of every editor that can be run. Each is downloaded, measured and freed before the next; an
    editor that fails does not stop the others.

    Raises:
        ModelError: no editor can be run.
        UsageError: see `measure_editing`.
    """
    require_editors(plan)
    finished: dict[str, Finished] = {}
    failed = {one.editor: one.refused for one in plan.editors if one.refused}
    for one in plan.possible:
        config = replace(plan.config, editors=(one.editor,))
        try:
            finished[one.editor] = measure_editing(config, folder_of(folder, one.editor), on_progress=on_progress)
        except (ModelError, DeviceError) as error:
            failed[one.editor] = str(error)
        except torch.OutOfMemoryError:
            failed[one.editor] = f"batch {config.batch}: the GPU's memory is full; use a smaller batch, size or profile"
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    folders = [folder_of(folder, name) for name in finished]
    return RealResults(finished, failed, write_report(folders, folder / "report.html") if folders else None)


def folder_of(folder: Path, editor: str) -> Path:
    """Results folder of one editor."""
    return folder / editor.strip("/").replace("/", "_")


def profile_of(device: torch.device) -> Profile:
    """The largest profile that a device can run.

    Raises:
        DeviceError: it is no CUDA device, or its memory is below the smallest profile.
    """
    if device.type != "cuda":
        raise DeviceError(
            f"device {device.type}: its profile is unknown, and without CUDA an edit takes minutes; give --profile, or print the "
            "plan alone with --dry-run"
        )
    memory_bytes = torch.cuda.mem_get_info(device)[1]
    profile = largest_profile(memory_bytes)
    if profile is None:
        raise DeviceError(
            f"device {device}: has {memory_bytes / 1e9:.1f} GB of memory and the smallest profile needs 8 GB; use a larger GPU"
        )
    return profile


def half_precision(device: torch.device) -> Precision:
    """Precision of the editors: bf16 where the GPU has it, fp16 on older GPUs, fp32 elsewhere."""
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"


def with_available_metrics(config: EditingConfig, device: torch.device) -> tuple[EditingConfig, dict[str, str]]:
    """The config without the metrics whose weights do not load, and the reasons by metric."""
    missing: dict[str, str] = {}
    for name in config.metrics:
        if METRICS[name].weights:
            try:
                load_metrics([name], size_px=_ANY_SIZE_PX, device=device)
            except ModelError as error:
                missing[name] = str(error)
    return replace(config, metrics=tuple(name for name in config.metrics if name not in missing)), missing
