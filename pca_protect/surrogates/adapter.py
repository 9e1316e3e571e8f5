"""One face for every encoder: pixels in [0, 1] to posterior moments. The shift to [-1, 1] happens here alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from pca_protect.surrogates import lean


@dataclass(frozen=True)
class Posterior:
    """Moments of the encoder's diagonal Gaussian.

    Attributes:
        mean: `(B, C, h, w)`, before any latent scaling factor.
        logvar: same shape, clamped to [-30, 20] as diffusers does; None for encoders that return a point.
    """

    mean: Tensor
    logvar: Tensor | None


class Encoder(nn.Module):
    """The half of a VAE that protection needs: `encoder`, then `quant_conv` where there is one."""

    def __init__(
        self, encoder: nn.Module, quant_conv: nn.Module | None, *, has_variance: bool, takes_video: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.quant_conv = quant_conv
        self.has_variance = has_variance
        self.takes_video = takes_video

    def forward(self, pixels: Tensor) -> Posterior:
        x = pixels * 2.0 - 1.0
        hidden = self.encoder(x.unsqueeze(2) if self.takes_video else x)
        if self.quant_conv is not None:
            hidden = self.quant_conv(hidden)
        if self.takes_video:
            hidden = hidden.squeeze(2)
        if not self.has_variance:
            return Posterior(hidden, None)
        mean, logvar = hidden.chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))


@dataclass(frozen=True)
class Surrogate:
    """A frozen encoder that stands in for the editors to be defended against.

    Attributes:
        name: as asked for, or what `auto` resolved to.
        origin: hub id or path the weights came from.
        digest: hash of the encoder's weights, see `checkpoint.digest`.
        encoder: frozen, in eval mode, on its device, in its precision.
        multiple: both picture sides have to be multiples of this many pixels.
        warnings: what a user has to know about this choice.
    """

    name: str
    origin: str
    digest: str
    encoder: Encoder
    multiple: int
    latent_channels: int
    warnings: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[Surrogate, ...]:
        """Itself: read as several are, see `several.Surrogates`."""
        return (self,)

    @property
    def has_variance(self) -> bool:
        return self.encoder.has_variance

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.encoder.parameters()).dtype

    @cached_property
    def checkpointed(self) -> Surrogate:
        """The same encoder, weights shared, that takes less memory and more time for gradients: see `lean.checkpointed`.
        What comes out is the same to the byte. For a surrogate that is not checkpointed itself."""
        return replace(self, encoder=cast(Encoder, lean.checkpointed(self.encoder)))

    def posterior(self, pixels: Tensor) -> Posterior:
        """Moments for pixels `(B, 3, H, W)` in [0, 1] of any size from 8 px up, float32 whatever the encoder's
        precision. Sides are extended to the encoder's multiple by reflection at the right and lower edge.

        On the CPU pictures are encoded one by one: convolutions add in another order for another batch size, the sign of
        a gradient near zero may turn, and a picture's bytes would depend on what it was grouped with. The CPU gains
        nothing from batches anyway. On MPS too: Metal aborts the process when a tensor exceeds its largest buffer.
        """
        if pixels.device.type in ("cpu", "mps") and len(pixels) > 1:
            found = [self.posterior(one) for one in torch.split(pixels, 1)]
            logvars = [one.logvar for one in found if one.logvar is not None]
            return Posterior(torch.cat([one.mean for one in found]), torch.cat(logvars) if logvars else None)
        posterior = self.encoder(reflect_to_multiple(pixels, self.multiple).to(self.dtype))
        logvar = posterior.logvar
        return Posterior(posterior.mean.float(), None if logvar is None else logvar.float())


def reflect_to_multiple(pixels: Tensor, multiple: int) -> Tensor:
    """Extend the last two sides to multiples by reflection, back and forth where the side is shorter than the
    extension. Differentiable: what happens to a reflected pixel happens to its origin."""
    for axis in (-2, -1):
        side = pixels.shape[axis]
        target = -(-side // multiple) * multiple
        if target != side:
            positions = torch.arange(target, device=pixels.device) % (2 * side - 2 or 1)
            pixels = pixels.index_select(axis, torch.where(positions < side, positions, 2 * side - 2 - positions))
    return pixels
