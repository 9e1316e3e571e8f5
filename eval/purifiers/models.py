"""Purifiers that run a model. Each takes and returns an 8-bit picture `(H, W, 3)` of the same size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pca_protect.device import resolve_device, resolve_dtype
from pca_protect.device_names import Device, Precision
from pca_protect.errors import ModelError, UsageError, first_line
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.pictures import to_pixels
from pca_protect.eval.purifiers.filters import FILTERS, Purifier
from pca_protect.eval.whole_vae import load_whole_vae, round_trip
from pca_protect.io.picture import Picture

_Apply = Callable[[Image.Image, np.random.Generator], Image.Image]

_DENOISE_STEPS = 50
_UPSCALE_NOISE = 0.1
_GRID_STEP, _GRID_ROUNDS, _GRID_KEPT = 10, 10, 0.1
"""Noise level out of 1000, number of rounds, and weight of a round's input in its output."""


def load_purifier(
    name: str, *, device: Device = "auto", precision: Precision = "fp32", offline: bool = False
) -> Purifier:
    """A purifier by name: one of `FILTERS`, or `KIND=MODEL`.

        vae=NAME                    through another VAE and back; see `load_surrogate` for names
        denoise-STRENGTH=EDITOR     image-to-image without a prompt at a small strength; see `load_editor`
        upscale=SOURCE              noise of 0.1, then a x4 upscaling pipeline of diffusers, then back to size
                                    (Hoenig et al. 2024, arXiv 2406.12027)
        gridpure=SOURCE             small diffusion steps on overlapping windows, by an unconditional pipeline of diffusers
                                    (Zhao et al. 2023, arXiv 2312.00084)

    Raises:
        UsageError: the name is unknown.
        ModelError: a model is missing, damaged or cannot be downloaded.
    """
    if name in FILTERS:
        return FILTERS[name]
    kind, _, source = name.partition("=")
    try:
        if kind == "vae" and source:
            return Purifier(name, f"through the VAE {source} and back", _vae(source, device, offline))
        if kind.startswith("denoise-") and source:
            strength = float(kind.removeprefix("denoise-"))
            what = f"image-to-image by {source} without a prompt, strength {strength:g}"
            return Purifier(name, what, _denoise(source, strength, device, precision, offline))
        if kind == "upscale" and source:
            what = f"noise of {_UPSCALE_NOISE}, upscaled x4 by {source}, back to size"
            return Purifier(name, what, _upscale(source, device, precision, offline))
        if kind == "gridpure" and source:
            return Purifier(name, f"GrIDPure by {source}", _gridpure(source, device, offline))
    except ValueError as error:
        raise UsageError(f"purifier {name!r}: {kind} names no strength; write it as in denoise-0.1=EDITOR") from error
    raise UsageError(
        f"unknown purifier {name!r}; known are {', '.join(FILTERS)}, vae=NAME, denoise-STRENGTH=EDITOR, upscale=SOURCE, "
        "gridpure=SOURCE"
    )


def _vae(source: str, device: Device, offline: bool) -> _Apply:
    vae = load_whole_vae(source, device=resolve_device(device), offline=offline)

    def apply(image: Image.Image, _: np.random.Generator) -> Image.Image:
        return _image(round_trip(vae, _pixels(image)))

    return apply


def _denoise(source: str, strength: float, device: Device, precision: Precision, offline: bool) -> _Apply:
    settings = EditSettings(strength, 1.0, _DENOISE_STEPS)
    editor = load_editor(source, device=device, precision=precision, offline=offline)

    def apply(image: Image.Image, generator: np.random.Generator) -> Image.Image:
        square = image.resize((editor.size_px, editor.size_px), Image.Resampling.LANCZOS)
        seed = int(generator.integers(2**31))
        denoised = editor.edit([np.asarray(square)], "", settings, seeds=[seed])[0]
        return Image.fromarray(denoised).resize(image.size, Image.Resampling.LANCZOS)

    return apply


def _upscale(source: str, device: Device, precision: Precision, offline: bool) -> _Apply:
    from diffusers import StableDiffusionUpscalePipeline  # noqa: PLC0415

    target = resolve_device(device)
    dtype = resolve_dtype(precision, target, overflows_fp16=False, model=source)
    pipeline = _pipeline(StableDiffusionUpscalePipeline, source, target, dtype, offline)

    def apply(image: Image.Image, generator: np.random.Generator) -> Image.Image:
        seeded = _seeded(generator)
        pixels = _pixels(image)
        noisy = (pixels + _UPSCALE_NOISE * torch.randn(pixels.shape, generator=seeded)).clamp(0, 1)
        upscaled = pipeline(prompt="", image=_image(noisy), generator=seeded).images[0]
        back: Image.Image = upscaled.resize(image.size, Image.Resampling.LANCZOS)
        return back

    return apply


def _gridpure(source: str, device: Device, offline: bool) -> _Apply:
    from diffusers import DDPMPipeline  # noqa: PLC0415

    target = resolve_device(device)
    pipeline = _pipeline(DDPMPipeline, source, target, torch.float32, offline)
    window = int(pipeline.unet.config.sample_size)

    def apply(image: Image.Image, generator: np.random.Generator) -> Image.Image:
        seeded = _seeded(generator)
        pixels = _pixels(image).to(target)
        if min(image.size) < window:
            raise ModelError(f"gridpure={source}: needs pictures of at least {window}x{window} px; use a larger one")
        for _ in range(_GRID_ROUNDS):
            purified, counts = torch.zeros_like(pixels), torch.zeros_like(pixels)
            for top in _starts(image.height, window):
                for left in _starts(image.width, window):
                    part = (..., slice(top, top + window), slice(left, left + window))
                    purified[part] += _small_steps(pipeline, pixels[part], seeded)
                    counts[part] += 1
            pixels = _GRID_KEPT * pixels + (1 - _GRID_KEPT) * purified / counts
        return _image(pixels)

    return apply


def _small_steps(pipeline: Any, pixels: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ANN401 - no types
    """Add a little noise to pixels and denoise them."""
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)
    times = scheduler.timesteps[-_GRID_STEP:]
    noise = torch.randn(pixels.shape, generator=generator).to(pixels.device)
    state = scheduler.add_noise(pixels * 2 - 1, noise, times[:1])
    with torch.no_grad():
        for time in times:
            predicted = pipeline.unet(state, time).sample
            state = scheduler.step(predicted, time, state, generator=generator).prev_sample
    pixels = (state / 2 + 0.5).clamp(0, 1)
    return pixels


def _starts(length: int, window: int) -> list[int]:
    """Start positions of windows: half overlapping, the last flush with the end."""
    return [*range(0, length - window, window // 2), length - window]


def _pipeline(kind: Any, source: str, device: torch.device, dtype: torch.dtype, offline: bool) -> Any:  # noqa: ANN401
    try:
        pipeline = kind.from_pretrained(source, use_safetensors=True, local_files_only=offline)
    except (OSError, ValueError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"{source}: does not load as a {kind.__name__} ({first_line(error)}); download it first"
        ) from error
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            nn.Module.to(part, device, dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _seeded(generator: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(generator.integers(2**31)))


def _pixels(image: Image.Image) -> Tensor:
    return to_pixels(Picture(np.asarray(image)))


def _image(pixels: Tensor) -> Image.Image:
    levels = (pixels[0].clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).numpy())
