"""An editor in memory: one face for every pipeline of diffusers that takes a picture and a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pca_protect.errors import ModelError, PictureError, UsageError
from pca_protect.eval.editors.registry import EditSettings, Kind
from pca_protect.eval.pictures import Rgb
from pca_protect.surrogates.encoder import Surrogate

_KEPT_RADIUS = 0.35
"""Of the disc that inpainting leaves alone, as a share of the picture's side."""


@dataclass(frozen=True)
class Editor:
    """A pipeline, loaded.

    Attributes:
        name: as it was asked for.
        kind: see `registry.Kind`.
        size_px: side of the square pictures it takes and returns.
        settings: what it is run with unless told otherwise.
        digest: of all its weights.
        surrogate: a copy of its VAE's encoder, in fp32.
        pipeline: of diffusers.
    """

    name: str
    kind: Kind
    size_px: int
    settings: EditSettings
    digest: str
    surrogate: Surrogate = field(repr=False)
    pipeline: Any = field(repr=False)

    def edit(
        self,
        pictures: Sequence[Rgb],
        prompt: str | Sequence[str],
        settings: EditSettings | None = None,
        *,
        seeds: Sequence[int],
    ) -> list[Rgb]:
        """Edit pictures `(size_px, size_px, 3)` in one batch.

        Args:
            prompt: what to do, for all or for each; empty for no instruction.
            settings: the editor's own if None.
            seeds: one for each picture; it decides the noise of that picture alone.

        Raises:
            PictureError: a picture is of another size.
            UsageError: a setting that this kind of editor does not have.
            ModelError: an edit came out that is not finite, or black because the editor's safety checker held it back.
        """
        for picture in pictures:
            height, width = picture.shape[:2]
            if (height, width) != (self.size_px, self.size_px):
                raise PictureError(
                    f"a picture of {width}x{height} px: {self.name} edits {self.size_px}x{self.size_px} px; "
                    "crop or resize it first"
                )
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        output = self.pipeline(
            prompt=[prompt] * len(pictures) if isinstance(prompt, str) else list(prompt),
            image=pixels,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
            **self._options(settings or self.settings),
        )
        if any(getattr(output, "nsfw_content_detected", None) or ()):
            raise ModelError(
                f"{self.name}: its safety checker blacked out an edit; leave this picture or this prompt out"
            )
        if not np.isfinite(output.images).all():
            raise ModelError(
                f"{self.name}: an edit came out that is not finite; use precision fp32 if it was a lower one, and download "
                "or copy the model again otherwise"
            )
        return [(picture.clip(0, 1) * 255).round().astype(np.uint8) for picture in output.images]

    def require(self, settings: EditSettings) -> None:
        """Raises:
        UsageError: a setting that this kind of editor does not have.
        """
        self._options(settings)

    def _options(self, settings: EditSettings) -> dict[str, object]:
        """What this pipeline takes of the settings, and what else it needs to know."""
        accepted = inspect.signature(self.pipeline.__call__).parameters
        options: dict[str, object] = {"guidance_scale": settings.guidance, "num_inference_steps": settings.steps}
        for value, name, word in (
            (settings.strength, "strength", "strength"),
            (settings.image_guidance, "image_guidance_scale", "image guidance"),
        ):
            if value is not None and name not in accepted:
                raise UsageError(f"{self.name}: an editor of kind `{self.kind}` has no {word}; leave it out")
            if value is not None:
                options[name] = value
        if self.kind == "inpaint":
            options["mask_image"] = _surroundings(self.size_px)
        if "height" in accepted:
            options |= {"height": self.size_px, "width": self.size_px}
        return options


def _surroundings(size_px: int) -> Tensor:
    """1 where inpainting repaints: outside a disc in the middle. `(1, 1, H, W)`."""
    axis = torch.linspace(-0.5, 0.5, size_px)
    return ((axis[:, None].square() + axis.square()).sqrt() > _KEPT_RADIUS).float()[None, None]
