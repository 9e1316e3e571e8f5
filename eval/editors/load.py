"""An editor by name, ready to use."""

from __future__ import annotations

import difflib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from pca_protect import compute
from pca_protect.config import Device, Precision
from pca_protect.errors import ModelError, UsageError
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.registry import EDITORS, EMBEDDED, EditSettings, Kind
from pca_protect.pocket.format import check_format
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.load import surrogate_of
from pca_protect.surrogates.registry import PICKLED, looks_like_hub_id

_INDEX = "model_index.json"


def load_editor(name: str, *, device: Device = "auto", precision: Precision = "fp32", offline: bool = False) -> Editor:
    """Load an editor; the embedded ones and Stable Diffusion go the same way.

    Args:
        name: a name of `EDITORS`, the folder of a diffusers pipeline, or a hub id.
        precision: of the whole pipeline; its surrogate stays in fp32.
        offline: touch no network.

    Raises:
        UsageError: the name means nothing.
        ModelError: files are missing, damaged, pickled, of another format version, or not those of an editor.
        DeviceError: the device is not there.
    """
    source = _source(name)
    if isinstance(source, Path):
        _check_folder(source)
    torch_device = compute.resolve_device(device)
    dtype = compute.resolve_dtype(precision, torch_device, overflows_fp16=False, model=name)
    kind, pipeline = _pipeline(name, source, offline=offline)
    pipeline.set_progress_bar_config(disable=True)
    parts = {part: module for part, module in pipeline.components.items() if isinstance(module, nn.Module)}
    weights = {
        f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()
    }
    digest = checkpoint.digest(weights)
    for module in parts.values():
        nn.Module.to(module, torch_device)  # diffusers' own warns of moves and casts that it need not warn of
        module.requires_grad_(False)
    entry = EDITORS.get(name)
    editor = Editor(
        name=name,
        kind=kind,
        size_px=entry.size_px if entry else _side(pipeline, name),
        settings=entry.settings if entry else _SETTINGS[kind],
        digest=digest,
        surrogate=surrogate_of(pipeline.vae, name=entry.vae if entry else f"{name}/vae", origin=f"{source}/vae"),
        pipeline=pipeline,
    )
    for module in parts.values():
        nn.Module.to(module, dtype)
    return editor


_SETTINGS: dict[Kind, EditSettings] = {
    "img2img": EditSettings(),
    "inpaint": EditSettings(1.0),
    "instruct": EditSettings(None, image_guidance=1.5),
}
"""For pipelines that are not in the table."""


def _source(name: str) -> Path | str:
    """The folder, or the hub id."""
    if name in EMBEDDED:
        return Path(str(resources.files("pca_protect.eval.pocket"))) / name
    if name in EDITORS:
        if EDITORS[name].unavailable:
            raise ModelError(f"{name}: {EDITORS[name].unavailable}")
        return EDITORS[name].repo_id
    if Path(name).is_dir():
        return Path(name)
    if looks_like_hub_id(name):
        return name
    close = difflib.get_close_matches(name, EDITORS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known ones are {', '.join(EDITORS)};"
    raise UsageError(f"unknown editor {name!r}; {hint} a pipeline folder or a hub id works too")


def _check_folder(folder: Path) -> None:
    """What diffusers would say less clearly."""
    check_format(folder)
    try:
        parts = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder}: no {_INDEX} in it; give the folder of a diffusers pipeline") from error
    except ValueError as error:
        raise ModelError(f"{folder / _INDEX}: not readable as JSON ({error}); copy it again") from error
    for part in ("vae", "unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3"):
        if parts.get(part, [None])[0] is None:
            continue
        files = [file.name for file in (folder / part).glob("*")]
        if not any(file.endswith(".safetensors") for file in files):
            pickled = [file for file in files if Path(file).suffix in PICKLED]
            reason = f" ({pickled[0]} is pickled, and could run code when loaded)" if pickled else ""
            raise ModelError(f"{folder / part}: no safetensors weights{reason}; copy the folder again or convert them")


def _pipeline(name: str, source: Path | str, *, offline: bool) -> tuple[Kind, Any]:
    """How it edits, and the pipeline of one of many classes."""
    import diffusers  # noqa: PLC0415 - ten seconds
    from safetensors import SafetensorError  # noqa: PLC0415

    local = offline or isinstance(source, Path)
    try:
        index = diffusers.DiffusionPipeline.load_config(source, local_files_only=local)
        kind = EDITORS[name].kind if name in EDITORS else _kind(str(index.get("_class_name")))
        loader = {
            "img2img": diffusers.AutoPipelineForImage2Image,
            "inpaint": diffusers.AutoPipelineForInpainting,
            "instruct": diffusers.DiffusionPipeline,
        }[kind]
        return kind, loader.from_pretrained(source, use_safetensors=True, local_files_only=local)
    except (OSError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        first_line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"{source}: does not load as an editor ({first_line}); copy or download it again") from error


def _kind(pipeline_class: str) -> Kind:
    if "InstructPix2Pix" in pipeline_class:
        return "instruct"
    return "inpaint" if "Inpaint" in pipeline_class else "img2img"


def _side(pipeline: Any, name: str) -> int:  # noqa: ANN401 - of many classes
    """The side in pixels that a pipeline was made for."""
    side = getattr(pipeline, "default_sample_size", None)
    if side is None and getattr(pipeline, "unet", None) is not None:
        side = pipeline.unet.config.sample_size
    if not isinstance(side, int):
        raise ModelError(
            f"{name}: does not say which size of pictures it takes; use one that diffusers' own classes saved"
        )
    return side * int(pipeline.vae_scale_factor)
