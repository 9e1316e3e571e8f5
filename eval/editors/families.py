"""How the pipeline classes of diffusers are called: one row per class that differs from the first image-to-image pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pca_protect.eval.editors.registry import EditSettings, Kind


@dataclass(frozen=True)
class Family:
    """One pipeline class of diffusers.

    Attributes:
        kind: how it edits.
        settings: defaults of pipelines that the registry of editors does not list.
        takes_batches: it takes a tensor of pictures; otherwise one Pillow picture per call, since a list would be several
            references of one edit.
        guidance: keyword of the guidance towards the prompt.
        guidance_off: its value without guidance, for which `EditSettings` has 1.
        distilled_guidance: the guidance is an input of the transformer, without effect if it has no embedding for it.
        negative_prompt: needed for guidance; None for families that have a default of their own.
        area: keyword of the number of pixels of the edit; empty for none.
        fixed: further keyword arguments.
        size_px: side of the square pictures, for classes whose configuration has none.
        one_size: edits have `size_px` whatever the picture's size.
    """

    kind: Kind
    settings: EditSettings
    takes_batches: bool = True
    guidance: str = "guidance_scale"
    guidance_off: float = 1.0
    distilled_guidance: bool = False
    negative_prompt: str | None = None
    area: str = ""
    fixed: Mapping[str, object] = field(default_factory=dict)
    size_px: int | None = None
    one_size: bool = False


IMG2IMG = Family("img2img", EditSettings())
"""Image-to-image pipelines without a row of their own."""

INPAINT = Family("inpaint", EditSettings(1.0))
"""Inpainting pipelines without a row of their own."""

INSTRUCT = Family("instruct", EditSettings(None, image_guidance=1.5))
"""InstructPix2Pix."""

_QWEN_EDIT = Family(
    "reference",
    EditSettings(None, 4.0, 40),
    takes_batches=False,
    guidance="true_cfg_scale",
    negative_prompt=" ",
    size_px=1024,
)

FAMILIES: dict[str, Family] = {
    "StableDiffusionInstructPix2PixPipeline": INSTRUCT,
    "StableDiffusionXLInstructPix2PixPipeline": INSTRUCT,
    "FluxImg2ImgPipeline": Family("img2img", EditSettings(0.6, 3.5, 28), distilled_guidance=True),
    "FluxFillPipeline": Family("inpaint", EditSettings(1.0, 30.0, 50), distilled_guidance=True),
    "FluxKontextPipeline": Family(
        "reference",
        EditSettings(None, 2.5, 28),
        distilled_guidance=True,
        area="max_area",
        fixed={"_auto_resize": False},  # otherwise it resizes to the nearest of its own sizes
        size_px=1024,
    ),
    "Flux2Pipeline": Family(
        "reference", EditSettings(None, 4.0, 50), takes_batches=False, distilled_guidance=True, size_px=1024
    ),
    "Flux2KleinPipeline": Family("reference", EditSettings(None, 4.0, 50), takes_batches=False, size_px=1024),
    "QwenImageEditPipeline": _QWEN_EDIT,
    "QwenImageEditPlusPipeline": _QWEN_EDIT,
    "QwenImageImg2ImgPipeline": Family(
        "img2img", EditSettings(0.6, 4.0, 50), guidance="true_cfg_scale", negative_prompt=" ", size_px=1024
    ),
    "LongCatImageEditPipeline": Family(
        "reference", EditSettings(None, 4.5, 50), takes_batches=False, size_px=1024, one_size=True
    ),
    "SanaSprintImg2ImgPipeline": Family(
        "img2img",
        EditSettings(0.6, 4.5, 4),
        distilled_guidance=True,
        fixed={
            "intermediate_timesteps": None,  # otherwise it takes two steps and no other number
            "use_resolution_binning": False,  # otherwise it resizes to the nearest of its own sizes
            "clean_caption": False,  # otherwise prompts depend on which libraries are installed
        },
        size_px=1024,
    ),
    # It adds `guidance` times the difference to the prediction with the prompt; others to that without.
    "ZImageImg2ImgPipeline": Family("img2img", EditSettings(0.6, 5.0, 50), guidance_off=0.0, size_px=1024),
}
"""By the class that edits, which for a text-to-image pipeline is its image-to-image class."""

IMG2IMG_CLASSES = {"SanaSprintPipeline": "SanaSprintImg2ImgPipeline"}
"""Image-to-image classes that `AutoPipelineForImage2Image` does not know, by text-to-image class."""


def family_of(pipeline: Any, kind: Kind) -> Family:  # noqa: ANN401 - of many classes
    """The row of a loaded pipeline, or the one of all other classes of its kind."""
    return FAMILIES.get(type(pipeline).__name__) or {"inpaint": INPAINT, "instruct": INSTRUCT}.get(kind, IMG2IMG)


def has_guidance(pipeline: Any, family: Family) -> bool:  # noqa: ANN401 - of many classes
    """Whether guidance changes an edit: distilled models ignore it."""
    if family.distilled_guidance:
        return bool(pipeline.transformer.config.get("guidance_embeds", True))
    return not getattr(pipeline, "config", {}).get("is_distilled", False)
