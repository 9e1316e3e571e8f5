"""One face for every encoder: pixels in [0, 1] to posterior moments. The shift to [-1, 1] happens here alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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

    def each(self) -> list[Posterior]:
        """One posterior for each image, `(1, C, h, w)`."""
        logvars = [None] * len(self.mean) if self.logvar is None else torch.split(self.logvar, 1)
        return [Posterior(mean, logvar) for mean, logvar in zip(torch.split(self.mean, 1), logvars, strict=True)]


def concatenate(posteriors: Sequence[Posterior], *, dim: int = 0) -> Posterior:
    """Posteriors of one encoder along a dimension: images, or parts of one latent."""
    logvars = [one.logvar for one in posteriors if one.logvar is not None]
    return Posterior(torch.cat([one.mean for one in posteriors], dim), torch.cat(logvars, dim) if logvars else None)


class Encoder(nn.Module):
    """The half of a VAE that protection needs: `encoder`, then `quant_conv` where there is one.

    Args:
        has_variance: the two return a mean and a log-variance; False if they return a point.
        takes_video: they take `(B, C, T, H, W)` and get one frame.
        channels: 3 for RGB; 4 for RGBA, where alpha is opaque.
        patch: side in pixels of the patches that are folded into channels first; 1 for none.
    """

    def __init__(
        self,
        encoder: nn.Module,
        quant_conv: nn.Module | None,
        *,
        has_variance: bool,
        takes_video: bool,
        channels: int = 3,
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.quant_conv = quant_conv
        self.has_variance = has_variance
        self.takes_video = takes_video
        self.channels = channels
        self.patch = patch

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def forward(self, pixels: Tensor) -> Posterior:
        """Moments in the encoder's precision for RGB `(B, 3, H, W)` in [0, 1]. The shift to [-1, 1] comes before the cast:
        bfloat16 is four times finer around 0 than around 1."""
        x = (pixels * 2.0 - 1.0).to(self.dtype)
        if self.channels == 4:
            x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        if self.patch > 1:
            x = fold_patches(x, self.patch)
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
        embedded: the model ships with this package and no editor uses it.
        load_fp32: makes the encoder in fp32 from its weights as published, see `in_fp32`; None if `encoder` holds all that is
            known of them.
    """

    name: str
    origin: str
    digest: str
    encoder: Encoder
    multiple: int
    latent_channels: int
    warnings: tuple[str, ...] = ()
    embedded: bool = False
    load_fp32: Callable[[], Encoder] | None = field(default=None, repr=False, compare=False)

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
        return self.encoder.dtype

    @cached_property
    def checkpointed(self) -> Surrogate:
        """The same encoder, weights shared, that takes less memory and more time for gradients: see `lean.checkpointed`.
        What comes out is the same to the byte. For a surrogate that is not checkpointed itself."""
        return replace(
            self,
            encoder=cast(Encoder, lean.checkpointed(self.encoder)),
            load_fp32=lambda: cast(Encoder, lean.checkpointed(self.in_fp32.encoder)),
        )

    @cached_property
    def in_fp32(self) -> Surrogate:
        """Itself in fp32; otherwise the surrogate with the encoder in fp32 and its weights as published, on the same device.

        Made on first use and kept: a second encoder in memory (137 MB for Stable Diffusion), and its file is read once more.

        Raises:
            ModelError: the file is gone or has changed since it was loaded.
            DeviceError: the device has no memory left.
        """
        if self.dtype == torch.float32:
            return self
        encoder = copy.deepcopy(self.encoder).float() if self.load_fp32 is None else self.load_fp32()
        return replace(self, encoder=encoder, load_fp32=None)

    def posterior(self, pixels: Tensor) -> Posterior:
        """Moments for pixels `(B, 3, H, W)` in [0, 1] of any size from 8 px up, float32 whatever the encoder's
        precision. Sides are extended to the encoder's multiple by reflection at the right and lower edge.

        On the CPU pictures are encoded one by one: convolutions add in another order for another batch size, the sign of
        a gradient near zero may turn, and a picture's bytes would depend on what it was grouped with. The CPU gains
        nothing from batches anyway. On MPS too: Metal aborts the process when a tensor exceeds its largest buffer.
        """
        if pixels.device.type in ("cpu", "mps") and len(pixels) > 1:
            return concatenate([self.posterior(one) for one in torch.split(pixels, 1)])
        posterior = self.encoder(reflect_to_multiple(pixels, self.multiple))
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


def fold_patches(x: Tensor, side: int) -> Tensor:
    """`(B, C, H, W)` to `(B, C * side * side, H / side, W / side)`. Within a colour channel columns come before rows, as in
    Wan 2.2's `patchify`; PyTorch's `pixel_unshuffle` has rows before columns."""
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels, height // side, side, width // side, side)
    return blocks.permute(0, 1, 5, 3, 2, 4).reshape(batch, channels * side**2, height // side, width // side)
