"""Loading a diffusers pipeline from a folder or the hub, with checks that it is complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pca_protect.errors import ModelError, first_line
from pca_protect.eval.editors.families import FAMILIES, IMG2IMG_CLASSES
from pca_protect.eval.editors.memory import modules_of
from pca_protect.eval.editors.registry import Kind
from pca_protect.pocket.format import check_format
from pca_protect.surrogates.registry import PICKLED

_INDEX = "model_index.json"
_WEIGHTS = ("vae", "unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
_ABSENT = [None, None]
"""Entry of a pipeline's index for a part that it was saved without."""


def load_pipeline(
    source: Path | str, kind: Kind | None, *, dtype: torch.dtype, offline: bool
) -> tuple[Kind, Any]:  # Any: of many classes
    """The kind of editor, and its pipeline on the CPU. Weights are converted one by one while they are read.

    Args:
        source: a folder, or a hub id.
        kind: of editor; None takes it from the pipeline's class.
        dtype: of all parts but the VAE, which is in fp32 for its surrogate.
        offline: touch no network.

    Raises:
        ModelError: files are missing, damaged, pickled, of another format version, or not those of an editor.
    """
    import diffusers  # noqa: PLC0415 - takes ten seconds
    from huggingface_hub.errors import StrictDataclassError  # noqa: PLC0415
    from safetensors import SafetensorError  # noqa: PLC0415

    if isinstance(source, Path):
        _check_folder(source)
    local = offline or isinstance(source, Path)
    damage = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError)
    try:
        index = diffusers.DiffusionPipeline.load_config(source, local_files_only=local)
        kind = kind or _kind(index["_class_name"])
        loader = _loader(index["_class_name"], kind)
        pipeline = loader.from_pretrained(
            source,
            use_safetensors=True,
            local_files_only=local,
            dtype={"vae": torch.float32, "default": dtype},
            **{part: None for part, origin in index.items() if origin == _ABSENT},  # some classes raise otherwise
            **_text_encoders(source, index, dtype=dtype, local=local),
        )
    except ImportError as error:
        raise ModelError(
            f"{source}: needs a library that is not installed ({first_line(error)}); install it"
        ) from error
    except (*damage, SafetensorError, StrictDataclassError) as error:
        raise ModelError(f"{source}: does not load as an editor ({first_line(error)}); {_remedy(source)}") from error
    if not isinstance(getattr(pipeline, "vae", None), nn.Module):
        raise ModelError(f"{source}: does not load as an editor (it has no VAE); give a pipeline of latent diffusion")
    for part, module in modules_of(pipeline).items():
        missing = [name for name, tensor in module.state_dict().items() if tensor.is_meta]
        if missing:
            raise _incomplete(source, part, missing)
    return kind, pipeline


def _check_folder(folder: Path) -> None:
    """Check what diffusers reports less clearly, or not at all."""
    check_format(folder)
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder}: no {_INDEX} in it; give the folder of a diffusers pipeline") from error
    except ValueError as error:
        raise ModelError(f"{folder / _INDEX}: not readable as JSON ({error}); copy it again") from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise ModelError(f"{folder / _INDEX}: names no pipeline; copy it again")
    for part in index:
        if index[part] == _ABSENT:
            continue
        files = [file.name for file in (folder / part).glob("*")]
        if part in _WEIGHTS and not any(file.endswith(".safetensors") for file in files):
            pickled = [file for file in files if Path(file).suffix in PICKLED]
            reason = f" ({pickled[0]} is pickled, and could run code when loaded)" if pickled else ""
            raise ModelError(f"{folder / part}: no safetensors weights{reason}; copy the folder again or convert them")
        if part.startswith("tokenizer") and not set(_VOCABULARIES) & set(files):
            raise ModelError(f"{folder / part}: no vocabulary ({', '.join(_VOCABULARIES)}); copy the folder again")


def _text_encoders(
    source: Path | str, index: dict[str, Any], *, dtype: torch.dtype, local: bool
) -> dict[str, nn.Module]:
    """Text encoders by part. diffusers would initialise their missing weights at random without an error."""
    import transformers  # noqa: PLC0415

    encoders = {}
    for part, origin in index.items():
        if not part.startswith("text_encoder") or origin == _ABSENT:
            continue
        library, class_name = origin
        if library != "transformers":
            continue
        encoders[part], loaded = getattr(transformers, class_name).from_pretrained(
            source,
            subfolder=part,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=local,
            output_loading_info=True,
        )
        if loaded["missing_keys"]:
            raise _incomplete(source, part, sorted(loaded["missing_keys"]))
    return encoders


def _incomplete(source: Path | str, part: str, missing: list[str]) -> ModelError:
    return ModelError(
        f"{source}: does not load as an editor ({part} lacks {missing[0]} and {len(missing) - 1} others); {_remedy(source)}"
    )


def _remedy(source: Path | str) -> str:
    if isinstance(source, Path):
        return "copy or download it again"
    return "go online, log in to the hub if the model is gated, or give a local folder"


def _kind(pipeline_class: str) -> Kind:
    if pipeline_class in FAMILIES:
        return FAMILIES[pipeline_class].kind
    return "inpaint" if "Inpaint" in pipeline_class else "img2img"


def _loader(pipeline_class: str, kind: Kind) -> Any:  # noqa: ANN401 - a class of diffusers
    """The class whose `from_pretrained` makes an editor of this kind, from a text-to-image pipeline too."""
    import diffusers  # noqa: PLC0415 - takes ten seconds

    if pipeline_class in FAMILIES:
        return diffusers.DiffusionPipeline
    if pipeline_class in IMG2IMG_CLASSES:
        return getattr(diffusers, IMG2IMG_CLASSES[pipeline_class])
    return diffusers.AutoPipelineForInpainting if kind == "inpaint" else diffusers.AutoPipelineForImage2Image
