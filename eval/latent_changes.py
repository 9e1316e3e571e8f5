"""Changes of a latent `(1, C, h, w)`: their size, what they have in common, their directions, and random changes like them."""

from __future__ import annotations

import torch
from torch import Tensor


def size(change: Tensor, latent: Tensor) -> float:
    """Norm of a change, divided by that of the latent around its mean over positions."""
    return float(change.norm() / (latent - latent.mean(dim=(2, 3), keepdim=True)).norm())


def common_share(change: Tensor) -> float:
    """Share of the energy of a change that is equal at all positions: an offset per channel. In [0, 1]."""
    common = change.mean(dim=(2, 3)).square().sum() * change[0, 0].numel()
    return float(common / change.square().sum())


def channel_directions(change: Tensor) -> tuple[Tensor, Tensor]:
    """Principal directions of the channels, by the energy of a change.

    Returns:
        Shares of the energy `(C,)`, largest first, and the unit vectors `(C, C)`, one per row.
    """
    values = change[0].flatten(1).double()
    energy, vectors = torch.linalg.eigh(values @ values.T)
    return (energy.flip(0).clamp_min(0) / energy.sum()).float(), vectors.flip(1).T.float()


def along(direction: Tensor, latent: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise along one direction `(C,)` of the channels, of `size` 1."""
    noise = torch.randn((1, 1, *latent.shape[2:]), generator=generator).to(latent.device)
    change = direction.to(latent.device).view(1, -1, 1, 1) * noise
    return change / size(change, latent)


def of_same_covariance(change: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise with the size of a change in each of its `channel_directions`, independent between positions."""
    shares, directions = channel_directions(change)
    noise = torch.randn(change.shape, generator=generator).to(change.device)
    scaled = noise * shares.sqrt().to(change.device).view(1, -1, 1, 1)
    made = torch.einsum("kc,bkhw->bchw", directions.to(change.device), scaled)
    scaled_to_size: Tensor = made * (change.norm() / made.norm())
    return scaled_to_size


def at_other_places(change: Tensor, generator: torch.Generator) -> Tensor:
    """The same change with its positions permuted."""
    places = torch.randperm(change[0, 0].numel(), generator=generator).to(change.device)
    return change.flatten(2)[:, :, places].view_as(change)
