"""How far the change of a picture against its original moved an encoder, beside noise as large."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.linalg import vector_norm

from pca_protect.config import PUBLISHED_MODES, ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.io.picture import Picture
from pca_protect.objective import CollapseObjective
from pca_protect.pixels import to_pixels
from pca_protect.proof import with_noise
from pca_protect.surrogates.adapter import Posterior, Surrogate

_SMALLEST = 1e-30


@dataclass(frozen=True)
class Shift:
    """What the change, and noise as large, did to one encoder's posterior.

    Attributes:
        latent, noise_latent: ||m' - m|| / ||m||, the distance of the means in norms of the original's; 0 is unmoved.
        norm, noise_norm: ||m'|| / ||m||; 1 is unchanged, towards 0 is collapse.
        times_noise: mode -> how many times further the change moved that mode's loss in the direction that the mode wants than
            noise moved it either way; negative is the other direction.
    """

    latent: float
    noise_latent: float
    norm: float
    noise_norm: float
    times_noise: dict[str, float]


def require_same_size(picture: Picture, original: Picture) -> None:
    """Raises:
    UsageError: the pictures differ in size, so that their pixels cannot be compared.
    """
    if picture.rgb.shape != original.rgb.shape:
        raise UsageError(
            f"{picture.source} has {picture.width}x{picture.height} px and --original {original.source} "
            f"{original.width}x{original.height} px, which cannot be compared pixel by pixel; give the picture that was "
            "protected, at the same size"
        )


def shift_of(picture: Picture, original: Picture, surrogate: Surrogate, *, levels: int, seed: int) -> Shift:
    """What a change did to an encoder, beside noise on the original that is uniform over whole levels up to `levels`.

    Args:
        picture, original: of one size.
        levels: the largest change of any channel of any pixel, above 0.
        seed: draws the noise.
    """
    posteriors = [_posterior(one, surrogate) for one in (original, picture, with_noise(original, levels, seed))]
    clean, moved, noisy = (posterior.mean for posterior in posteriors)
    norm = vector_norm(clean).clamp_min(_SMALLEST)
    return Shift(
        latent=float(vector_norm(moved - clean) / norm),
        noise_latent=float(vector_norm(noisy - clean) / norm),
        norm=float(vector_norm(moved) / norm),
        noise_norm=float(vector_norm(noisy) / norm),
        times_noise={mode: _times_noise(mode, posteriors, surrogate, original) for mode in PUBLISHED_MODES},
    )


def _posterior(picture: Picture, surrogate: Surrogate) -> Posterior:
    with torch.no_grad():
        return surrogate.posterior(to_pixels(picture).to(surrogate.device))


def _times_noise(mode: str, posteriors: list[Posterior], surrogate: Surrogate, original: Picture) -> float:
    """As `proof.prove` has it, for posteriors of the original, the picture and the noisy original."""
    objective = CollapseObjective(surrogate, *ProtectConfig(mode=mode).objective, to_pixels(original))
    clean, moved, noisy = (float(objective.to_minimise(objective.plain_loss(one))[0]) for one in posteriors)
    return (clean - moved) / max(abs(clean - noisy), _SMALLEST)
