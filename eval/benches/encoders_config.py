"""Settings of `bench encoders`. Standard library only: the command line imports this before torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.benches.configs import BenchConfig, at_least_one, distinct


@dataclass(frozen=True)
class EncodersConfig(BenchConfig):
    """`bench encoders`.

    Attributes:
        train: a folder of other pictures, on which universal perturbations are trained.
        vaes: see `load_surrogate`; or `package.module:function`, a function that returns a `Surrogate`.
        modes: of the protections.
        ensembles: numbers of members; each encoder is measured in the first group of that size that has it.
        size_px: side of the pictures.
        training_steps: of each universal perturbation.
    """

    train: str = ""
    vaes: tuple[str, ...] = ("pocket", "pocket-b", "pocket-16")
    modes: tuple[str, ...] = ("diffusion", "subtle")
    ensembles: tuple[int, ...] = (3, 5)
    size_px: int = 256
    training_steps: int = 120

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct(VAE=self.vaes, mode=self.modes)
        at_least_one(size=self.size_px, training_steps=self.training_steps)
        for mode in self.modes:
            ProtectConfig(mode=mode)
        for members in self.ensembles:
            if members < 2:
                raise UsageError(f"an ensemble of {members} encoder is too small; give 2 or more")

    def as_dict(self) -> dict[str, object]:
        """As `BenchConfig.as_dict`, without the folder for training."""
        settings = asdict(self)
        for name in ("images", "pictures", "train"):
            del settings[name]
        return settings


def encoders(images: str, *, quick: bool = False) -> EncodersConfig:
    """`bench encoders`."""
    if quick:
        return EncodersConfig(images, 1, vaes=("pocket", "pocket-b"), ensembles=(2,), size_px=96, training_steps=10)
    return EncodersConfig(images, 4)
