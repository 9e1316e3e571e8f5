"""The embedded VAEs: what is asked of them, and measuring one picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from pca_protect.config import Device
from pca_protect.eval.testbed.goals import Goal, at_least, at_most
from pca_protect.eval.testbed.reconstruction import Vae, nats_per_element, psnr_db
from pca_protect.eval.testbed.vulnerability import measure_vulnerability
from pca_protect.eval.whole_vae import latent_mean, load_whole_vae
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate

TEACHER = {"pocket-tiny": "pocket"}
"""VAEs that were distilled into the latent space of another."""

PSNR_DB = {"pocket": 24.0, "pocket-b": 24.0, "pocket-16": 27.0}
LOST_DB = 1.5
"""What a distilled VAE may lose against its teacher, both through the teacher's decoder."""

NAMES = (*PSNR_DB, *TEACHER)
QUICK_SIDE_PX = 256


@dataclass(frozen=True)
class TestbedVae:
    """A whole embedded VAE, and its encoder as a surrogate. `digest` is of all its weights."""

    name: str
    vae: Vae
    surrogate: Surrogate
    digest: str


def load_vaes(device_name: Device, device: torch.device) -> dict[str, TestbedVae]:
    """All of them, in fp32."""
    found = {}
    for name in NAMES:
        vae = load_whole_vae(name, device=device, offline=True)
        surrogate = load_surrogate(name, device=device_name, precision="fp32")
        found[name] = TestbedVae(name, vae, surrogate, checkpoint.digest(vae.state_dict()))
    return found


def measure_vae(vaes: dict[str, TestbedVae], name: str, pixels: Tensor, *, quick: bool) -> dict[str, float]:
    """The metrics of one picture `(1, 3, H, W)` in [0, 1].

    Args:
        quick: move the latent of the middle of the picture only; reconstruction is of the whole in any case.
    """
    subject = vaes[name]
    whole = middle(pixels, subject.surrogate.multiple)
    measured = {}
    if name in TEACHER:
        teacher = vaes[TEACHER[name]].vae
        measured["lost_db"] = psnr_db(teacher, whole) - psnr_db(subject.vae, whole, decoder=teacher)
    else:
        assert isinstance(subject.vae, AutoencoderKL)
        measured["psnr_db"] = psnr_db(subject.vae, whole)
        measured["nats_per_element"] = nats_per_element(subject.vae, whole)
    part = middle(pixels, subject.surrogate.multiple, QUICK_SIDE_PX if quick else None)
    moved = measure_vulnerability(subject.surrogate, part)
    return measured | {
        "noise": float(moved.noise),
        "diffusion": float(moved.diffusion),
        "concentration": float(moved.concentration),
    }


def goals(name: str, latent_channels: int) -> dict[str, Goal]:
    """What the mean of each metric should reach. Reconstruction is the project's own goal; how far noise and the two modes
    move the latent is the range in which encoders distilled from real ones were seen."""
    own = (
        {"lost_db": at_most(LOST_DB)}
        if name in TEACHER
        else {"psnr_db": at_least(PSNR_DB[name]), "nats_per_element": at_least(1.0)}
    )
    noise = 0.15 if latent_channels == 4 else 0.30
    return own | {"noise": at_least(noise), "diffusion": at_least(1.5), "concentration": at_most(0.6)}


def latents(subject: TestbedVae, pixels: Tensor) -> Tensor:
    return latent_mean(subject.vae, middle(pixels, subject.surrogate.multiple))


def middle(pixels: Tensor, multiple: int, largest_side: int | None = None) -> Tensor:
    """The middle of a picture, with sides that the encoder divides and that are at most so long."""
    sides = [min(side, largest_side or side) // multiple * multiple for side in pixels.shape[-2:]]
    top, left = ((whole - side) // 2 for whole, side in zip(pixels.shape[-2:], sides, strict=True))
    return pixels[..., top : top + sides[0], left : left + sides[1]]
