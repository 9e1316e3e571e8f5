"""Encoders known by name. Strings only: no torch, no diffusers, nothing is looked up or loaded here.

What the publishers say can change; whether a model can be had is found out when it is fetched.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from pca_protect.errors import UsageError


@dataclass(frozen=True)
class SurrogateEntry:
    """Where an encoder comes from and what is known of it.

    Attributes:
        name: what `--vae` takes.
        repo_id: repository on the model hub; empty for embedded models.
        subfolder: where the VAE lies in the repository.
        family: models whose latent space it encodes into.
        latent_channels: channels of the posterior mean.
        licence: as the publisher names it.
        encoder_megabytes: fp32 size of the encoder alone, about.
        gated: the publisher asks for a login and an acceptance first.
        overflows_fp16: known to return infinities in fp16.
        has_variance: False for encoders that return a point, for which only the loss's mean term exists.
        unavailable: why it cannot be downloaded any more; empty if it can.
    """

    name: str
    repo_id: str
    subfolder: str
    family: str
    latent_channels: int
    licence: str
    encoder_megabytes: int
    gated: bool = False
    overflows_fp16: bool = False
    has_variance: bool = True
    unavailable: str = ""

    @property
    def embedded(self) -> bool:
        return not self.repo_id

    @property
    def download_megabytes(self) -> int:
        """About how much comes over the network: the decoder too, as the Stable Diffusion VAE has them, in fp32. Publishers who
        keep half precision have half of it."""
        return round(2.445 * self.encoder_megabytes)


_TAKEN_DOWN = (
    "its publisher removed it from the hub; point --vae at a copy of yours, or use sd, believed to be the same encoder"
)

_ENTRIES = (
    SurrogateEntry("pocket", "", "pocket", "pocket", 4, "Apache-2.0", 4),
    SurrogateEntry("pocket-b", "", "pocket-b", "pocket-b", 4, "Apache-2.0", 2),
    SurrogateEntry("pocket-16", "", "pocket-16", "pocket-16", 16, "Apache-2.0", 4),
    SurrogateEntry("pocket-tiny", "", "pocket-tiny", "pocket", 4, "Apache-2.0", 1, has_variance=False),
    SurrogateEntry("sd", "stabilityai/sd-vae-ft-mse", "", "Stable Diffusion 1.x, 2.x", 4, "MIT", 137),
    SurrogateEntry(
        "sd14",
        "CompVis/stable-diffusion-v1-4",
        "vae",
        "Stable Diffusion 1.x",
        4,
        "CreativeML OpenRAIL-M",
        137,
    ),
    SurrogateEntry(
        "sd15",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "vae",
        "Stable Diffusion 1.x",
        4,
        "CreativeML OpenRAIL-M",
        137,
    ),
    SurrogateEntry(
        "sd21",
        "stabilityai/stable-diffusion-2-1",
        "vae",
        "Stable Diffusion 2.x",
        4,
        "CreativeML OpenRAIL++-M",
        137,
        unavailable=_TAKEN_DOWN,
    ),
    SurrogateEntry(
        "sdxl",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "vae",
        "SDXL",
        4,
        "CreativeML OpenRAIL++-M",
        137,
        overflows_fp16=True,
    ),
    SurrogateEntry("sdxl-fp16-fix", "madebyollin/sdxl-vae-fp16-fix", "", "SDXL", 4, "MIT", 137),
    SurrogateEntry(
        "sdxl-refiner",
        "stabilityai/stable-diffusion-xl-refiner-1.0",
        "vae",
        "SDXL",
        4,
        "CreativeML OpenRAIL++-M",
        137,
        overflows_fp16=True,
    ),
    SurrogateEntry(
        "sd3",
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "vae",
        "Stable Diffusion 3.x",
        16,
        "Stability AI Community",
        137,
        gated=True,
    ),
    SurrogateEntry(
        "sd35",
        "stabilityai/stable-diffusion-3.5-large",
        "vae",
        "Stable Diffusion 3.x",
        16,
        "Stability AI Community",
        137,
        gated=True,
    ),
    SurrogateEntry("flux1", "black-forest-labs/FLUX.1-schnell", "vae", "FLUX.1, Z-Image", 16, "Apache-2.0", 137),
    SurrogateEntry("flux2", "black-forest-labs/FLUX.2-klein-4B", "vae", "FLUX.2", 32, "Apache-2.0", 137),
    SurrogateEntry("qwen-image", "Qwen/Qwen-Image", "vae", "Qwen-Image", 16, "Apache-2.0", 215),
    SurrogateEntry("z-image", "Tongyi-MAI/Z-Image-Turbo", "vae", "FLUX.1, Z-Image", 16, "Apache-2.0", 137),
    SurrogateEntry(
        "sana",
        "mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers",
        "",
        "Sana",
        32,
        "see the model page",
        600,
        has_variance=False,
    ),
    SurrogateEntry("taesd", "madebyollin/taesd", "", "Stable Diffusion 1.x, 2.x", 4, "MIT", 5, has_variance=False),
    SurrogateEntry("taesdxl", "madebyollin/taesdxl", "", "SDXL", 4, "MIT", 5, has_variance=False),
    SurrogateEntry("taesd3", "madebyollin/taesd3", "", "Stable Diffusion 3.x", 16, "MIT", 5, has_variance=False),
    SurrogateEntry("taef1", "madebyollin/taef1", "", "FLUX.1, Z-Image", 16, "MIT", 5, has_variance=False),
)

REGISTRY: dict[str, SurrogateEntry] = {entry.name: entry for entry in _ENTRIES}

PREFERRED = "sd"
"""What `auto` takes where it can be had: SD 1.x and 2.x are the most used editors and believed to share this encoder."""

FALLBACK = "pocket"
"""What `auto` takes otherwise, always with a warning."""


def embedded_warning(name: str) -> str:
    """What is said whenever an embedded model is used."""
    return (
        f"the embedded `{name}` VAE protects the offline test bed, not Stable Diffusion: nothing was measured against real "
        "editors with this file. For those take the VAE `sd` (a download) or a local copy of the editor's VAE"
    )


PICKLED = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
"""Endings of weights that can run code when they are loaded. Refused everywhere."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def looks_like_hub_id(name: str) -> bool:
    return _HUB_ID.fullmatch(name) is not None


def unknown_name(name: str) -> UsageError:
    """The error for a `--vae` that is neither known, nor a hub id, nor there on disk."""
    close = difflib.get_close_matches(name, [*REGISTRY, "auto"], n=1)
    hint = f"did you mean {close[0]}?" if close else "`pca-protect vaes` lists the names"
    return UsageError(f"unknown VAE {name!r}; {hint} A hub id, a folder or a .safetensors file works too")
