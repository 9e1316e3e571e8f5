"""A loaded editor: one interface to every diffusers pipeline that takes a picture and a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pca_protect.errors import ModelError, PictureError, UsageError
from pca_protect.eval.editors.families import IMG2IMG, Family, has_guidance
from pca_protect.eval.editors.registry import EditSettings, Kind
from pca_protect.eval.pictures import Rgb
from pca_protect.surrogates.encoder import Surrogate

_KEPT_RADIUS = 0.35
"""Radius of the central disc that inpainting keeps, as a share of the picture's side."""


@dataclass(frozen=True)
class Editor:
    """A loaded pipeline.

    Attributes:
        name: as given to `load_editor`.
        kind: see `registry.Kind`.
        size_px: side of the square pictures it takes and returns.
        settings: defaults of `edit`.
        digest: hash of all its weights.
        surrogate: a copy of its VAE's encoder, in fp32.
        pipeline: the diffusers pipeline, or an object that is called like one.
        family: how the pipeline is called.
    """

    name: str
    kind: Kind
    size_px: int
    settings: EditSettings
    digest: str
    surrogate: Surrogate = field(repr=False)
    pipeline: Any = field(repr=False)
    family: Family = field(default=IMG2IMG, repr=False)

    def edit(
        self,
        pictures: Sequence[Rgb],
        prompt: str | Sequence[str],
        settings: EditSettings | None = None,
        *,
        seeds: Sequence[int],
        on_step: Callable[[], None] | None = None,
    ) -> list[Rgb]:
        """Edit pictures `(size_px, size_px, 3)`, in one batch if the pipeline takes batches.

        Args:
            prompt: instruction, one for all pictures or one per picture; empty for none.
            settings: None for the editor's defaults.
            seeds: one per picture, for the noise of that picture alone.
            on_step: called after each denoising step if the pipeline has `callback_on_step_end`; an exception from it ends
                the edit.

        Raises:
            PictureError: a picture has another size.
            UsageError: this kind of editor lacks one of the settings.
            ModelError: an edit is not finite, or the editor's safety checker blacked it out.
        """
        for picture in pictures:
            height, width = picture.shape[:2]
            if (height, width) != (self.size_px, self.size_px):
                raise PictureError(
                    f"a picture of {width}x{height} px: {self.name} edits {self.size_px}x{self.size_px} px; "
                    "crop or resize it first"
                )
        prompts = [prompt] * len(pictures) if isinstance(prompt, str) else list(prompt)
        options = self._options(settings or self.settings, batch=len(pictures) if self.family.takes_batches else 1)
        options |= self._callback(on_step)
        if self.family.takes_batches:
            pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
            return self._run(pixels, prompts, seeds, options)
        return [
            self._run(Image.fromarray(picture), [text], [seed], options)[0]
            for picture, text, seed in zip(pictures, prompts, seeds, strict=True)
        ]

    def _run(
        self, image: Tensor | Image.Image, prompts: list[str], seeds: Sequence[int], options: dict[str, object]
    ) -> list[Rgb]:
        output = self.pipeline(
            prompt=prompts,
            image=image,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
            **options,
        )
        if any(getattr(output, "nsfw_content_detected", None) or ()):
            raise ModelError(
                f"{self.name}: its safety checker blacked out an edit; leave this picture or this prompt out"
            )
        if not np.isfinite(output.images).all():
            raise ModelError(
                f"{self.name}: an edit has values that are not finite; use precision fp32 if it was lower, otherwise download "
                "or copy the model again"
            )
        return [(picture.clip(0, 1) * 255).round().astype(np.uint8) for picture in output.images]

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

    def _options(self, settings: EditSettings, batch: int = 1) -> dict[str, object]:
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
            options["mask_image"] = _surroundings(self.size_px)
        if "height" in accepted:
            options |= {"height": self.size_px, "width": self.size_px}
        if self.family.area:
            options[self.family.area] = self.size_px**2
        return options


def _surroundings(size_px: int) -> Tensor:
    """Mask of inpainting, `(1, 1, H, W)`: 0 in a central disc, 1 (repainted) outside."""
    axis = torch.linspace(-0.5, 0.5, size_px)
    return ((axis[:, None].square() + axis.square()).sqrt() > _KEPT_RADIUS).float()[None, None]
