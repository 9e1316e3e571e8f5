"""One or several encoders: pixels in [0, 1] to posterior moments. Only this module shifts pixels to [-1, 1]."""

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
    """The encoder half of a VAE: `encoder`, then `quant_conv` if there is one.

    Args:
        has_variance: the output is a mean and a log-variance; False if it is a point.
        takes_video: the input is `(B, C, T, H, W)`, with one frame.
        channels: 3 for RGB; 4 for RGBA with opaque alpha.
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
    """A frozen encoder that stands in for the editors to defend against.

    Attributes:
        name: as requested, or the name that `auto` resolved to.
        origin: hub id or path of the weights.
        digest: hash of the encoder's weights, see `checkpoint.digest`.
        encoder: frozen, in eval mode, on its device, in its precision.
        multiple: in pixels; both sides of the encoder's input are multiples of it.
        warnings: for the user, about this choice.
        embedded: the model ships with this package and no editor uses it.
        load_fp32: loads the encoder in fp32 from its published weights, see `in_fp32`; None if only `encoder` has the
            weights.
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
            ModelError: the VAE's class is not supported, or its weights are not finite.
            DeviceError: the device is out of memory.
        """
        from pca_protect.surrogates.load import surrogate_of  # noqa: PLC0415 - it imports this module

        return surrogate_of(vae, name=name, origin="memory")

    @staticmethod
    def from_module(module: nn.Module, *, multiple: int, has_variance: bool = False, name: str = "module") -> Surrogate:
        """A frozen copy of any encoder module, which need not be from diffusers.

        Args:
            module: maps `(B, 3, H, W)` in [-1, 1], sides multiples of `multiple`, to latents `(B, C, h, w)`; with a variance
                to `(B, 2C, h, w)`, means and log-variances. Its parameters determine device and precision.
            multiple: pixels per latent position.
            has_variance: whether `module` returns log-variances.
        """
        from pca_protect.surrogates.load import surrogate_of_module  # noqa: PLC0415 - it imports this module

        return surrogate_of_module(module, multiple=multiple, has_variance=has_variance, name=name)

    @property
    def members(self) -> tuple[Surrogate, ...]:
        """Itself, as an ensemble of one: see `SurrogateEnsemble.members`."""
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
        """The same surrogate with activation checkpointing, see `memory_efficient.checkpointed`: gradients take less memory and
        more time, weights are shared, results are bit-identical. Not for a surrogate that is checkpointed already."""
        return replace(
            self,
            encoder=cast(Encoder, memory_efficient.checkpointed(self.encoder)),
            load_fp32=lambda: cast(Encoder, memory_efficient.checkpointed(self.in_fp32.encoder)),
        )

    @cached_property
    def in_fp32(self) -> Surrogate:
        """The surrogate in fp32, with its weights as published, on the same device; itself if it is fp32.

        Loaded on first use and kept: takes memory for a second encoder (137 MB for Stable Diffusion) and reads its file again.

        Raises:
            ModelError: the file is missing or has changed since it was loaded.
            DeviceError: the device is out of memory.
        """
        if self.dtype == torch.float32:
            return self
        encoder = copy.deepcopy(self.encoder).float() if self.load_fp32 is None else self.load_fp32()
        return replace(self, encoder=encoder, load_fp32=None)

    def posterior(self, pixels: Tensor) -> Posterior:
        """Moments in float32 for pixels `(B, 3, H, W)` in [0, 1] with sides of at least 8 px. Sides are extended to the encoder's
        multiple by reflection at the right and lower edge.

        The CPU encodes pictures one by one: the summation order of convolutions depends on the batch size, which can flip the
        sign of a gradient near zero, and a picture's bytes would depend on its batch. Batches gain no speed there. MPS encodes
        one by one too, because Metal aborts the process if a tensor exceeds its largest buffer.
        """
        if pixels.device.type in ("cpu", "mps") and len(pixels) > 1:
            return concatenate([self.posterior(one) for one in torch.split(pixels, 1)])
        posterior = self.encoder(reflect_to_multiple(pixels, self.multiple))
        logvar = posterior.logvar
        return Posterior(posterior.mean.float(), None if logvar is None else logvar.float())


def reflect_to_multiple(pixels: Tensor, multiple: int) -> Tensor:
    """Pads the last two axes to multiples by reflection, repeatedly if a side is shorter than its padding. Differentiable:
    gradients of reflected pixels are added to the original pixels."""
    for axis in (-2, -1):
        side = pixels.shape[axis]
        target = -(-side // multiple) * multiple
        if target != side:
            positions = torch.arange(target, device=pixels.device) % (2 * side - 2 or 1)
            pixels = pixels.index_select(axis, torch.where(positions < side, positions, 2 * side - 2 - positions))
    return pixels


def fold_patches(x: Tensor, side: int) -> Tensor:
    """`(B, C, H, W)` to `(B, C * side * side, H / side, W / side)`. Within a colour channel, columns come before rows, as in
    Wan 2.2's `patchify`; PyTorch's `pixel_unshuffle` has rows before columns."""
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels, height // side, side, width // side, side)
    return blocks.permute(0, 1, 5, 3, 2, 4).reshape(batch, channels * side**2, height // side, width // side)


def is_same_encoder(one: Surrogate, other: Surrogate) -> bool:
    """Whether two surrogates have the same weights up to storage precision, see `checkpoint.same_weights`."""
    return one.digest == other.digest or same_weights(one.encoder.state_dict(), other.encoder.state_dict())


@dataclass(frozen=True)
class SurrogateEnsemble:
    """Two or more surrogates on one device that a picture is protected against jointly. Has the attributes of a `Surrogate`.

    Raises:
        UsageError: two have the same weights, see `is_same_encoder`.
    """

    members: tuple[Surrogate, ...]

    def __post_init__(self) -> None:
        for one, other in combinations(self.members, 2):
            if is_same_encoder(one, other):
                raise UsageError(f"VAEs {one.name} and {other.name} have the same weights; give one of them")

    @property
    def name(self) -> str:
        return " + ".join(member.name for member in self.members)

    @property
    def origin(self) -> str:
        return " + ".join(member.origin for member in self.members)

    @cached_property
    def digest(self) -> str:
        """Hash of the members' digests in order; the order affects bytes through rounding of sums."""
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
        """Whether every member is embedded: one encoder of a real editor suffices for a protection."""
        return all(member.embedded for member in self.members)

    @cached_property
    def checkpointed(self) -> SurrogateEnsemble:
        """See `Surrogate.checkpointed`."""
        return SurrogateEnsemble(tuple(member.checkpointed for member in self.members))

    @cached_property
    def in_fp32(self) -> SurrogateEnsemble:
        """See `Surrogate.in_fp32`; itself if every member is fp32."""
        members = tuple(member.in_fp32 for member in self.members)
        return self if members == self.members else SurrogateEnsemble(members)


AnySurrogate = Surrogate | SurrogateEnsemble
"""One encoder or an ensemble."""


def as_surrogate(surrogate: AnySurrogate | Sequence[Surrogate]) -> AnySurrogate:
    """One surrogate or an ensemble, from either or from a list.

    Raises:
        UsageError: the list is empty, two members have the same weights, or it holds something else.
    """
    if isinstance(surrogate, (Surrogate, SurrogateEnsemble)):
        return surrogate
    others = surrogate if isinstance(surrogate, Sequence) else [surrogate]
    for other in others:
        if not isinstance(other, Surrogate):
            name = type(other).__name__
            raise UsageError(
                f"{name} is not a surrogate; give Surrogate.from_vae(vae), or Surrogate.from_module(module)"
            )
    if not surrogate:
        raise UsageError("no surrogate given; give at least one encoder")
    return ensemble(surrogate)


def ensemble(members: Sequence[Surrogate]) -> AnySurrogate:
    """The only member itself, or an ensemble of several."""
    return members[0] if len(members) == 1 else SurrogateEnsemble(tuple(members))
