"""An editor by name, ready to use."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pca_protect.device import resolve_device, resolve_dtype
from pca_protect.device_names import Device, Precision
from pca_protect.errors import ModelError, UsageError
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.families import Family, family_of, has_guidance
from pca_protect.eval.editors.memory import modules_of, place, slice_decoding
from pca_protect.eval.editors.pipeline import load_pipeline
from pca_protect.eval.editors.registry import EDITORS, EMBEDDED, EditorEntry, Kind
from pca_protect.eval.editors.weights import digest_of_files
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.load import surrogate_of
from pca_protect.surrogates.registry import looks_like_hub_id


def load_editor(
    name: str,
    *,
    device: Device = "auto",
    precision: Precision = "fp32",
    offline: bool = False,
    size_px: int | None = None,
) -> Editor:
    """Load an editor. Embedded editors and those of the hub are loaded by the same code.

    Args:
        name: a name of `EDITORS`, the folder of a diffusers pipeline, or a hub id.
        precision: of the pipeline; its surrogate is always in fp32.
        offline: touch no network.
        size_px: side of the square pictures to edit; None for the side that it was trained for.

    Raises:
        UsageError: the name is unknown, or the size is not one that the editor can take.
        ModelError: files are missing, damaged, pickled, of another format version, or not those of an editor.
        DeviceError: the device is not available.
    """
    source, entry = source_of(name), EDITORS.get(name)
    torch_device = resolve_device(device)
    dtype = resolve_dtype(precision, torch_device, overflows_fp16=False, model=name)
    kind, pipeline = load_pipeline(source, entry.kind if entry else None, dtype=dtype, offline=offline)
    return editor_of(
        pipeline,
        name,
        kind,
        entry=entry,
        origin=str(source),
        digest=digest_of_files(source, modules_of(pipeline)),
        device=torch_device,
        dtype=dtype,
        size_px=size_px,
    )


def editor_of(
    pipeline: Any,  # noqa: ANN401 - of many classes
    name: str,
    kind: Kind,
    *,
    entry: EditorEntry | None = None,
    origin: str = "",
    digest: str | None = None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    size_px: int | None = None,
) -> Editor:
    """The editor of a loaded pipeline, which is moved to a device, or kept in main memory if it does not fit, see `place`.

    Args:
        entry: row of the registry; None takes settings and size from the pipeline.
        origin: where the pipeline is from, for records.
        digest: see `Editor`; None computes one from the weights in memory.
        dtype: of the VAE; the other parts keep theirs.
        size_px: see `load_editor`.

    Raises:
        UsageError: the size is not one that the editor can take.
        ModelError: no size is given, and the pipeline has none.
        DeviceError: its largest part does not fit into the GPU.
    """
    pipeline.set_progress_bar_config(disable=True)
    parts = modules_of(pipeline)
    # `nn.Module.to`, since diffusers' override warns of harmless moves and casts.
    surrogate = surrogate_of(
        nn.Module.to(pipeline.vae, device, torch.float32),
        name=entry.vae if entry else f"{name}/vae",
        origin=f"{origin}/vae",
    )
    if digest is None:
        digest = _digest_of_weights(parts)
    nn.Module.to(pipeline.vae, dtype)
    slice_decoding(pipeline.vae, device)
    offloaded = place(pipeline, device, name=name)
    for module in parts.values():
        module.requires_grad_(False)
    family = family_of(pipeline, kind)
    settings = entry.settings if entry else family.settings
    return Editor(
        name=name,
        kind=kind,
        size_px=_size(pipeline, name, family, entry, size_px),
        settings=settings if has_guidance(pipeline, family) else replace(settings, guidance=None),
        digest=digest,
        surrogate=surrogate,
        family=family,
        pipeline=pipeline,
        offloaded=offloaded,
    )


def _digest_of_weights(parts: Mapping[str, nn.Module]) -> str:
    return checkpoint.digest(
        {f"{part}.{key}": tensor for part, module in parts.items() for key, tensor in module.state_dict().items()}
    )


def source_of(name: str) -> Path | str:
    """The editor's folder or hub id.

    Raises:
        UsageError: the name is unknown.
    """
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


def _size(
    pipeline: Any,  # noqa: ANN401 - of many classes
    name: str,
    family: Family,
    entry: EditorEntry | None,
    size_px: int | None,
) -> int:
    """Side in pixels of the square pictures to edit: the given one, or the one that the editor was trained for."""
    if size_px is None:
        return entry.size_px if entry else family.size_px or _side(pipeline, name)
    if family.one_size and size_px != family.size_px:
        raise UsageError(f"size {size_px}: {name} edits {family.size_px} px alone; give that size or none")
    multiple = int(pipeline.vae_scale_factor) * (1 if getattr(pipeline, "unet", None) else _PATCH)
    if size_px % multiple or size_px < _SMALLEST_PX:
        nearest = max(round(size_px / multiple), -(-_SMALLEST_PX // multiple)) * multiple
        raise UsageError(
            f"size {size_px}: {name} edits multiples of {multiple} px from {_SMALLEST_PX} px; give {nearest}"
        )
    return size_px


_SMALLEST_PX = 64
_PATCH = 2
"""Side in latent positions of the patches that transformers see."""


def _side(pipeline: Any, name: str) -> int:  # noqa: ANN401 - of many classes
    """Side in pixels of the square pictures that a pipeline was trained for."""
    side = getattr(pipeline, "default_sample_size", None)
    if side is None and getattr(pipeline, "unet", None) is not None:
        side = pipeline.unet.config.sample_size
    if not isinstance(side, int):
        raise ModelError(f"{name}: its configuration has no picture size; use a pipeline saved by a diffusers class")
    return side * int(pipeline.vae_scale_factor)
