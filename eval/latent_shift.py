"""How far a change of a picture moves an encoder's latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.linalg import vector_norm

from pca_protect.eval.pictures import Rgb
from pca_protect.image.tensors import to_tensor
from pca_protect.surrogates.encoder import Surrogate


@dataclass(frozen=True)
class LatentShift:
    """Attributes:
    latent: ||m' - m|| / ||m||, the distance of the posterior means in norms of the clean one; 0 is unmoved.
    norm: ||m'|| / ||m||; 1 is unchanged, towards 0 is collapse.
    """

    latent: float
    norm: float

    @property
    def norm_lost(self) -> float:
        """Share of the clean norm that is gone; 0 is unchanged, 1 is full collapse."""
        return 1 - self.norm


@torch.no_grad()
def latent_shift(surrogate: Surrogate, picture: Rgb, changed: Rgb) -> LatentShift:
    """Encode two pictures `(H, W, 3)` whole, at their own size, and compare the posterior means."""
    clean, now = (surrogate.posterior(to_tensor([rgb]).to(surrogate.device)).mean for rgb in (picture, changed))
    norm = vector_norm(clean)
    return LatentShift(float(vector_norm(now - clean) / norm), float(vector_norm(now) / norm))
