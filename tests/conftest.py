"""What every test may rely on: settled threads, no network, small real models, odd little pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported anywhere
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# Before torch is imported anywhere: OpenMP reads it when it is loaded. One thread for each of the processes that tests run in:
# two processes of two threads each on two cores take many times as long. Programs that tests start have it too.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from tiny_vaes import STABLE_DIFFUSION

from pca_protect import device as device_module
from pca_protect.modes import MODES
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate

ROOT = Path(__file__).resolve().parent.parent
ASTRONAUT = ROOT / "examples" / "astronaut.png"


def tiny_kl(latent_channels: int = 4, seed: int = 0) -> AutoencoderKL:
    """A real KL autoencoder with 8x downscaling that encodes and back-propagates in a tenth of a second."""
    torch.manual_seed(seed)
    return AutoencoderKL(**STABLE_DIFFUSION, latent_channels=latent_channels)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test sees the universal perturbations of whoever runs it, or leaves one there."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCA_PROTECT_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def modes_of_the_program() -> Iterator[None]:
    """What a test or a document registers is gone after it."""
    before = dict(MODES)
    yield
    MODES.clear()
    MODES.update(before)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with a tiny VAE."""
    folder = tmp_path_factory.mktemp("tiny") / "vae"
    tiny_kl().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Surrogate:
    return load_surrogate(str(tiny_folder), device="cpu")


@pytest.fixture(scope="session")
def pocket() -> Surrogate:
    return load_surrogate("pocket", device="cpu")


@pytest.fixture
def bf16_on_any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated bf16 is refused for its speed; its values are right."""
    monkeypatch.setattr(device_module, "cpu_has_bf16", lambda: True)


def smooth_picture(width: int, height: int, channels: int = 3, seed: int = 0) -> Image.Image:
    """A picture with soft colours, some texture, black and white corners where clamping to the pixel range bites."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (4, 4, channels), dtype=np.uint8)
    planes = [
        np.asarray(Image.fromarray(coarse[..., channel]).resize((width, height), Image.Resampling.BICUBIC))
        for channel in range(channels)
    ]
    array = np.stack(planes, axis=-1).astype(np.int16) + generator.integers(-6, 7, (height, width, channels))
    array = array.clip(0, 255).astype(np.uint8)
    array[:4, :4], array[-4:, -4:] = 0, 255
    return Image.fromarray(array[..., 0] if channels == 1 else array)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An odd-sized, non-square PNG."""
    path = tmp_path / "photo.png"
    smooth_picture(45, 37).save(path)
    return path


@pytest.fixture(scope="session")
def astronaut_crop() -> torch.Tensor:
    """`(1, 3, 96, 96)`: the face, a real photograph that small tests can afford."""
    array = np.asarray(Image.open(ASTRONAUT).crop((170, 60, 266, 156)))
    return torch.from_numpy(array.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255
