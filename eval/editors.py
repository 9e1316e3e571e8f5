"""Text-guided editors: a picture and a prompt in, an edited picture out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pca_protect import compute
from pca_protect.config import Device, Precision
from pca_protect.errors import ModelError, PictureError, UsageError
from pca_protect.eval.pictures import Rgb
from pca_protect.pocket.format import check_format
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.registry import PICKLED, looks_like_hub_id

EMBEDDED = {"pocket-editor": "pocket", "pocket-editor-16": "pocket-16"}
"""Editors that come with the program, and the VAE each one edits in."""

_INDEX = "model_index.json"


@dataclass(frozen=True)
class EditSettings:
    """How an image-to-image editor is run.

    Attributes:
        strength: share of the noise schedule that is run, in (0, 1]; more changes more.
        guidance: scale of classifier-free guidance; 1 is none.
        steps: steps of the whole schedule, of which `strength` is done.
    """

    strength: float = 0.6
    guidance: float = 7.5
    steps: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise UsageError(f"strength {self.strength}: has to be above 0 and at most 1")
        if self.guidance < 1:
            raise UsageError(f"guidance {self.guidance}: has to be 1 or more")
        if self.steps * self.strength < 1:
            raise UsageError(f"steps {self.steps}: strength {self.strength} of them is less than one; take more")


@dataclass(frozen=True)
class Editor:
    """An image-to-image pipeline, loaded.

    Attributes:
        name: as it was asked for.
        size_px: side of the square pictures it takes and returns.
        digest: of all its weights.
    """

    name: str
    size_px: int
    digest: str
    _pipeline: Any = field(repr=False)

    def edit(self, pictures: Sequence[Rgb], prompt: str, settings: EditSettings, *, seeds: Sequence[int]) -> list[Rgb]:
        """Edit pictures `(size_px, size_px, 3)` in one batch.

        Args:
            prompt: what to do; empty for no instruction.
            seeds: one for each picture; it decides the noise of that picture alone.

        Raises:
            PictureError: a picture is of another size.
        """
        for picture in pictures:
            height, width = picture.shape[:2]
            if (height, width) != (self.size_px, self.size_px):
                raise PictureError(
                    f"a picture of {width}x{height} px: {self.name} edits {self.size_px}x{self.size_px} px; "
                    "crop or resize it first"
                )
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        edited = self._pipeline(
            prompt=[prompt] * len(pictures),
            image=pixels,
            strength=settings.strength,
            guidance_scale=settings.guidance,
            num_inference_steps=settings.steps,
            generator=generators,
            output_type="np",
        ).images
        return [(picture.clip(0, 1) * 255).round().astype(np.uint8) for picture in edited]


def load_editor(name: str, *, device: Device = "auto", precision: Precision = "fp32", offline: bool = False) -> Editor:
    """Load an image-to-image editor; the embedded ones and Stable Diffusion go the same way.

    Args:
        name: a name of `EMBEDDED`, the folder of a diffusers pipeline, or a hub id.
        offline: touch no network.

    Raises:
        UsageError: the name means nothing.
        ModelError: files are missing, damaged, pickled, of another format version, or no image-to-image pipeline.
        DeviceError: the device is not there.
    """
    source = _source(name)
    if isinstance(source, Path):
        _check_folder(source)
    torch_device = compute.resolve_device(device)
    dtype = compute.resolve_dtype(precision, torch_device, overflows_fp16=False, model=name)
    pipeline = _pipeline(source, offline=offline)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            nn.Module.to(part, torch_device, dtype)  # diffusers' own warns of casts that it need not warn of
    pipeline.set_progress_bar_config(disable=True)
    weights = {
        f"{part}.{name}": tensor
        for part in ("vae", "unet", "text_encoder")
        for name, tensor in getattr(pipeline, part).state_dict().items()
    }
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    return Editor(name, side, checkpoint.digest(weights), pipeline)


def _source(name: str) -> Path | str:
    """The folder, or the hub id."""
    if name in EMBEDDED:
        return Path(str(resources.files("pca_protect.eval.pocket"))) / name
    if Path(name).is_dir():
        return Path(name)
    if looks_like_hub_id(name):
        return name
    close = difflib.get_close_matches(name, EMBEDDED, n=1)
    hint = f"did you mean {close[0]}?" if close else f"embedded ones are {', '.join(EMBEDDED)};"
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
    for part in ("vae", "unet", "text_encoder"):
        files = [file.name for file in (folder / part).glob("*")] if part in parts else ["(not in the pipeline)"]
        if part in parts and not any(file.endswith(".safetensors") for file in files):
            pickled = [file for file in files if Path(file).suffix in PICKLED]
            reason = f" ({pickled[0]} is pickled, and could run code when loaded)" if pickled else ""
            raise ModelError(f"{folder / part}: no safetensors weights{reason}; copy the folder again or convert them")


def _pipeline(source: Path | str, *, offline: bool) -> Any:  # noqa: ANN401 - of many classes
    from diffusers import AutoPipelineForImage2Image  # noqa: PLC0415 - ten seconds
    from safetensors import SafetensorError  # noqa: PLC0415

    try:
        return AutoPipelineForImage2Image.from_pretrained(  # type: ignore[no-untyped-call]
            source, use_safetensors=True, local_files_only=offline or isinstance(source, Path)
        )
    except (OSError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        first_line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(
            f"{source}: does not load as an image-to-image pipeline ({first_line}); copy or download it again"
        ) from error
