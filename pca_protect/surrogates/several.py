"""Several frozen encoders at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch

from pca_protect.errors import UsageError
from pca_protect.surrogates.adapter import Surrogate
from pca_protect.surrogates.checkpoint import same_weights


def is_same_encoder(one: Surrogate, other: Surrogate) -> bool:
    """Whether two surrogates have the same weights, in whatever precision they were saved, see `checkpoint.same_weights`."""
    return one.digest == other.digest or same_weights(one.encoder.state_dict(), other.encoder.state_dict())


@dataclass(frozen=True)
class Surrogates:
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
    def checkpointed(self) -> Surrogates:
        """See `Surrogate.checkpointed`."""
        return Surrogates(tuple(member.checkpointed for member in self.members))

    @cached_property
    def in_fp32(self) -> Surrogates:
        """See `Surrogate.in_fp32`; itself if every member is."""
        members = tuple(member.in_fp32 for member in self.members)
        return self if members == self.members else Surrogates(members)


Encoders = Surrogate | Surrogates
"""What a picture is protected against."""


def several(members: Sequence[Surrogate]) -> Encoders:
    """One surrogate as it is, more together."""
    return members[0] if len(members) == 1 else Surrogates(tuple(members))
