"""An editor by name, ready to use."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pca_protect.config import Device, Precision
from pca_protect.device import resolve_device, resolve_dtype
from pca_protect.errors import ModelError, UsageError
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.pipeline import load_pipeline, modules_of
from pca_protect.eval.editors.registry import EDITORS, EMBEDDED, EditSettings, Kind
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.load import surrogate_of
from pca_protect.surrogates.registry import looks_like_hub_id


def load_editor(name: str, *, device: Device = "auto", precision: Precision = "fp32", offline: bool = False) -> Editor:
    """Load an editor. Embedded editors and those of the hub are loaded by the same code.

    Args:
        name: a name of `EDITORS`, the folder of a diffusers pipeline, or a hub id.
        precision: of the pipeline; its surrogate is always in fp32.
        offline: touch no network.

    Raises:
        UsageError: the name is unknown.
        ModelError: files are missing, damaged, pickled, of another format version, or not those of an editor.
        DeviceError: the device is not available.
    """
    source, entry = _source(name), EDITORS.get(name)
    torch_device = resolve_device(device)
    dtype = resolve_dtype(precision, torch_device, overflows_fp16=False, model=name)
    kind, pipeline = load_pipeline(source, entry.kind if entry else None, offline=offline)
    pipeline.set_progress_bar_config(disable=True)
    parts = modules_of(pipeline)
    weights = {
        f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()
    }
    digest = checkpoint.digest(weights)
    # `nn.Module.to`, since diffusers' override warns of harmless moves and casts.
    surrogate = surrogate_of(
        nn.Module.to(pipeline.vae, torch_device, torch.float32),
        name=entry.vae if entry else f"{name}/vae",
        origin=f"{source}/vae",
    )
    for module in parts.values():
        nn.Module.to(module, torch_device, dtype)
        module.requires_grad_(False)
    return Editor(
        name=name,
        kind=kind,
        size_px=entry.size_px if entry else _side(pipeline, name),
        settings=entry.settings if entry else _SETTINGS[kind],
        digest=digest,
        surrogate=surrogate,
        pipeline=pipeline,
    )


_SETTINGS: dict[Kind, EditSettings] = {
    "img2img": EditSettings(),
    "inpaint": EditSettings(1.0),
    "instruct": EditSettings(None, image_guidance=1.5),
}
"""Defaults of pipelines that `EDITORS` does not list."""


def _source(name: str) -> Path | str:
    """The editor's folder or hub id."""
    if name in EMBEDDED:
        return Path(str(resources.files("pca_protect.eval.pocket"))) / name
    if name in EDITORS:
        return EDITORS[name].repo_id
    if Path(name).is_dir():
        return Path(name)
    if looks_like_hub_id(name):
        return name
    close = difflib.get_close_matches(name, EDITORS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known ones are {', '.join(EDITORS)};"
    raise UsageError(f"unknown editor {name!r}; {hint} a pipeline folder or a hub id works too")


def _side(pipeline: Any, name: str) -> int:  # noqa: ANN401 - of many classes
    """Side in pixels of the square pictures that a pipeline was trained for."""
    side = getattr(pipeline, "default_sample_size", None)
    if side is None and getattr(pipeline, "unet", None) is not None:
        side = pipeline.unet.config.sample_size
    if not isinstance(side, int):
        raise ModelError(f"{name}: its configuration has no picture size; use a pipeline saved by a diffusers class")
    return side * int(pipeline.vae_scale_factor)
