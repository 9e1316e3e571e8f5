"""Encoders, one or several: pixels in [0, 1] to posterior moments. The shift to [-1, 1] happens here alone."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import cast

import torch
from torch import Tensor, nn

from pca_protect.attack.posterior import Posterior, concatenate
from pca_protect.errors import UsageError
from pca_protect.surrogates import memory_efficient
from pca_protect.surrogates.checkpoint import same_weights


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

    @staticmethod
    def from_vae(vae: nn.Module, *, name: str = "vae") -> Surrogate:
        """A copy of the encoder of a diffusers VAE in memory, `pipe.vae` for instance, in its precision and on its device.

        Raises:
            ModelError: the VAE is of a kind that cannot be a surrogate, or its weights are not finite.
            DeviceError: the device has no memory left.
        """
        from pca_protect.surrogates.load import surrogate_of  # noqa: PLC0415 - it imports this module

        return surrogate_of(vae, name=name, origin="memory")

    @staticmethod
    def from_module(module: nn.Module, *, multiple: int, has_variance: bool = False, name: str = "module") -> Surrogate:
        """A frozen copy of any encoder, which diffusers need not know.

        Args:
            module: `(B, 3, H, W)` in [-1, 1], sides multiples of `multiple`, to latents `(B, C, h, w)`; with a variance,
                `(B, 2C, h, w)`: means and log-variances. It needs a parameter, which says its device and precision.
            multiple: pixels a latent position.
            has_variance: see `module`.
        """
        from pca_protect.surrogates.load import surrogate_of_module  # noqa: PLC0415 - it imports this module

        return surrogate_of_module(module, multiple=multiple, has_variance=has_variance, name=name)

    @property
    def members(self) -> tuple[Surrogate, ...]:
        """Itself: read as several are, see `SurrogateEnsemble`."""
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
        """The same encoder, weights shared, that takes less memory and more time for gradients: see
        `memory_efficient.checkpointed`. Its results are bit-identical. For a surrogate that is not checkpointed itself."""
        return replace(
            self,
            encoder=cast(Encoder, memory_efficient.checkpointed(self.encoder)),
            load_fp32=lambda: cast(Encoder, memory_efficient.checkpointed(self.in_fp32.encoder)),
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


def is_same_encoder(one: Surrogate, other: Surrogate) -> bool:
    """Whether two surrogates have the same weights, in whatever precision they were saved, see `checkpoint.same_weights`."""
    return one.digest == other.digest or same_weights(one.encoder.state_dict(), other.encoder.state_dict())


@dataclass(frozen=True)
class SurrogateEnsemble:
    """Two or more surrogates that a picture is protected against at once, on one device. Read like one.

    Raises:
        UsageError: two have the same weights, see `is_same_encoder`.
    """

    members: tuple[Surrogate, ...]

    def __post_init__(self) -> None:
        for one, other in combinations(self.members, 2):
            if is_same_encoder(one, other):
                raise UsageError(
                    f"VAEs {one.name} and {other.name} have the same weights; give one of them, it covers both"
                )

    @property
    def name(self) -> str:
        return " + ".join(member.name for member in self.members)

    @property
    def origin(self) -> str:
        return " + ".join(member.origin for member in self.members)

    @cached_property
    def digest(self) -> str:
        """Of the members' digests, in order: their order decides bytes, since sums are rounded."""
        return hashlib.sha256("".join(member.digest for member in self.members).encode()).hexdigest()

    @property
    def latent_channels(self) -> list[int]:
        return [member.latent_channels for member in self.members]

    @property
    def device(self) -> torch.device:
        return self.members[0].device

    @property
    def dtype(self) -> torch.dtype:
        return self.members[0].dtype

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(warning for member in self.members for warning in member.warnings)

    @property
    def embedded(self) -> bool:
        """Whether every member is: one encoder of a real editor makes a protection."""
        return all(member.embedded for member in self.members)

    @cached_property
    def checkpointed(self) -> SurrogateEnsemble:
        """See `Surrogate.checkpointed`."""
        return SurrogateEnsemble(tuple(member.checkpointed for member in self.members))

    @cached_property
    def in_fp32(self) -> SurrogateEnsemble:
        """See `Surrogate.in_fp32`; itself if every member is."""
        members = tuple(member.in_fp32 for member in self.members)
        return self if members == self.members else SurrogateEnsemble(members)


AnySurrogate = Surrogate | SurrogateEnsemble
"""What a picture is protected against."""


def as_surrogate(surrogate: AnySurrogate | Sequence[Surrogate]) -> AnySurrogate:
    """One surrogate or an ensemble, from either or from a list.

    Raises:
        UsageError: the list is empty, or two of it have the same weights.
    """
    if isinstance(surrogate, (Surrogate, SurrogateEnsemble)):
        return surrogate
    if not surrogate:
        raise UsageError("no surrogate given; give one encoder or more")
    return ensemble(surrogate)


def ensemble(members: Sequence[Surrogate]) -> AnySurrogate:
    """One surrogate as it is, more together."""
    return members[0] if len(members) == 1 else SurrogateEnsemble(tuple(members))
