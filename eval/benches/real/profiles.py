"""Published editors for GPUs of four sizes, and what one of their edits takes. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pca_protect.errors import UsageError
from pca_protect.eval.benches.configs import EditingConfig

METRICS = ("flip", "ssim", "blur", "clip", "clip-direction", "clip-image", "dino")
"""Distance, quality, adherence and identity. Those with weights are left out if the weights are unavailable."""

METRICS_GIGABYTES = 0.7
"""CLIP ViT-B/32 and DINOv2 small, in fp32."""

ARMS = ("photoguard", "pca-diffusion", "pca-concentration", "balanced-diffusion", "balanced-subtle")
OWN_CONTROLS = ("pca-diffusion", "pca-concentration", "balanced-diffusion")
QUICK_ARMS = ("pca-diffusion", "pca-concentration")
PICTURES, QUICK_PICTURES = 12, 4
"""Intervals need 8 pictures; the quick run has none."""


@dataclass(frozen=True)
class Requirements:
    """What an editor takes. Sizes are those of the published files; operations were counted by PyTorch's `FlopCounterMode` on the
    architecture.

    Attributes:
        parameters: of all parts, in 1e9.
        download_gigabytes: of the files that diffusers downloads.
        teraflops: operations of one denoiser call on one picture of the editor's size, in 1e12.
        calls: denoiser calls per step, with the guidance of the editor's defaults.
    """

    parameters: float
    download_gigabytes: float
    teraflops: float
    calls: int

    @property
    def gpu_gigabytes(self) -> float:
        """Weights in half precision."""
        return 2 * self.parameters

    @property
    def host_gigabytes(self) -> float:
        """Main memory while loading: weights in half precision, into which they are converted one by one."""
        return 2 * self.parameters


REQUIREMENTS: dict[str, Requirements] = {
    "sd15": Requirements(1.37, 5.5, 0.80, 2),
    "instruct-pix2pix": Requirements(1.37, 5.5, 0.80, 3),
    "sdxl": Requirements(3.47, 13.9, 6.8, 2),
    "flux2-klein": Requirements(7.98, 16.0, 77.0, 1),
    "flux1-kontext": Requirements(16.9, 33.7, 165.0, 1),
    "qwen-image-edit-2511": Requirements(28.9, 57.7, 195.0, 2),
}
"""By name in `EDITORS`. Other editors work too, without an estimate."""


@dataclass(frozen=True)
class Profile:
    """A size of GPU.

    Attributes:
        gigabytes: of GPU memory, in 1e9 bytes.
        card: for which the hours are estimated.
        editors: names of `EDITORS`.
        batch: edits per call.
        edit_teraflops: assumed speed of edits in half precision, in 1e12 operations a second.
        protect_teraflops: assumed speed of protections in fp32.
    """

    gigabytes: int
    card: str
    editors: tuple[str, ...]
    batch: int
    edit_teraflops: float
    protect_teraflops: float


_ENTRIES = (
    Profile(8, "RTX 3050", ("sd15", "instruct-pix2pix"), 2, 10.0, 4.0),
    Profile(16, "T4", ("instruct-pix2pix", "sdxl"), 2, 10.0, 4.0),
    Profile(24, "RTX 3090", ("instruct-pix2pix", "sdxl", "flux2-klein"), 4, 35.0, 12.0),
    Profile(80, "A100", ("instruct-pix2pix", "flux2-klein", "flux1-kontext"), 4, 150.0, 40.0),
)

PROFILES: dict[int, Profile] = {profile.gigabytes: profile for profile in _ENTRIES}

_USABLE = 0.93
"""Share of the nominal memory that drivers report at least."""


def profile_named(gigabytes: int) -> Profile:
    """Raises:
    UsageError: there is no profile of this size.
    """
    if gigabytes not in PROFILES:
        raise UsageError(
            f"profile {gigabytes}: unknown; choose from {', '.join(map(str, PROFILES))} (GB of GPU memory)"
        )
    return PROFILES[gigabytes]


def largest_profile(memory_bytes: int) -> Profile | None:
    """The largest profile that a GPU with this memory can run; None if it is too small for all."""
    fitting = [one for one in _ENTRIES if memory_bytes >= one.gigabytes * 1e9 * _USABLE]
    return fitting[-1] if fitting else None


def real(images: str, profile: Profile, *, manifest: str = "", quick: bool = False) -> EditingConfig:
    """Settings of `bench real`: `bench editing` with the profile's editors and one edit per picture and prompt.

    Args:
        images: folder of pictures; empty with a manifest.
    """
    full = EditingConfig(
        images,
        PICTURES,
        manifest=manifest,
        editors=profile.editors,
        arms=ARMS,
        own_controls=OWN_CONTROLS,
        seeds=1,
        batch=profile.batch,
        metrics=METRICS,
    )
    if not quick:
        return full
    return replace(full, pictures=QUICK_PICTURES, arms=QUICK_ARMS, own_controls=QUICK_ARMS, prompts=full.prompts[:1])
