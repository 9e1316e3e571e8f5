"""Is the embedded VAE a fair stand-in for real ones? `pca-protect bench testbed`.

For every picture: how well it is reconstructed, how much its posterior says, and how far the published attack and noise
of the same budget move the latent. Targets stand beside what was measured; missing one is a result, not an error.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from pca_protect import compute
from pca_protect.config import Device
from pca_protect.eval.environment import environment
from pca_protect.eval.pictures import pictures_in
from pca_protect.eval.reconstruction import reconstruct
from pca_protect.eval.results import Results
from pca_protect.eval.vulnerability import measure_vulnerability
from pca_protect.io.read import read_picture
from pca_protect.pixels import to_pixels
from pca_protect.surrogates.load import load_surrogate

VAES = ("pocket",)
QUICK_SIDE_PX = 256

# Metric -> (target, whether more is better). Reconstruction is the project's own goal; the other three are the range
# in which encoders distilled from real ones were seen.
TARGETS: dict[str, tuple[float, bool]] = {
    "psnr_db": (24.0, True),
    "nats_per_element": (1.0, True),
    "noise": (0.15, True),
    "diffusion": (1.5, True),
    "concentration": (0.6, False),
}

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being measured, pictures done, pictures in all)."""

Row = dict[str, object]


@dataclass(frozen=True)
class TestbedResult:
    rows: list[Row]
    paths: tuple[Path, ...]


def measure_testbed(
    images: Path, folder: Path, *, quick: bool = False, device: Device = "auto", on_progress: OnProgress | None = None
) -> TestbedResult:
    """Measure what `folder` does not hold yet, and write its tables.

    Args:
        images: a folder of photographs that were not trained on.
        quick: move the latent of the middle of each picture only; reconstruction is of the whole in any case.

    Raises:
        UsageError: no pictures, or `folder` holds something else; see `Results`.
        PictureError, DeviceError: a picture or the device cannot be had.
    """
    report = on_progress or (lambda label, done, in_all: None)
    paths = pictures_in(images)
    surrogates = {name: load_surrogate(name, device=device, precision="fp32") for name in VAES}
    config = {
        "images": {path.name: read_picture(path).digest for path in paths},
        "quick": quick,
        "surrogates": {name: surrogate.digest for name, surrogate in surrogates.items()},
        "preset": "paper",
    }
    compute_device = compute.resolve_device(device)
    results = Results(folder, command="bench testbed", config=config, environment=environment(compute_device))
    for name, surrogate in surrogates.items():
        vae = _whole_vae(name, compute_device)
        for done, path in enumerate(paths):
            report(name, done, len(paths))
            key = f"{name} {path.name}"
            if key in results:
                continue
            pixels = to_pixels(read_picture(path)).to(compute_device)
            reconstruction = reconstruct(vae, _middle(pixels, surrogate.multiple))
            moved = measure_vulnerability(
                surrogate, _middle(pixels, surrogate.multiple, QUICK_SIDE_PX if quick else None)
            )
            results.add(
                {
                    key: {
                        "psnr_db": reconstruction.psnr_db,
                        "nats_per_element": reconstruction.nats_per_element,
                        "noise": float(moved.noise),
                        "diffusion": float(moved.diffusion),
                        "concentration": float(moved.concentration),
                    }
                }
            )
        report(name, len(paths), len(paths))
    rows = [row for name in VAES for row in _rows(name, [results[f"{name} {path.name}"] for path in paths])]
    return TestbedResult(rows, results.write_tables({"testbed": rows}))


def _rows(name: str, measured: list[dict[str, float]]) -> list[Row]:
    rows: list[Row] = []
    for metric, (target, more_is_better) in TARGETS.items():
        values = [picture[metric] for picture in measured]
        mean = statistics.fmean(values)
        rows.append(
            {
                "surrogate": name,
                "metric": metric,
                "mean": mean,
                "min": min(values),
                "max": max(values),
                "n": len(values),
                "target": f"{'at least' if more_is_better else 'at most'} {target:g}",
                "met": mean >= target if more_is_better else mean <= target,
            }
        )
    return rows


def _whole_vae(name: str, device: torch.device) -> AutoencoderKL:
    """Encoder and decoder of an embedded VAE, in fp32."""
    folder = Path(str(resources.files("pca_protect.pocket"))) / name
    vae: AutoencoderKL = AutoencoderKL.from_pretrained(folder, use_safetensors=True, torch_dtype=torch.float32)
    nn.Module.to(vae, device)  # diffusers wraps its own `to` in a way that type checkers cannot read
    vae.eval()
    return vae


def _middle(pixels: Tensor, multiple: int, largest_side: int | None = None) -> Tensor:
    """The middle of a picture, with sides that the encoder divides and that are at most so long."""
    sides = [min(side, largest_side or side) // multiple * multiple for side in pixels.shape[-2:]]
    top, left = ((whole - side) // 2 for whole, side in zip(pixels.shape[-2:], sides, strict=True))
    return pixels[..., top : top + sides[0], left : left + sides[1]]
