"""A loaded editor: one interface to every diffusers pipeline that takes a picture and a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pca_protect.device import empty_cache, is_out_of_memory
from pca_protect.errors import DeviceError, ModelError, PictureError, UsageError
from pca_protect.eval.editors.families import IMG2IMG, Family, has_guidance
from pca_protect.eval.editors.memory import BatchLimit
from pca_protect.eval.editors.registry import EditSettings, Kind
from pca_protect.eval.pictures import Rgb
from pca_protect.surrogates.encoder import Surrogate

_KEPT_RADIUS = 0.35
"""Radius of the central disc that inpainting keeps, as a share of the picture's side."""


Mask = NDArray[np.bool_]
"""Which pixels an inpainting editor repaints, `(H, W)`."""

_Job = tuple[Rgb, str, int]
"""A picture, a prompt and a seed."""


@dataclass(frozen=True)
class Editor:
    """A loaded pipeline.

    Attributes:
        name: as given to `load_editor`.
        kind: see `registry.Kind`.
        size_px: side of the square pictures it takes and returns.
        settings: defaults of `edit`.
        digest: hash of all its weight files.
        surrogate: a copy of its VAE's encoder, in fp32.
        pipeline: the diffusers pipeline, or an object that is called like one.
        family: how the pipeline is called.
        offloaded: its parts are in main memory and visit the GPU one after another.
        limit: number of edits per call, lowered when memory runs out.
    """

    name: str
    kind: Kind
    size_px: int
    settings: EditSettings
    digest: str
    surrogate: Surrogate = field(repr=False)
    pipeline: Any = field(repr=False)
    family: Family = field(default=IMG2IMG, repr=False)
    offloaded: bool = False
    limit: BatchLimit = field(default_factory=BatchLimit, repr=False, compare=False)

    @property
    def has_safety_checker(self) -> bool:
        """Whether it blacks out edits that its safety checker objects to."""
        return getattr(self.pipeline, "safety_checker", None) is not None

    def edit(
        self,
        pictures: Sequence[Rgb],
        prompt: str | Sequence[str],
        settings: EditSettings | None = None,
        *,
        seeds: Sequence[int],
        mask: Mask | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> list[Rgb]:
        """Edit pictures `(size_px, size_px, 3)`, in one batch if the pipeline takes batches and memory suffices.

        Args:
            prompt: instruction, one for all pictures or one per picture; empty for none.
            settings: None for the editor's defaults.
            seeds: one per picture, for the noise of that picture alone.
            mask: `(size_px, size_px)`, True is repainted; None repaints all but a central disc. Only for `inpaint` editors;
                others ignore it.
            on_step: called after each denoising step if the pipeline has `callback_on_step_end`; an exception from it ends
                the edit.

        Raises:
            PictureError: a picture has another size.
            UsageError: this kind of editor lacks one of the settings.
            ModelError: an edit is not finite or of one flat colour, or the editor's safety checker blacked it out.
            DeviceError: a single edit does not fit into memory.
        """
        found = self.edit_or_block(pictures, prompt, settings, seeds=seeds, mask=mask, on_step=on_step)
        edits = [edit for edit in found if edit is not None]
        if len(edits) < len(found):
            raise ModelError(
                f"{self.name}: its safety checker blacked out an edit; leave this picture or this prompt out"
            )
        return edits

    def edit_or_block(
        self,
        pictures: Sequence[Rgb],
        prompt: str | Sequence[str],
        settings: EditSettings | None = None,
        *,
        seeds: Sequence[int],
        mask: Mask | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> list[Rgb | None]:
        """As `edit`, with None for each edit that the safety checker blacked out."""
        for picture in pictures:
            height, width = picture.shape[:2]
            if (height, width) != (self.size_px, self.size_px):
                raise PictureError(
                    f"a picture of {width}x{height} px: {self.name} edits {self.size_px}x{self.size_px} px; "
                    "crop or resize it first"
                )
        prompts = [prompt] * len(pictures) if isinstance(prompt, str) else list(prompt)
        jobs = list(zip(pictures, prompts, seeds, strict=True))
        edits: list[Rgb | None] = []
        while len(edits) < len(jobs):
            at_once = (self.limit.size or len(jobs)) if self.family.takes_batches else 1
            part = jobs[len(edits) : len(edits) + at_once]
            options = self._options(settings or self.settings, batch=len(part), mask=mask) | self._callback(on_step)
            made = self._run_if_it_fits(part, options)
            if made is None:
                empty_cache(self.surrogate.device)  # after the traceback released the tensors
                self.limit.halve(len(part))
            else:
                edits += made
        return edits

    def _run_if_it_fits(self, jobs: Sequence[_Job], options: dict[str, object]) -> list[Rgb | None] | None:
        """The edits; None if memory ran out and there is more than one."""
        try:
            return self._run(jobs, options)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(jobs) == 1:
                raise DeviceError(
                    f"{self.name}: an edit at {self.size_px}x{self.size_px} px does not fit into the memory of device "
                    f"{self.surrogate.device}; use a smaller size, a lower precision, or a larger GPU"
                ) from error
        return None

    def _run(self, jobs: Sequence[_Job], options: dict[str, object]) -> list[Rgb | None]:
        pictures, prompts, seeds = zip(*jobs, strict=True)
        image: Tensor | Image.Image
        if self.family.takes_batches:
            image = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        else:
            image = Image.fromarray(pictures[0])
        output = self.pipeline(
            prompt=list(prompts),
            image=image,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
            **options,
        )
        blocked = getattr(output, "nsfw_content_detected", None) or [False] * len(jobs)
        if not np.isfinite(output.images).all():
            raise ModelError(
                f"{self.name}: an edit has values that are not finite; use precision fp32 if it was lower, otherwise download "
                "or copy the model again"
            )
        edits = [(picture.clip(0, 1) * 255).round().astype(np.uint8) for picture in output.images]
        if any(not black and np.ptp(edit) == 0 for edit, black in zip(edits, blocked, strict=True)):
            raise ModelError(
                f"{self.name}: an edit is one flat colour; use precision fp32 if it was lower, otherwise check the model and "
                "its settings"
            )
        return [None if black else edit for edit, black in zip(edits, blocked, strict=True)]

    def require(self, settings: EditSettings) -> None:
        """Check that this kind of editor has all settings.

        Raises:
            UsageError: it lacks one.
        """
        self._options(settings)

    def _callback(self, on_step: Callable[[], None] | None) -> dict[str, object]:
        if on_step is None or "callback_on_step_end" not in inspect.signature(self.pipeline.__call__).parameters:
            return {}

        def on_step_end(pipeline: object, step: int, timestep: object, values: dict[str, Any]) -> dict[str, Any]:
            on_step()
            return values

        return {"callback_on_step_end": on_step_end}

    def _options(self, settings: EditSettings, batch: int = 1, mask: Mask | None = None) -> dict[str, object]:
        """Keyword arguments of the pipeline: the settings, and mask and size if it takes them."""
        accepted = inspect.signature(self.pipeline.__call__).parameters
        guidance = None if settings.guidance is None else settings.guidance - 1 + self.family.guidance_off
        options: dict[str, object] = {"num_inference_steps": settings.steps, **self.family.fixed}
        for value, name, setting, has in (
            (settings.strength, "strength", "strength", "strength" in accepted),
            (guidance, self.family.guidance, "guidance", has_guidance(self.pipeline, self.family)),
            (settings.image_guidance, "image_guidance_scale", "image guidance", "image_guidance_scale" in accepted),
        ):
            if value is not None and not has:
                raise UsageError(f"{self.name}: an editor of kind `{self.kind}` has no {setting}; leave it out")
            if value is not None:
                options[name] = value
        if self.family.negative_prompt and settings.guidance is not None and settings.guidance > 1:
            options["negative_prompt"] = [self.family.negative_prompt] * batch
        if self.kind == "inpaint":
            options["mask_image"] = (
                _surroundings(self.size_px) if mask is None else torch.from_numpy(mask)[None, None].float()
            )
        if "height" in accepted:
            options |= {"height": self.size_px, "width": self.size_px}
        if self.family.area:
            options[self.family.area] = self.size_px**2
        return options


def _surroundings(size_px: int) -> Tensor:
    """Mask of inpainting, `(1, 1, H, W)`: 0 in a central disc, 1 (repainted) outside."""
    axis = torch.linspace(-0.5, 0.5, size_px)
    return ((axis[:, None].square() + axis.square()).sqrt() > _KEPT_RADIUS).float()[None, None]
