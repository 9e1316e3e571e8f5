"""How far the change of a picture against its original moved an encoder's latent, beside noise of the same budget."""

from __future__ import annotations

from dataclasses import dataclass

from pca_protect.config import ProtectConfig
from pca_protect.engine import criteria
from pca_protect.errors import UsageError
from pca_protect.evaluation import evaluate
from pca_protect.io.picture import Picture
from pca_protect.surrogates.encoder import Surrogate


@dataclass(frozen=True)
class Shift:
    """What the change, and noise of the same budget, did to one encoder's latent.

    Attributes:
        latent, noise_latent: ||m' - m|| / ||m||, the distance of the means in norms of the original's; 0 is unmoved.
        norm, noise_norm: ||m'|| / ||m||; 1 is unchanged, towards 0 is collapse.
        gain_over_noise: `latent` over `noise_latent`; 1 is no better than noise.
    """

    latent: float
    noise_latent: float
    norm: float
    noise_norm: float
    gain_over_noise: float


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
        seed: of the noise.
    """
    found = evaluate(
        original, picture, surrogate=surrogate, criteria=criteria(ProtectConfig(budget_levels=levels, seed=seed))
    )
    return Shift(
        latent=found.protected.latent,
        noise_latent=found.noise.latent,
        norm=found.protected.norm,
        noise_norm=found.noise.norm,
        gain_over_noise=found.gain_over_noise,
    )
